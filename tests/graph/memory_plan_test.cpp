#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include <frieze/graph/memory_plan.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

struct RandomPlan {
  Plan plan;
  std::vector<std::int64_t> workspaces;
};

// A plan of up to 40 steps whose values are between 1 byte-ish and 1 MB, read by up to three later steps or by nobody.
RandomPlan random_plan(std::uint32_t seed) {
  std::mt19937 rng(seed);
  const auto below = [&](int n) { return static_cast<int>(rng() % static_cast<std::uint32_t>(n)); };
  RandomPlan out;
  Plan& plan = out.plan;
  const auto layer = std::make_shared<Times>();
  const auto add_value = [&](int producer) {
    const std::int64_t elements = below(4) == 0 ? 1 + below(8) : 1 + below(250000);
    plan.values.push_back({{{elements}, below(2) == 0 ? DType::f32 : DType::bf16}, "v" + std::to_string(plan.values.size()), producer});
    return static_cast<int>(plan.values.size()) - 1;
  };
  for (int i = 0; i < 1 + below(3); ++i) plan.inputs.push_back({"in" + std::to_string(i), add_value(-1)});
  const int steps = 1 + below(40);
  for (int i = 0; i < steps; ++i) {
    Step step;
    step.layer = layer;
    step.path = "s" + std::to_string(i);
    for (int k = 0; k < 1 + below(3); ++k) step.inputs.push_back(below(static_cast<int>(plan.values.size())));
    step.outputs = {add_value(i)};
    plan.steps.push_back(step);
    out.workspaces.push_back(below(3) == 0 ? below(500000) : 0);
  }
  std::set<int> outputs{plan.steps.back().output()};
  for (int i = 0; i < below(4); ++i) outputs.insert(plan.steps[static_cast<std::size_t>(below(steps))].output());
  for (const int id : outputs) plan.outputs.push_back({"out" + std::to_string(id), id});
  plan.validate();
  return out;
}

bool is_output(const Plan& plan, int value) {
  return std::any_of(plan.outputs.begin(), plan.outputs.end(), [&](const PlanPort& p) { return p.value == value; });
}

// What must be intact during a step, found by looking at the plan only: everything made up to it and read at it or later,
// its own output, and its workspace.
std::vector<const Placement*> needed_at(const RandomPlan& r, const MemoryPlan& memory, int step, bool keep) {
  std::vector<const Placement*> out;
  for (std::size_t id = 0; id < r.plan.values.size(); ++id) {
    const int value = static_cast<int>(id), producer = r.plan.values[id].producer;
    if (producer < 0 || is_output(r.plan, value) || (producer > step && !keep)) continue;
    bool needed = keep || producer == step;
    for (std::size_t i = static_cast<std::size_t>(step); i < r.plan.steps.size(); ++i) {
      const auto& inputs = r.plan.steps[i].inputs;
      needed |= std::find(inputs.begin(), inputs.end(), value) != inputs.end();
    }
    if (needed) out.push_back(memory.of_value(value));
  }
  if (r.workspaces[static_cast<std::size_t>(step)] > 0) out.push_back(memory.workspace_of(step));
  return out;
}

void expect_sound(const RandomPlan& r, bool keep) {
  const MemoryPlan memory = plan_memory(r.plan, r.workspaces, keep);
  std::int64_t peak = 0, sum = 0;
  for (const Placement& p : memory.placements) {
    EXPECT_EQ(p.offset % 256, 0);
    EXPECT_GE(p.offset, 0);
    EXPECT_LE(p.offset + p.bytes, memory.arena_bytes);
    const std::int64_t wanted = p.value >= 0 ? r.plan.spec(p.value).bytes() : r.workspaces[static_cast<std::size_t>(p.first_step)];
    EXPECT_GE(p.bytes, wanted);
    EXPECT_LT(p.bytes, wanted + 256);
    sum += p.bytes;
  }
  for (int step = 0; step < static_cast<int>(r.plan.steps.size()); ++step) {
    const auto live = needed_at(r, memory, step, keep);
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < live.size(); ++i) {
      ASSERT_NE(live[i], nullptr) << "step " << step;
      bytes += live[i]->bytes;
      for (std::size_t j = 0; j < i; ++j) {
        const bool apart = live[i]->offset + live[i]->bytes <= live[j]->offset || live[j]->offset + live[j]->bytes <= live[i]->offset;
        EXPECT_TRUE(apart) << "step " << step;
      }
    }
    peak = std::max(peak, bytes);
  }
  EXPECT_EQ(memory.lower_bound, peak);
  EXPECT_GE(memory.arena_bytes, memory.lower_bound);
  EXPECT_LE(memory.arena_bytes, sum);
}

