/// Loops: traced once, run as often as they say, on the reference and on a GPU.
#include <frieze/graph/repeat.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include <frieze/core/error.h>
#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/handles.h>
#endif
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/split/split.h>

#include "graph/device_layers.h"
#include "support/parity.h"

namespace frieze::test {
namespace {

constexpr int kChannels = 6;
const Shape kShape{2, kChannels, 5, 7};

// One iteration: x + silu(conv(norm(x))). Depthwise, so that no step calls a library.
struct Body : Module {
  RMSNorm2d norm{kChannels};
  Conv2d conv{kChannels, kChannels, 3, {.padding = 1, .groups = kChannels}};
  Body() { add("norm", norm), add("conv", conv); }
  Value next(Value x) const { return x + silu(conv(norm(x))); }
  Value forward(Value x) const override { return next(x); }
};

struct Looped : Module {
  Body body;
  int iterations;
  explicit Looped(int count) : iterations(count) { add("body", body); }
  Value forward(Value x) const override {
    return repeat(iterations, x, [this](Value v) { return body(v); });
  }
};

// carried: x, y; given: g; a row of a table. x' = y, y' = x * row + g.
struct Swapped : Module {
  int iterations;
  std::vector<float> rows;
  explicit Swapped(int count) : iterations(count) {
    for (int i = 0; i < count * 4; ++i) rows.push_back(0.5F + 0.01F * static_cast<float>(i % 7));
  }
  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& in) const override {
    const std::vector<Value> made =
        repeat(iterations, {.carried = {in[0].value, in[1].value}, .given = {in[2].value}, .tables = {{Shape{1, 4, 1, 1}, rows}}},
               [](const LoopValues& v) {
                 return std::vector<Value>{v.carried[1], v.carried[0] * v.rows[0] + v.given[0]};
               });
    return {{"x", made[0]}, {"y", made[1]}};
  }
};

std::vector<float> inputs(std::uint64_t seed, const Shape& shape = kShape, DType t = DType::f32) {
  return random_values(static_cast<std::size_t>(shape.elements()), seed, Fill::normal, t, shape[1]);
}

std::vector<float> run(Session& session, const std::vector<float>& x) {
  session.input().copy_from(x);
  session.poison();
  session.run();
  return session.output().floats();
}

TEST(Repeat, EqualsItsBodyAppliedInTurn) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    Looped looped(5);
    init_random(looped, 3);
    Session whole = compile(looped, {{"x", kShape, t}}, Device::reference()),
            once = compile(looped.body, {{"x", kShape, t}}, Device::reference());
    for (const std::uint64_t seed : {1, 2}) {
      std::vector<float> x = inputs(seed, kShape, t);
      const std::vector<float> got = run(whole, x);
      for (int i = 0; i < looped.iterations; ++i) x = run(once, x);
      EXPECT_EQ(got, x) << t;
    }
  }
}

TEST(Repeat, CarriesSeveralValuesAndTakesRows) {
  constexpr int kIterations = 7;
  const Shape shape{1, 4, 1, 1};
  const Swapped model(kIterations);
  Session session = compile(model, {{"x", shape}, {"y", shape}, {"g", shape}}, Device::reference());
  std::vector<float> x = inputs(1, shape), y = inputs(2, shape);
  const std::vector<float> g = inputs(3, shape);
  session.input("x").copy_from(x);
  session.input("y").copy_from(y);
  session.input("g").copy_from(g);
  for (int replay = 0; replay < 2; ++replay) {
    session.poison();
    session.run();
    std::vector<float> a = x, b = y;
    for (int i = 0; i < kIterations; ++i) {
      std::vector<float> next(4);
      for (std::size_t c = 0; c < 4; ++c) {
        const float product = a[c] * model.rows[static_cast<std::size_t>(i) * 4 + c];
        next[c] = product + g[c];
      }
      a = b;
      b = next;
    }
    const std::vector<float> got_x = session.output("x").floats(), got_y = session.output("y").floats();
    for (std::size_t c = 0; c < 4; ++c) {
      EXPECT_NEAR(got_x[c], a[c], 1e-5F);
      EXPECT_NEAR(got_y[c], b[c], 1e-5F);
    }
  }
}

