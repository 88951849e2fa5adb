// Steps of several outputs: each is a value of its own, to be used, output, tapped and verified.
#include <gtest/gtest.h>

#include "graph/test_layers.h"

#include <frieze/graph/memory_plan.h>
#include <frieze/graph/profile.h>
#include <frieze/graph/taps.h>
#include <frieze/graph/verify.h>

namespace frieze {
namespace {

using test::FunctionModel;
using test::message_of;
using test::times;

// y0 = the first half of the channels, y1 = minus the second half; y2, of another shape, the sum of each image.
class Halves final : public Layer {
 public:
  // The run whose reference lies, to stand for a kernel that is wrong: counted from 1, 0 for none.
  explicit Halves(int* lies_in = nullptr) : lies_in_(lies_in) {}
  Inferred infer(std::span<const TensorSpec> in) const override {
    check_inputs(type_name(), in, 1);
    const Shape& x = in[0].shape;
    const TensorSpec half{x.with(1, x[1] / 2), in[0].dtype};
    return {std::vector<TensorSpec>{half, half, {{x[0]}, in[0].dtype}}, 0, 2 * static_cast<double>(in[0].bytes())};
  }
  void reference(const ReferenceArgs& args) const override {
    const std::vector<float> x = to_floats(args.in[0]);
    const std::size_t images = static_cast<std::size_t>(args.in[0].shape[0]), image = x.size() / images, half = image / 2;
    std::vector<float> parts[3];
    for (std::size_t n = 0; n < images; ++n) {
      float sum = 0;
      for (std::size_t i = 0; i < image; ++i) {
        const float v = x[n * image + i];
        parts[i < half ? 0 : 1].push_back(i < half ? v : -v);
        sum += v;
      }
      parts[2].push_back(sum);
    }
    if (lies_in_ != nullptr && (*lies_in_)-- == 1) parts[1][0] += 1;
    for (std::size_t k = 0; k < 3; ++k) from_floats(parts[k], args.out[k]);
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 1, .terms = 8}; }
  std::string_view type_name() const override { return "Halves"; }

