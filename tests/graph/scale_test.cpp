// Tracing, passes and memory planning take n log n: plans of many shapes, ten times as large, against ten times the processor time.
#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <random>

#include <frieze/graph/report/memory_text.h>
#include <frieze/graph/session.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>

#include "graph/test_layers.h"
#include "support/registered_rewrite.h"
#include "support/sanitizers.h"

namespace frieze::test {
namespace {

constexpr std::size_t kLarge = kSanitized ? 10'000 : 40'000, kChain = kSanitized ? 20'000 : 100'000;

using Build = std::function<std::vector<NamedValue>(std::size_t, const std::vector<NamedValue>&)>;

// Processor seconds of this thread and those that it starts: other programs on the machine do not count.
double compile_seconds(std::size_t size, std::size_t inputs, const Build& build) {
  const Lambda model([&](const std::vector<NamedValue>& in) { return build(size, in); });
  std::vector<InputSpec> specs;
  for (std::size_t i = 0; i < inputs; ++i) specs.push_back({"x" + std::to_string(i), {1, 1, 1, 1}});
  const std::clock_t begin = std::clock();
  Session net = compile(model, specs, Device::reference());
  (void)net.tap("*1");
  for (const std::string& name : {net.plan().inputs.back().name, net.plan().inputs.front().name}) (void)net.input(name);
  (void)plan_text(net.plan());
  (void)memory_picture(net.plan(), net.memory_plan());
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

// n log n makes a factor of 13 of ten; a square makes 100.
void expect_scales(const Build& build, std::size_t large = kLarge, bool ports = false) {
  const double small = compile_seconds(large / 10, ports ? large / 10 : 1, build);
  const double whole = compile_seconds(large, ports ? large : 1, build);
  EXPECT_LT(whole, 30 * small + 0.2) << "a tenth took " << small << " s";
  EXPECT_LT(whole, 10) << "seconds of processor time";
}

std::vector<NamedValue> only_output(Value v) { return {{"y", v}}; }

TEST(Scale, AChain) {
  expect_scales(
      [](std::size_t n, const std::vector<NamedValue>& in) {
        Value v = in[0].value;
        for (std::size_t i = 0; i < n; ++i) v = times(v);
        return only_output(v);
      },
      kChain);
}

// Each step goes into what the steps before it became: the whole chain is one step in the end, which stands for all of them.
TEST(Scale, AChainThatIsRewrittenToOneStep) {
  for (const int named_after : {-1, 0}) {
    const RegisteredRewrite own("one product", [=](const StepView& shown) -> std::optional<Replacement> {
      const auto before = shown.as<Times>() != nullptr ? shown.maker_for_this_alone(0) : std::nullopt;
      if (!before || before->as<Times>() == nullptr) return std::nullopt;
      return Replacement{{{shown.shared_layer(), {before->input(0)}}}, {*before}, named_after};
    });
    expect_scales(
        [](std::size_t n, const std::vector<NamedValue>& in) {
          Value v = in[0].value;
          for (std::size_t i = 0; i < n; ++i) v = times(v);
          return only_output(apply(std::make_shared<ActivationLayer>(Activation::relu), "last1", {&v, 1}));
        },
        kChain);
  }
}

// From the end: the last step takes the one before it, and what they became the one before that.
TEST(Scale, AChainThatIsRewrittenFromItsEnd) {
  const RegisteredRewrite own("one product", [](const StepView& shown) -> std::optional<Replacement> {
    const auto* layer = shown.as<Times>();
    const auto before = layer != nullptr && layer->options().factor == 3 ? shown.maker_for_this_alone(0) : std::nullopt;
    if (!before) return std::nullopt;
    return Replacement{{{shown.shared_layer(), {before->input(0)}}}, {*before}};
  });
  expect_scales(
      [](std::size_t n, const std::vector<NamedValue>& in) {
        Value v = in[0].value;
        for (std::size_t i = 0; i < n; ++i) v = times(v);
        v = times(v, {.factor = 3});
        return only_output(apply(std::make_shared<ActivationLayer>(Activation::relu), "last1", {&v, 1}));
      },
      kChain);
}

// One value with very many users, each of which is replaced by two steps.
TEST(Scale, AWideFanOutThatIsRewritten) {
  const RegisteredRewrite own("two products", [](const StepView& shown) -> std::optional<Replacement> {
    const auto* layer = shown.as<Times>();
    if (layer == nullptr || layer->options().factor != 3) return std::nullopt;
    const auto half = std::make_shared<Times>(TimesOptions{.factor = 1.5F});
    return Replacement{{{half, {shown.input(0)}}, {half, {ValueRef::made_by(0)}}}};
  });
  expect_scales([](std::size_t n, const std::vector<NamedValue>& in) {
    std::vector<Value> all;
    for (std::size_t i = 0; i < n / 2; ++i) all.push_back(times(in[0].value, {.factor = 3}));
    return only_output(concat(all));
  });
}

TEST(Scale, AChainThatFuses) {
  expect_scales([](std::size_t n, const std::vector<NamedValue>& in) {
    Value v = in[0].value;
    for (std::size_t i = 0; i < n / 3; ++i) v = silu(times(v, {.absorbs = 2})) + in[0].value;
    return only_output(v);
  });
}

TEST(Scale, ManyValuesAliveAtOnce) {
  expect_scales([](std::size_t n, const std::vector<NamedValue>& in) {
    std::vector<Value> all;
    for (std::size_t i = 0; i < n; ++i) all.push_back(times(in[0].value));
    return only_output(concat(all));
  });
}

TEST(Scale, ManyValuesAliveAtOnceThatGoInPairs) {
  expect_scales([](std::size_t n, const std::vector<NamedValue>& in) {
    std::vector<Value> all;
    for (std::size_t i = 0; i < n / 2; ++i) all.push_back(times(in[0].value));
    for (; all.size() > 1; all.pop_back()) all[all.size() - 2] = all[all.size() - 2] + all.back();
    return only_output(all[0]);
  });
}

TEST(Scale, LongSkipConnections) {
  expect_scales([](std::size_t n, const std::vector<NamedValue>& in) {
    std::vector<Value> down{in[0].value};
    for (std::size_t i = 0; i < n / 3; ++i) down.push_back(times(down.back()));
    Value v = down.back();
    for (; down.size() > 1; down.pop_back()) v = times(v) + down.back();
    return only_output(v);
  });
}

TEST(Scale, OneValueThatLivesAllTheTime) {
  expect_scales([](std::size_t n, const std::vector<NamedValue>& in) {
    const Value kept = times(in[0].value);
    Value v = kept;
    for (std::size_t i = 0; i < n / 2; ++i) v = times(v, {.absorbs = 1}) + kept;
    return only_output(v);
  });
}

TEST(Scale, WideFanOutInStages) {
  expect_scales([](std::size_t n, const std::vector<NamedValue>& in) {
    std::vector<Value> all;
    for (std::size_t i = 0; i < n / 4; ++i) all.push_back(times(in[0].value, {.absorbs = 1}));
    for (Value& v : all) v = silu(v);
    for (Value& v : all) v = times(v);
    return only_output(concat(all));
  });
}

TEST(Scale, ManyPorts) {
  expect_scales(
      [](std::size_t, const std::vector<NamedValue>& in) {
        std::vector<NamedValue> out;
        for (const NamedValue& v : in) out.push_back({"y" + v.name, times(v.value)});
        return out;
      },
      kLarge / 2, true);
}

TEST(Scale, ManyModulesAndManyPairsToRewrite) {
  struct Wide : Module {
    std::vector<std::unique_ptr<Conv2d>> convs;
    std::vector<std::unique_ptr<BatchNorm2d>> norms;
    explicit Wide(std::size_t n) {
      for (std::size_t i = 0; i < n; ++i) {
        add("conv" + std::to_string(i), *convs.emplace_back(std::make_unique<Conv2d>(1, 1, 1)));
        add("norm" + std::to_string(i), *norms.emplace_back(std::make_unique<BatchNorm2d>(1)));
      }
      init_random(*this, 1);
    }
    Value forward(Value x) const override {
      std::vector<Value> all;
      for (const auto& conv : convs) all.push_back((*conv)(x));
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = (*norms[i])(all[i]);
      return concat(all);
    }
  };
  const auto seconds = [](std::size_t n) {
    const std::clock_t begin = std::clock();
    const Wide model(n);
    const Session net = compile(model, {{"x", {1, 1, 1, 1}}}, Device::reference());
    std::map<std::string_view, std::size_t> layers;
    for (const Step& step : net.plan().steps) ++layers[step.layer->type_name()];
    EXPECT_EQ(layers["Conv2d"], n);
    EXPECT_EQ(layers["BatchNorm2d"], 0U) << "each norm is in its convolution";
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const double small = seconds(kLarge / 50), whole = seconds(kLarge / 5);
  EXPECT_LT(whole, 30 * small + 0.2) << "a tenth took " << small << " s";
}

TEST(Scale, DeepNesting) {
  struct Nested : Module {
    std::unique_ptr<Nested> inner;
    explicit Nested(int depth) {
      if (depth == 0) return;
      inner = std::make_unique<Nested>(depth - 1);
      add("m", *inner);
    }
    Value forward(Value x) const override { return inner ? times((*inner)(x)) : x; }
  };
  const Nested model(1000);
  const std::clock_t begin = std::clock();
  const Session net = compile(model, {{"x", {1}}}, Device::reference());
  EXPECT_EQ(net.plan().steps.size(), 1000U);
  EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, 5);
}

// Beyond what greedy packing can look at, the other planner has to come near the least as well.
TEST(Scale, LargePlansPackWell) {
  std::mt19937 random(1);
  Plan plan;
  plan.values.push_back({{{1}}, "x", -1});
  plan.inputs = {{"x", 0}};
  const int steps = 20'000;
  for (int i = 0; i < steps; ++i) {
    Step step;
    step.layer = std::make_shared<Times>();
    step.path = std::to_string(i);
    // Half of the inputs are recent, half from far back.
    const int newest = static_cast<int>(plan.values.size()) - 1;
    const int back = random() % 2 == 0 ? static_cast<int>(random() % 8) : static_cast<int>(random() % 12'000);
    step.inputs = {std::max(0, newest - back)};
    step.outputs = {newest + 1};
    plan.values.push_back({{{1 + static_cast<std::int64_t>(random() % 4000)}}, step.path, i});
    plan.steps.push_back(step);
  }
  plan.outputs = {{"y", plan.steps.back().output()}};
  plan.validate();
  const MemoryPlan memory = plan_memory(plan, {});
  EXPECT_NO_THROW(memory.validate());
  EXPECT_LT(static_cast<double>(memory.arena_bytes), 1.15 * static_cast<double>(memory.lower_bound));
  for (const Placement& p : memory.placements) EXPECT_EQ(memory.of_value(p.value), &p);
}

TEST(Scale, OverlapsAreFound) {
  const auto refused = [](std::vector<Placement> placements) {
    MemoryPlan plan;
    plan.placements = std::move(placements);
    try {
      plan.validate();
    } catch (const Error&) {
      return true;
    }
    return false;
  };
  const Placement a{.value = 0, .offset = 256, .bytes = 512, .first_step = 2, .last_step = 5};
  const auto with = [&](std::int64_t offset, std::int64_t bytes, int first, int last) {
    return std::vector<Placement>{a, {.value = 1, .offset = offset, .bytes = bytes, .first_step = first, .last_step = last}};
  };
  EXPECT_TRUE(refused(with(256, 512, 2, 5))) << "the same memory";
  EXPECT_TRUE(refused(with(0, 257, 5, 9))) << "one byte, one step";
  EXPECT_TRUE(refused(with(767, 1, 0, 2))) << "the last byte";
  EXPECT_TRUE(refused(with(0, 4096, 3, 3))) << "around it";
  EXPECT_TRUE(refused(with(300, 16, 0, 9))) << "inside, and alive longer";
  EXPECT_FALSE(refused(with(0, 256, 0, 9))) << "below";
  EXPECT_FALSE(refused(with(768, 256, 0, 9))) << "above";
  EXPECT_FALSE(refused(with(256, 512, 6, 9))) << "later";
  EXPECT_FALSE(refused(with(256, 512, 0, 1))) << "earlier";
}

}  // namespace
}  // namespace frieze::test