// The body gives its inputs in another order: no iteration may read what it has written.
TEST(Repeat, ABodyMayGiveItsOwnInputs) {
  struct Turned : Module {
    std::vector<NamedValue> forward_named(const std::vector<NamedValue>& in) const override {
      const auto made = repeat(4, {.carried = {in[0].value, in[1].value, in[2].value}}, [](const LoopValues& v) {
        return std::vector<Value>{v.carried[1], v.carried[2], v.carried[0]};
      });
      return {{"a", made[0]}, {"b", made[1]}, {"c", made[2]}};
    }
  };
  const Shape one{1, 1, 1, 1};
  Session session = compile(Turned(), {{"a", one}, {"b", one}, {"c", one}}, Device::reference());
  for (const char* name : {"a", "b", "c"}) session.input(name).copy_from(std::vector<float>{static_cast<float>(name[0])});
  session.run();
  EXPECT_EQ(session.output("a").floats().front(), 'b');  // four turns of three are one
  EXPECT_EQ(session.output("b").floats().front(), 'c');
  EXPECT_EQ(session.output("c").floats().front(), 'a');
}

TEST(Repeat, ThousandIterationsOfALoopInALoop) {
  struct Nested : Module {
    Value forward(Value x) const override {
      return repeat(10, x, [](Value v) { return repeat(100, v, [](Value w) { return Value(relu(w) * Value(w)); }); });
    }
  };
  const Shape one{1, 1, 1, 2};
  Session session = compile(Nested(), {{"x", one}}, Device::reference());
  session.input().copy_from(std::vector<float>{1, 0.5F});
  session.run();
  EXPECT_EQ(session.output().floats(), (std::vector<float>{1, 0}));
}

TEST(Repeat, WeightsInTheBodyAreTheModels) {
  Looped looped(3);
  const auto compile_it = [&] { return compile(looped, {{"x", kShape}}, Device::reference()); };
  const std::string unfilled = message_of<WeightsError>([&] { (void)compile_it(); });
  EXPECT_TRUE(contains(unfilled, "body.norm.weight"));
  init_random(looped, 1);
  Session session = compile_it();
  const std::vector<float> x = inputs(1), before = run(session, x);
  init_random(looped, 2);
  EXPECT_EQ(run(session, x), before) << "a session keeps the values it was compiled with";
  Session other = compile_it();
  EXPECT_NE(run(other, x), before);
  EXPECT_EQ(session.receipt().memory.weights, 4 * (kChannels + kChannels * 9 + kChannels)) << "once, not for each iteration";
}

TEST(Repeat, IsToldByThePlan) {
  Looped looped(3);
  init_random(looped, 1);
  const Plan plan = optimize(trace(looped, {{"x", kShape}}));
  ASSERT_EQ(plan.steps.size(), 1U);
  const Repeat* loop = loop_of(plan.steps[0]);
  ASSERT_NE(loop, nullptr);
  EXPECT_EQ(
      plan.steps[0].flops, 3 * [&] {
        double sum = 0;
        for (const Step& step : loop->body().steps) sum += step.flops;
        return sum;
      }());
  const std::string text = plan_text(plan);
  EXPECT_TRUE(contains(text, "repeat"));
  EXPECT_TRUE(contains(text, "3 times"));
  EXPECT_TRUE(contains(text, "body.conv"));
  const auto json = nlohmann::json::parse(plan_json(plan));
  EXPECT_EQ(json["steps"][0]["loop"]["iterations"], 3);
  EXPECT_EQ(json["steps"][0]["loop"]["body"]["steps"].size(), loop->body().steps.size());
  const auto fused = [](const Step& step) { return step.label().ends_with("conv+silu+add"); };
  EXPECT_TRUE(std::any_of(loop->body().steps.begin(), loop->body().steps.end(), fused)) << "passes reach into the body";
}

// A body whose slices and concatenation look at memory: y' = silu(norm of the halves of x, changed over, and y), and an output that is an
// input.
struct Halves : Module {
  RMSNorm2d norm{8};
  int iterations;
  explicit Halves(int count) : iterations(count) { add("norm", norm); }
  std::vector<Value> next(const std::vector<Value>& v) const {
    const std::vector<Value> halves = chunk(v[0], 2);
    return {v[1], silu(norm(concat({silu(halves[1]), relu(halves[0])}) + v[1]))};
  }
  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& in) const override {
    const auto made = repeat(iterations, {.carried = {in[0].value, in[1].value}}, [this](const LoopValues& v) { return next(v.carried); });
    return {{"x", made[0]}, {"y", made[1]}};
  }
};
const std::vector<InputSpec> kHalvesInputs = {{"x", {1, 8, 3, 4}}, {"y", {1, 8, 3, 4}}};