 private:
  int* lies_in_;
};

std::vector<Value> halves(Value x, int* lies_in = nullptr) {
  const Value inputs[] = {x};
  return apply_all(std::make_shared<Halves>(lies_in), "halves", inputs);
}

const std::vector<InputSpec> kInput{{"x", {2, 4, 1, 1}}};
const std::vector<float> kX{1, 2, 3, 4, 5, 6, 7, 8};

TEST(OutputsTest, AreValuesOfTheirOwn) {
  const FunctionModel model([](const std::vector<Value>& x) {
    const std::vector<Value> h = halves(x[0]);
    EXPECT_EQ(h.size(), 3U);
    return std::vector<Value>{times(h[1]), h[0] + h[1], h[2]};
  });
  for (const bool formats : {false, true}) {
    Session net = compile(model, kInput, Device::reference(), {.passes = {.formats = formats}});
    net.input().copy_from(kX);
    for (int run = 0; run < 2; ++run) {
      net.poison();
      net.run();
      EXPECT_EQ(net.output("y0").floats(), (std::vector<float>{-6, -8, -14, -16}));
      EXPECT_EQ(net.output("y1").floats(), (std::vector<float>{-2, -2, -2, -2}));
      EXPECT_EQ(net.output("y2").floats(), (std::vector<float>{10, 26}));
    }
  }
}

TEST(OutputsTest, HaveNamesAndOneProducer) {
  const FunctionModel model([](const std::vector<Value>& x) { return std::vector<Value>{halves(x[0])[1], halves(x[0])[0]}; });
  const Plan plan = trace(model, kInput);
  ASSERT_EQ(plan.steps.size(), 2U);
  ASSERT_EQ(plan.steps[0].outputs.size(), 3U);
  EXPECT_EQ(plan.values[static_cast<std::size_t>(plan.steps[0].outputs[1])].name, "halves.1");
  EXPECT_EQ(plan.values[static_cast<std::size_t>(plan.steps[1].outputs[2])].name, "halves_1.2");
  for (const int id : plan.steps[1].outputs) EXPECT_EQ(plan.values[static_cast<std::size_t>(id)].producer, 1);
  EXPECT_EQ(message_of<Error>([&] { (void)plan.steps[0].output(); }), "plan: step 'halves' makes 3 values where one is taken");
  EXPECT_NE(plan_text(plan).find("[2,2,1,1] f32 nchw, [2,2,1,1] f32 nchw, [2] f32"), std::string::npos) << plan_text(plan);
  EXPECT_NE(plan_json(plan).find("\"outputs\""), std::string::npos);

  Plan none = plan;
  none.steps[0].outputs.clear();
  EXPECT_EQ(message_of<Error>([&] { none.validate(); }), "plan: step 'halves' makes nothing");
  Plan twice = plan;
  twice.steps[0].outputs[1] = twice.steps[0].outputs[0];
  EXPECT_THROW(twice.validate(), Error);
  Plan fused = plan;
  fused.steps[0].epilogue.push_back({{}, std::make_shared<ReLU>(), "relu"});
  EXPECT_EQ(message_of<Error>([&] { fused.validate(); }), "plan: step 'halves' makes 3 values and has an epilogue, which takes one");
}

TEST(OutputsTest, AreNotTakenForOne) {
  const FunctionModel model([](const std::vector<Value>& x) {
    const Value inputs[] = {x[0]};
    return std::vector<Value>{apply(std::make_shared<Halves>(), "halves", inputs)};
  });
  EXPECT_TRUE(message_of<OptionError>([&] {
                (void)trace(model, kInput);
              }).starts_with("halves: makes 3 values where one is taken (outputs_test.cpp:"));
  struct Member : Module {
    Halves halves;
    Member() { add("halves", halves); }
    Value forward(Value x) const override { return halves(x); }
  };
  EXPECT_EQ(message_of<OptionError>([] { (void)trace(Member(), kInput); }), "halves (Halves): makes 3 values where one is taken");
  // A layer that is the whole model has an output for each.
  const Plan plan = trace(Halves(), kInput);
  ASSERT_EQ(plan.outputs.size(), 3U);
  EXPECT_EQ(plan.outputs[2].name, "y.2");
}

TEST(OutputsTest, AreNeverFusedAway) {
  const FunctionModel model([](const std::vector<Value>& x) {
    const std::vector<Value> h = halves(times(x[0], {.absorbs = 9}));
    return std::vector<Value>{relu(h[0])};
  });
  const Plan plan = optimize(trace(model, kInput));
  ASSERT_EQ(plan.steps.size(), 3U);
  EXPECT_TRUE(plan.steps[1].epilogue.empty());
  EXPECT_EQ(plan.steps[1].outputs.size(), 3U) << "those that nobody uses too: the kernel writes them";
}

// What nobody uses is written too, and must not share memory with what lives.
TEST(OutputsTest, LiveApart) {
  const FunctionModel model([](const std::vector<Value>& x) {
    const std::vector<Value> h = halves(times(x[0]));
    return std::vector<Value>{times(h[1])};
  });
  const Plan plan = optimize(trace(model, kInput));
  const MemoryPlan memory = plan_memory(plan, {});
  EXPECT_EQ(memory.placements.size(), 4U);
  EXPECT_NO_THROW(memory.validate());
}

TEST(OutputsTest, AreTappedOneByOneAndTogether) {
  const FunctionModel model([](const std::vector<Value>& x) { return std::vector<Value>{times(halves(times(x[0]))[1])}; });
  Session net = compile(model, kInput, Device::reference());
  EXPECT_EQ(net.tap("halves.1"), (std::vector<std::string>{"halves.1"}));
  net.input().copy_from(kX);
  net.run();
  EXPECT_EQ(net.tapped("halves.1").floats(), (std::vector<float>{-6, -8, -14, -16}));
  EXPECT_EQ(net.tapped("halves").floats(), net.tapped("halves.1").floats()) << "the only one of them that is tapped";
  EXPECT_EQ(net.tap("halves"), (std::vector<std::string>{"halves.0", "halves.1", "halves.2"}));
  net.run();
  EXPECT_EQ(net.tapped("halves.0").floats(), (std::vector<float>{2, 4, 10, 12}));
  EXPECT_EQ(net.tapped("halves.2").floats(), (std::vector<float>{20, 52}));
  EXPECT_EQ(message_of<OptionError>([&] { (void)net.tapped("halves"); }),
            "'halves' stands for several tapped values: name one of halves.0, halves.1, halves.2");
  EXPECT_THROW((void)net.tap("halves.3"), OptionError);
}

TEST(OutputsTest, AreVerifiedEach) {
  int lies_in = 0;
  const FunctionModel model([&](const std::vector<Value>& x) { return std::vector<Value>{times(halves(x[0], &lies_in)[1])}; });
  Session net = compile(model, kInput, Device::reference());
  const VerifyReport report = verify(net);
  EXPECT_TRUE(report.ok()) << report.text();
  ASSERT_EQ(report.layers.size(), 4U);
  EXPECT_EQ(report.layers[1].path, "halves.1");
  lies_in = 1;  // the run on the device that is verified
  const VerifyReport wrong = verify(net);
  EXPECT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.first_divergent, "halves.1");
  EXPECT_EQ(profile(net, {.rounds = 1}).steps.size(), 2U);
}

}  // namespace
}  // namespace frieze
