#include <frieze/layers/split/split.h>

#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/graph/session.h>
#include "support/parity.h"
#include "support/reference.h"

namespace frieze {
namespace {

using test::message_of;
using Floats = std::vector<float>;

std::vector<Floats> run(const Shape& shape, const test::FunctionModel::Function& f, const Device& device = Device::reference()) {
  const test::FunctionModel model(f);
  Session net = compile(model, {{"x", shape}}, device, {.passes = {.views = false}});
  net.input().copy_from(test::iota(static_cast<std::size_t>(shape.elements())));
  net.run();
  std::vector<Floats> outputs;
  for (const PlanPort& port : net.plan().outputs) outputs.push_back(net.output(port.name).floats());
  return outputs;
}

TEST(SplitTest, CutsRangesOneAfterTheOther) {
  EXPECT_EQ(run({2, 4},
                [](const std::vector<Value>& x) {
                  return split(x[0], {1, 3});
                }),
            (std::vector<Floats>{{0, 4}, {1, 2, 3, 5, 6, 7}}));
  EXPECT_EQ(run({3, 2}, [](const std::vector<Value>& x) { return split(x[0], 2, 0); }), (std::vector<Floats>{{0, 1, 2, 3}, {4, 5}}));
  EXPECT_EQ(run({1, 2, 3},
                [](const std::vector<Value>& x) {
                  return split(x[0], {2, 1}, -1);
                }),
            (std::vector<Floats>{{0, 1, 3, 4}, {2, 5}}));
  EXPECT_EQ(run({1, 6, 1, 2}, [](const std::vector<Value>& x) { return chunk(x[0], 3); }),
            (std::vector<Floats>{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}}));
}

TEST(SplitTest, IsOneStepOfSeveralOutputs) {
  const Plan plan = test::trace_function({{1, 6, 2, 2}}, [](const std::vector<Value>& x) { return chunk(x[0], 3); });
  ASSERT_EQ(plan.steps.size(), 1U);
  const auto& layer = dynamic_cast<const Split&>(*plan.steps[0].layer);
  EXPECT_EQ(layer.lengths(), (std::vector<std::int64_t>{2, 2, 2}));
  EXPECT_EQ(layer.axis(), 1);
  EXPECT_EQ(plan.spec(plan.output("y2")).shape, (Shape{1, 2, 2, 2}));
}

TEST(SplitTest, RefusesWhatDoesNotAddUp) {
  const auto traced = [](const test::FunctionModel::Function& f) { (void)test::trace_function({{1, 6, 2, 2}}, f); };
  const auto five = [](const std::vector<Value>& x) { return split(x[0], {2, 3}); };
  const std::string message = message_of<ShapeError>([&] { traced(five); });
  EXPECT_TRUE(message.starts_with("split: Split into 2, 3 channels expects 5 along the axis, got 6 (x [1,6,2,2])")) << message;
  EXPECT_THROW(traced([](const std::vector<Value>& x) { return split(x[0], 2, 4); }), ShapeError);
  EXPECT_THROW(traced([](const std::vector<Value>& x) { return split(x[0], 0); }), OptionError);
  EXPECT_THROW(traced([](const std::vector<Value>& x) { return split(x[0], std::vector<std::int64_t>{}); }), OptionError);
  EXPECT_THROW(traced([](const std::vector<Value>& x) { return split(x[0], {7, -1}); }), OptionError);
  EXPECT_THROW(traced([](const std::vector<Value>& x) { return chunk(x[0], 4); }), ShapeError);
  EXPECT_THROW(traced([](const std::vector<Value>& x) { return chunk(x[0], 0); }), OptionError);
  const std::int64_t huge = std::int64_t{1} << 50;
  EXPECT_THROW((void)test::trace_function({{huge}}, [](const std::vector<Value>& x) { return split(x[0], 1, 0); }), OptionError);
}

TEST(SplitGpu, GivesWhatTheReferenceGives) {
  FRIEZE_NEEDS_GPU();
  for (const auto& f : std::vector<test::FunctionModel::Function>{[](const std::vector<Value>& x) {
                                                                    return split(x[0], {1, 32, 7});
                                                                  },
                                                                  [](const std::vector<Value>& x) { return split(x[0], 3, 2); },
                                                                  [](const std::vector<Value>& x) { return chunk(x[0], 2, 0); }}) {
    EXPECT_EQ(run({2, 40, 7, 3}, f), run({2, 40, 7, 3}, f, Device::cuda()));
  }
}

}  // namespace
}  // namespace frieze