void expect_halves(Session& session) {
  const Shape shape{1, 8, 3, 4};
  Halves once(1);
  init_random(once, 4);
  Session body = compile(once, kHalvesInputs, session.device(), {.tune = false});
  std::vector<float> x = inputs(1, shape), y = inputs(2, shape);
  session.input("x").copy_from(x);
  session.input("y").copy_from(y);
  for (int i = 0; i < 5; ++i) {
    body.input("x").copy_from(x);
    body.input("y").copy_from(y);
    body.run();
    x = body.output("x").floats(), y = body.output("y").floats();
  }
  for (int replay = 0; replay < 2; ++replay) {
    session.poison();
    session.run();
    EXPECT_EQ(session.output("x").floats(), x);
    EXPECT_EQ(session.output("y").floats(), y);
  }
}

TEST(Repeat, ABodyLooksAtMemoryAsAModelDoes) {
  Halves model(5);
  init_random(model, 4);
  const Plan plan = optimize(trace(model, kHalvesInputs));
  const Plan& body = loop_of(plan.steps[0])->body();
  EXPECT_GE(body.views.size(), 2U) << plan_text(plan);
  Session session = compile(model, kHalvesInputs, Device::reference());
  expect_halves(session);
  Session again = compile(optimize(plan), Device::reference());
  expect_halves(again);
  for (const VerifyRewrite& one : verify_rewrites(trace(model, kHalvesInputs))) EXPECT_TRUE(one.ok()) << one.name;
}

// A tap inside a loop holds what that many turns of the body make.
void expect_taps_inside(Session& session, Session& once) {
  const std::vector<float> first = inputs(3);
  const std::vector<std::string> last = session.tap("body.conv"), third = session.tap("body.conv@2"), all = session.tap("body.norm@*");
  ASSERT_EQ(last, std::vector<std::string>{"body.conv+silu+add@4"});
  EXPECT_EQ(third, std::vector<std::string>{"body.conv+silu+add@2"});
  EXPECT_EQ(all.size(), 5U);
  EXPECT_EQ(session.tapped_names().size(), 7U);
  once.tap("body.norm");
  const std::vector<float> untapped = [&] {
    std::vector<float> x = first;
    for (int i = 0; i < 5; ++i) x = run(once, x);
    return x;
  }();
  for (int replay = 0; replay < 2; ++replay) {
    EXPECT_EQ(run(session, first), untapped);
    std::vector<float> x = first;
    for (int i = 0; i < 5; ++i) {
      x = run(once, x);
      EXPECT_EQ(session.tapped("body.norm@" + std::to_string(i)).floats(), once.tapped("body.norm").floats()) << i;
      if (i == 2) {
        EXPECT_EQ(session.tapped("body.conv@2").floats(), x);
      }
    }
    EXPECT_EQ(session.tapped("body.conv").floats(), x) << "the last by default";
    EXPECT_EQ(session.tapped("body.conv+silu+add@4").floats(), x);
  }
  session.untap();
  EXPECT_EQ(run(session, first), untapped);
}

TEST(Repeat, ItsBodyIsTappedByIteration) {
  Looped looped(5);
  init_random(looped, 3);
  Looped one(1);
  init_random(one, 3);
  Session session = compile(looped, {{"x", kShape}}, Device::reference()), once = compile(one, {{"x", kShape}}, Device::reference());
  expect_taps_inside(session, once);
  const std::vector<std::string> every = session.tap("*");
  EXPECT_EQ(every.front(), "body.norm@4");
  EXPECT_EQ(every.back(), "repeat");
  EXPECT_EQ(message_of<OptionError>([&] { session.tap("body.conv@5"); }),
            "no iteration 5 of 'body.conv+silu+add': its loop runs 5 times, and counts from 0");
  EXPECT_EQ(message_of<OptionError>([&] { session.tap("repeat@1"); }), "the tap 'repeat@1' names an iteration, but 'repeat' is in no loop");
  EXPECT_TRUE(contains(message_of<OptionError>([&] { session.tap("body.other@1"); }), "no step matches the tap 'body.other'"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { session.tap("body.conv@-1"); }), "no step matches"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { session.tap("body.conv@9999999999999"); }), "no step matches"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)session.tapped("body.conv@3"); }), "'body.conv@3' is not tapped"));
  session.tap("body.conv@1");
  session.tap("body.conv@3");
  EXPECT_EQ(session.tapped("body.conv").spec().shape, kShape) << "the last is tapped too";
  session.untap();
  session.tap("body.conv@1");
  session.tap("body.conv@3");
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)session.tapped("body.conv"); }), "stands for several tapped values"));
}

struct Wrong {
  const char* what;
  std::function<Value(Value)> forward;
  const char* says;
};
struct WrongModel : Module {
  const Wrong& wrong;
  explicit WrongModel(const Wrong& w) : wrong(w) {}
  Value forward(Value x) const override { return wrong.forward(x); }
};
void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.what; }