TEST(MemoryPlanTest, NoTwoLiveTensorsShareMemoryInAThousandRandomPlans) {
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    expect_sound(random_plan(seed), false);
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(MemoryPlanTest, KeepValuesKeepsThemAll) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    expect_sound(random_plan(seed), true);
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(MemoryPlanTest, RandomPlansStayCloseToTheLowerBound) {
  double excess = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    const RandomPlan r = random_plan(seed);
    const MemoryPlan memory = plan_memory(r.plan, r.workspaces);
    if (memory.lower_bound > 0) excess += static_cast<double>(memory.arena_bytes) / static_cast<double>(memory.lower_bound) - 1;
  }
  EXPECT_LT(excess / 300, 0.05) << "a first fit by size wastes a few percent at most on average";
}

Plan chain(int steps, const Shape& shape) {
  return trace(Lambda([&](Value x) {
                 for (int i = 0; i < steps; ++i) x = relu(x);
                 return x;
               }),
               {{"x", shape}});
}

TEST(MemoryPlanTest, AChainNeedsTwoBuffersHoweverLong) {
  const MemoryPlan memory = plan_memory(chain(50, {64}), {});
  EXPECT_EQ(memory.placements.size(), 49U) << "the last value is a port";
  EXPECT_EQ(memory.arena_bytes, 2 * 256);
  EXPECT_EQ(memory.lower_bound, memory.arena_bytes);
  EXPECT_EQ(plan_memory(chain(50, {64}), {}, true).arena_bytes, 49 * 256);
}

TEST(MemoryPlanTest, PortsAreNotInTheArena) {
  const Plan plan = chain(2, {64});
  const MemoryPlan memory = plan_memory(plan, {});
  EXPECT_EQ(memory.of_value(plan.input("x")), nullptr);
  EXPECT_EQ(memory.of_value(plan.output("y")), nullptr);
  ASSERT_NE(memory.of_value(plan.steps[0].output()), nullptr);
  EXPECT_EQ(memory.of_value(-1), nullptr) << "-1 marks workspaces, it names no value";
  EXPECT_EQ(plan_memory(chain(1, {64}), {}).arena_bytes, 0);
}

TEST(MemoryPlanTest, AWorkspaceLivesForItsStepOnly) {
  const MemoryPlan memory = plan_memory(chain(3, {64}), {1000, 0, 500});
  ASSERT_NE(memory.workspace_of(0), nullptr);
  EXPECT_EQ(memory.workspace_of(0)->bytes, 1024);
  EXPECT_EQ(memory.workspace_of(1), nullptr);
  EXPECT_EQ(memory.lower_bound, 1024 + 256);
  EXPECT_EQ(memory.arena_bytes, 1024 + 256) << "the second workspace reuses the first one's bytes";
}

TEST(MemoryPlanTest, AValueThatNobodyReadsStillHasRoomWhileItIsWritten) {
  const Plan plan = trace(Lambda([](Value x) {
                            (void)silu(x);
                            return relu(relu(x));
                          }),
                          {{"x", {64}}});
  const MemoryPlan memory = plan_memory(plan, {});
  const Placement* unread = memory.of_value(plan.steps[0].output());
  ASSERT_NE(unread, nullptr);
  EXPECT_EQ(unread->first_step, 0);
  EXPECT_EQ(unread->last_step, 0);
}

TEST(MemoryPlanTest, RefusesAnArenaPastAllAddresses) {
  const std::int64_t huge = std::int64_t{1} << 60;
  const Plan plan = trace(Lambda([](Value x) {
                            Value sum = relu(x);
                            for (int i = 0; i < 4; ++i) sum = relu(sum) + sum;
                            return sum;
                          }),
                          {{"x", {huge}}});
  EXPECT_THROW((void)plan_memory(plan, {}, true), ShapeError) << "nine values of 2^62 bytes";
}

}  // namespace
}  // namespace frieze::test