class RepeatRefusalTest : public ::testing::TestWithParam<Wrong> {};
TEST_P(RepeatRefusalTest, OneLineNamesTheLoop) {
  const WrongModel model(GetParam());
  const std::string text = message_of<OptionError>([&] { (void)trace(model, {{"x", {1, 4, 2, 2}}}); });
  EXPECT_TRUE(contains(text, GetParam().says));
  EXPECT_TRUE(contains(text, "repeat"));
  EXPECT_TRUE(contains(text, " (repeat_test.cpp:")) << text;
  EXPECT_EQ(text.find(" ("), text.rfind(" (")) << "one line of the program";
  EXPECT_EQ(text.find('\n'), std::string::npos);
}
INSTANTIATE_TEST_SUITE_P(
    Loops, RepeatRefusalTest,
    ::testing::Values(Wrong{"iterations", [](Value x) { return repeat(0, x, [](Value v) { return v; }); }, "at least 1"},
                      Wrong{"negative", [](Value x) { return repeat(-3, x, [](Value v) { return v; }); }, "got -3"},
                      Wrong{"nothing", [](Value x) { return repeat(2, {.given = {x}}, [](const LoopValues& v) { return v.given; })[0]; },
                            "carries no value"},
                      Wrong{"count",
                            [](Value x) { return repeat(2, {.carried = {x}}, [](const LoopValues&) { return std::vector<Value>{}; })[0]; },
                            "makes 0 values, expected 1"},
                      Wrong{"outside", [](Value x) { return repeat(2, x, [x](Value) { return x; }); }, "outside of it"},
                      Wrong{"table",
                            [](Value x) {
                              return repeat(2, {.carried = {x}, .tables = {{Shape{1, 4, 1, 1}, std::vector<float>(7)}}},
                                            [](const LoopValues& v) { return v.carried; })[0];
                            },
                            "table 0 has 7 values, expected 8"}));

#if FRIEZE_WITH_CUDA
class RepeatGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
  }
  // Replays, with poison before each, equal the steps one by one, in which a loop is always unrolled; then other inputs.
  static void expect_equal_bits(Session& session, DType t, const Shape& shape = kShape) {
    for (const std::uint64_t seed : {1, 2}) {
      const std::vector<float> x = inputs(seed, shape, t), first = run(session, x), second = run(session, x);
      session.poison();
      session.run_eager();
      const std::vector<float> unrolled = session.output().floats();
      EXPECT_EQ(first, unrolled);
      EXPECT_EQ(second, first);
      EXPECT_TRUE(std::all_of(first.begin(), first.end(), [](float v) { return std::isfinite(v); }));
    }
  }
  static int loops(const Session& session) { return session.receipt().count("loop"); }
};

TEST_F(RepeatGpuTest, AWhileNodeGivesTheBitsOfTheUnrolledLoop) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const int iterations : {1, 2, 7, 1000}) {
      Looped model(iterations);
      init_random(model, 3);
      Session session = compile(model, {{"x", kShape, t}}, Device::cuda(), {.tune = false});
      EXPECT_EQ(loops(session), iterations > 1 ? 1 : 0) << session.receipt();
      EXPECT_TRUE(contains(session.receipt().steps[0].algorithm, iterations > 1 ? "WHILE node" : "unrolled"));
      EXPECT_EQ(session.receipt().launches_per_run, 1);
      expect_equal_bits(session, t);
      const VerifyReport report = verify(session, {.replays = 2});
      EXPECT_TRUE(report.ok()) << report;
      EXPECT_EQ(report.layers.back().path, "repeat");
      EXPECT_EQ(report.layers.front().path, "body.norm@" + std::to_string(iterations - 1));
    }
  }
}

TEST_F(RepeatGpuTest, CarriesSeveralValuesAndTakesRows) {
  const Shape shape{1, 4, 1, 1};
  const Swapped model(9);
  const std::vector<InputSpec> specs{{"x", shape}, {"y", shape}, {"g", shape}};
  Session gpu = compile(model, specs, Device::cuda(), {.tune = false}), cpu = compile(model, specs, Device::reference());
  EXPECT_EQ(loops(gpu), 1);
  for (const std::uint64_t seed : {1, 5}) {
    for (Session* session : {&gpu, &cpu}) {
      for (std::uint64_t i = 0; i < 3; ++i) session->input(specs[i].name).copy_from(inputs(seed + i, shape));
      session->poison();
      session->run();
    }
    for (const char* name : {"x", "y"}) {
      const std::vector<float> got = gpu.output(name).floats(), right = cpu.output(name).floats();
      for (std::size_t c = 0; c < 4; ++c) EXPECT_NEAR(got[c], right[c], 1e-5F) << name;
    }
  }
}

// A loop beside a step that is captured, and one whose body holds such a step.
TEST_F(RepeatGpuTest, StandsInACapturedGraphTooAndIsUnrolledWhereItsBodyIsCaptured) {
  struct Beside : Module {
    Body body;
    Times captured{{.factor = 0.5F, .workspace = true}};
    bool inside;
    explicit Beside(bool in_body) : inside(in_body) { add("body", body), add("captured", captured); }
    Value forward(Value x) const override {
      if (inside) return repeat(4, x, [this](Value v) { return captured(body(v)); });
      return captured(repeat(4, captured(x), [this](Value v) { return body(v); }));
    }
  };
  for (const bool inside : {false, true}) {
    Beside model(inside);
    init_random(model, 2);
    Session session = compile(model, {{"x", kShape}}, Device::cuda(), {.tune = false});
    EXPECT_EQ(session.receipt().capture_attempts, 1);
    EXPECT_EQ(loops(session), inside ? 0 : 1) << session.receipt();
    expect_equal_bits(session, DType::f32);
    EXPECT_TRUE(verify(session).ok()) << verify(session);
  }
}

TEST_F(RepeatGpuTest, PortsMayBeBoundAndStepsTapped) {
  Looped model(6);
  init_random(model, 2);
  Session session = compile(model, {{"x", kShape}}, Device::cuda(), {.tune = false});
  const std::vector<float> x = inputs(1), right = run(session, x);
  const cuda::DeviceBuffer y(right.size() * sizeof(float));
  session.bind(session.output().name(), y.data());
  EXPECT_EQ(run(session, x), right);
  session.bind(session.output().name(), nullptr);
  EXPECT_EQ(run(session, x), right);
  const std::vector<std::string> names = session.tap();
  EXPECT_EQ(names.back(), "repeat");
  EXPECT_EQ(run(session, x), right);
  EXPECT_EQ(session.tapped("repeat").floats(), right);
  EXPECT_EQ(session.tapped("body.conv").floats(), right) << "the last iteration's";
  session.bind(session.output().name(), y.data());  // captures the taps again
  EXPECT_EQ(run(session, x), right);
  EXPECT_EQ(session.tapped("body.conv").floats(), right);
  session.run_eager();
  EXPECT_EQ(session.tapped("body.conv").floats(), right);
}

// In a WHILE node, and where the body holds a step that is captured.
TEST_F(RepeatGpuTest, ItsBodyIsTappedByIteration) {
  Looped looped(5), one(1);
  init_random(looped, 3);
  init_random(one, 3);
  Session session = compile(looped, {{"x", kShape}}, Device::cuda(), {.tune = false});
  Session once = compile(one, {{"x", kShape}}, Device::cuda(), {.tune = false});
  EXPECT_EQ(loops(session), 1);
  expect_taps_inside(session, once);

  struct Captured : Module {
    Body body;
    Times captured{{.factor = 0.5F, .workspace = true}};
    Captured() { add("body", body), add("captured", captured); }
    Value forward(Value x) const override {
      return repeat(4, x, [this](Value v) { return captured(body(v)); });
    }
  };
  Captured model;
  init_random(model, 2);
  Session unrolled = compile(model, {{"x", kShape}}, Device::cuda(), {.tune = false});
  EXPECT_EQ(loops(unrolled), 0);
  const std::vector<float> x = inputs(1), right = run(unrolled, x);
  unrolled.tap("captured@*");
  unrolled.tap("body.norm@1");
  EXPECT_EQ(run(unrolled, x), right);
  EXPECT_EQ(unrolled.tapped("captured@3").floats(), right);
  const std::vector<float> replayed = unrolled.tapped("body.norm@1").floats();
  unrolled.poison();
  unrolled.run_eager();
  EXPECT_EQ(unrolled.tapped("body.norm@1").floats(), replayed);
  EXPECT_NE(unrolled.tapped("captured@0").floats(), unrolled.tapped("captured@1").floats());
}

TEST_F(RepeatGpuTest, ABodyLooksAtMemoryAsAModelDoes) {
  Halves model(5);
  init_random(model, 4);
  Session session = compile(model, kHalvesInputs, Device::cuda(), {.tune = false});
  EXPECT_EQ(loops(session), 1);
  expect_halves(session);
  EXPECT_TRUE(verify(session).ok()) << verify(session);
}
#endif

}  // namespace
}  // namespace frieze::test
