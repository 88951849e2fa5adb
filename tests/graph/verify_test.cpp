#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include <frieze/graph/reference_step.h>
#include <frieze/graph/verify.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

/// y = (channel + 3) * x, of a layer whose reference breaks its contract in one way.
enum class Lie {
  none,
  leaves_last_unwritten,  // a stale buffer, or an off-by-one at the border
  depends_on_history,     // state that survives a run
  ignores_strides,        // reads and writes nhwc memory as if it were nchw
  writes_its_input,       // constness is the callee's promise
  rounds_down,            // truncates at the store instead of rounding to nearest
  misses_border,          // an off-by-one: the last column stays as it was
  drops_last_channel,     // its bytes stay as they were
  reads_stale,            // adds what an earlier step left in the memory
  reads_early,            // takes an element of its output before it is written, as one thread takes another's
};

class Liar final : public Layer {
 public:
  explicit Liar(Lie lie) : lie_(lie) {}
  Inferred infer(std::span<const TensorSpec> in) const override {
    check_inputs(type_name(), in, 1);
    return elementwise_cost(in, {in[0].shape, in[0].dtype}, 1);
  }
  void reference(const ReferenceArgs& args) const override {
    TensorView x = args.in[0], y = args.out[0];
    if (lie_ == Lie::ignores_strides) x.strides = y.strides = contiguous_strides(x.shape, Format::nchw);
    const std::vector<float> in = to_floats(x);
    std::vector<double> out(in.size());
    const std::int64_t pixels = x.shape.h() * x.shape.w();
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::int64_t channel = static_cast<std::int64_t>(i) / pixels % x.shape.c();
      out[i] = static_cast<double>(channel + 3) * static_cast<double>(in[i]);
    }
    if (lie_ == Lie::depends_on_history) out[0] += ++runs_;
    if (lie_ == Lie::rounds_down && args.out[0].dtype != DType::f32) {
      for (double& v : out) {
        const double nearest = round_to(args.out[0].dtype, v);
        if (std::abs(nearest) > std::abs(v)) v = nearest * (1 - 1.01 * unit_roundoff(args.out[0].dtype));  // the next number towards zero
      }
    }
    if (lie_ == Lie::leaves_last_unwritten && args.out[0].shape[0] > 1) {
      TensorView part = y;
      part.shape = part.shape.with(0, part.shape[0] - 1);
      out.resize(static_cast<std::size_t>(part.shape.elements()));
      return from_doubles(out, part);
    }
    const std::vector<float> before = to_floats(y);
    const auto at = [&](std::int64_t i) { return static_cast<std::size_t>(i); };
    const std::int64_t count = static_cast<std::int64_t>(out.size()), width = x.shape.w(), channels = x.shape.c();
    for (std::int64_t i = 0; i < count; ++i) {
      const bool border = lie_ == Lie::misses_border && i % width == width - 1;
      const bool channel = lie_ == Lie::drops_last_channel && i / pixels % channels == channels - 1;
      if (border || channel) out[at(i)] = before[at(i)];
      if (lie_ == Lie::reads_stale) out[at(i)] += before[at(i)];
      if (lie_ == Lie::reads_early && i % 32 == 31) out[at(i)] = before[at((i + 1) % count)];
    }
    from_doubles(out, y);
    if (lie_ == Lie::writes_its_input) store_element(x.dtype, x.data, 0, 1000);
  }
  FormatRule formats(std::span<const TensorSpec>) const override {
    return lie_ == Lie::ignores_strides ? FormatRule{.nchw = false, .nhwc = true, .prefers = Format::nhwc} : FormatRule{};
  }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 1, .terms = 0}; }
  std::string_view type_name() const override { return "Liar"; }

 private:
  Lie lie_;
  mutable int runs_ = 0;
};

struct Suspect : Module {
  Times before{{.factor = 0.5F, .absorbs = 2}}, after{{.factor = 0.7F}};
  Liar liar;
  explicit Suspect(Lie lie) : liar(lie) {
    add("before", before);
    add("liar", liar);
    add("after", after);
  }
  Value forward(Value x) const override { return after(liar(silu(before(x)))); }
};

Session net_of(const Module& model, DType t = DType::f32, Shape shape = {3, 4, 5, 6}) {
  return compile(model, {{"x", shape, t}}, Device::reference());
}

TEST(VerifyTest, AnHonestModelPassesInEveryType) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    const Suspect model(Lie::none);
    const VerifyReport report = verify(net_of(model, t));
    EXPECT_TRUE(report.ok()) << report;
    EXPECT_EQ(report.layers.size(), 3U);
    EXPECT_LE(report.worst_share, 1);
    EXPECT_TRUE(report.first_divergent.empty());
    EXPECT_LT(report.output_nmse, t == DType::f32 ? 1e-12 : 1e-4) << "fusion only saves roundings";
    EXPECT_GT(report.worst_share, t == DType::f32 ? -1 : 0.5) << "a budget that nobody comes near is none";
  }
}

TEST(VerifyTest, TheWorstIndexAndTheSeedAreReproducible) {
  const Suspect model(Lie::none);
  const Session net = net_of(model, DType::bf16);
  EXPECT_EQ(verify(net).text(), verify(net).text());
  EXPECT_NE(verify(net, {.seed = 2}).text(), verify(net).text());
}

TEST(VerifyTest, AnUnwrittenPartIsFoundByName) {
  const Suspect model(Lie::leaves_last_unwritten);
  const VerifyReport report = verify(net_of(model));
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.first_divergent, "liar");
  const auto liar = std::find_if(report.layers.begin(), report.layers.end(), [](const VerifyLayer& l) { return l.path == "liar"; });
  ASSERT_NE(liar, report.layers.end());
  EXPECT_EQ(liar->isolated.worst_index, 2 * 4 * 5 * 6) << "the first element of the last image";
  EXPECT_TRUE(report.layers.back().ok()) << "the layer behind it is innocent";
  EXPECT_TRUE(contains(report.text(), "first divergent layer: liar"));
  EXPECT_TRUE(contains(report.text(), "verify: FAILED"));
}

TEST(VerifyTest, StateThatSurvivesARunIsFoundByName) {
  const Suspect model(Lie::depends_on_history);
  const VerifyReport report = verify(net_of(model));
  EXPECT_FALSE(report.second_replay_equal);
  EXPECT_FALSE(report.replay_equals_eager);
  EXPECT_FALSE(report.restored_inputs_equal);
  EXPECT_EQ(report.first_unequal, "liar (second replay)");
  EXPECT_FALSE(report.ok());
}

TEST(VerifyTest, ALayerThatMistakesTheFormatIsFoundByName) {
  const Suspect model(Lie::ignores_strides);
  EXPECT_EQ(verify(net_of(model)).first_divergent, "liar");
}

TEST(VerifyTest, ALayerThatWritesItsInputIsFoundByName) {
  const Suspect model(Lie::writes_its_input);
  const VerifyReport report = verify(net_of(model));
  EXPECT_FALSE(report.ok());
  EXPECT_TRUE(report.first_divergent == "liar" || report.first_divergent == "before") << report;
}

TEST(VerifyTest, AWrongRoundingIsFoundByName) {
  for (const DType t : {DType::f16, DType::bf16}) {
    const Suspect model(Lie::rounds_down);
    const VerifyReport report = verify(net_of(model, t));
    EXPECT_EQ(report.first_divergent, "liar") << report;
    EXPECT_LE(report.worst_share, 2.01) << "one unit in the last place, no more";
  }
}

struct Broken {
  Lie lie;
  std::function<bool(std::int64_t)> there;  // whether the worst element is where the mistake is, in [3,4,5,6]
};

TEST(VerifyTest, EveryBrokenKernelIsNamedAndLocatedAndItsNeighboursAreInnocent) {
  const Broken all[] = {{Lie::misses_border, [](std::int64_t i) { return i % 6 == 5; }},
                        {Lie::drops_last_channel, [](std::int64_t i) { return i / 30 % 4 == 3; }},
                        {Lie::reads_stale, [](std::int64_t) { return true; }},
                        {Lie::reads_early, [](std::int64_t i) { return i % 32 == 31; }},
                        {Lie::rounds_down, [](std::int64_t) { return true; }}};
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const Broken& broken : all) {
      if (t == DType::f32 && broken.lie == Lie::rounds_down) continue;  // there is no wider type to round from
      const Suspect model(broken.lie);
      const VerifyReport report = verify(net_of(model, t));
      EXPECT_EQ(report.first_divergent, "liar") << report;
      for (const VerifyLayer& layer : report.layers) EXPECT_EQ(layer.ok(), layer.path != "liar") << layer.path;
      EXPECT_GT(report.layers[1].isolated.share, 1);
      EXPECT_TRUE(broken.there(report.layers[1].isolated.worst_index)) << report.layers[1].isolated.worst_index;
    }
  }
}

TEST(VerifyTest, TellsAllThatItDid) {
  const Suspect model(Lie::none);
  const VerifyReport report = verify(net_of(model, DType::bf16), {.replays = 5});
  EXPECT_EQ(report.replays, 5);
  EXPECT_TRUE(report.replays_equal);
  EXPECT_TRUE(report.interleaved_equal);
  EXPECT_TRUE(report.interleaved) << "one image more is no problem for these layers";
  EXPECT_EQ(report.grown_bytes, 0);
  for (const char* part : {"interleaved with another batch yes", "soak: 5 replays with changing inputs, equal yes", "grew by 0 bytes"}) {
    EXPECT_TRUE(contains(report.text(), part));
  }
  EXPECT_EQ(report.layers.back().accumulated.nmse, report.layers.back().drift_nmse);
  EXPECT_GT(report.layers.back().isolated.budget, 0);
}

TEST(VerifyTest, TakesInputsOfTheUser) {
  const Suspect model(Lie::leaves_last_unwritten);
  const Session net = net_of(model, DType::f32, {1, 2, 3, 4});
  std::vector<HostTensor> inputs;
  inputs.emplace_back(TensorSpec{{1, 2, 3, 4}, DType::f32}, ramp(24));
  EXPECT_TRUE(verify(net, {.inputs = std::move(inputs)}).ok()) << "with one image nothing is left out";
  std::vector<HostTensor> two(2);
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)verify(net, {.inputs = std::move(two)}); }), "1 inputs, got 2"));
  std::vector<HostTensor> wrong;
  wrong.emplace_back(TensorSpec{{1, 2, 3, 5}, DType::f32}, ramp(30));
  EXPECT_THROW((void)verify(net, {.inputs = std::move(wrong)}), ShapeError);
}

TEST(VerifyTest, LeavesTheSessionAsItWas) {
  const Suspect model(Lie::none);
  Session net = net_of(model, DType::f32, {1, 1, 1, 2});
  net.input().copy_from(std::vector<float>{1, 2});
  net.run();
  const std::vector<float> before = net.output().floats();
  (void)verify(net);
  EXPECT_EQ(net.input().floats(), (std::vector<float>{1, 2}));
  EXPECT_EQ(net.output().floats(), before);
}

TEST(StepBudgetTest, AFusedChainRoundsOnceAndCarriesItsTerms) {
  const auto plan_of = [](DType t, auto&& body) { return optimize(trace(Lambda(body), {{"x", {1, 2, 2, 2}, t}})); };
  const auto alone = plan_of(DType::bf16, [](Value x) { return times(x, {.absorbs = 4}); });
  EXPECT_EQ(step_budget(alone, alone.steps[0]).roundings, 1);
  EXPECT_EQ(step_budget(alone, alone.steps[0]).terms, 0);
  const auto chain = plan_of(DType::bf16, [](Value x) { return silu(times(x, {.absorbs = 4})) + x; });
  const ErrorBudget budget = step_budget(chain, chain.steps[0]);
  EXPECT_EQ(budget.roundings, 1);
  EXPECT_GT(budget.terms, 2) << "silu and the sum compute in f32";
  EXPECT_LT(budget.terms, 40);
  const auto exact = plan_of(DType::f16, [](Value x) { return relu(times(x, {.absorbs = 4})); });
  EXPECT_LE(step_budget(exact, exact.steps[0]).terms, 1) << "relu adds nothing of its own";
}

// What a kernel does: f32 all the way, one rounding at the end; against the reference in double.
float chain_in_f32(float x, float gate) {
  const float z = 0.3F * x;
  const float s = z / (1.0F + std::exp(-z));
  const float y = s * gate + x;
  return y < 0 ? 0 : y;
}

TEST(StepBudgetTest, AChainInF32StaysWithinItsBudgetAndAWrongOneDoesNot) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    const Lambda model([](const std::vector<NamedValue>& in) {
      const Value z = times(in[0].value, {.factor = 0.3F, .absorbs = 4});
      return std::vector<NamedValue>{{"y", relu(silu(z) * in[1].value + in[0].value)}};
    });
    constexpr std::int64_t kCount = 20000;
    const Plan plan = optimize(trace(model, {{"x", {kCount}, t}, {"g", {kCount}, t}}));
    ASSERT_EQ(labels(plan), "times+silu+mul+add+relu");
    std::mt19937 rng(7);
    std::normal_distribution<float> normal;
    std::vector<float> x(kCount), gate(kCount), got, truncated;
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = round_to(t, 4 * normal(rng));
      gate[i] = round_to(t, normal(rng));
      got.push_back(round_to(t, chain_in_f32(x[i], gate[i])));
      truncated.push_back(round_to(t, round_to(DType::bf16, chain_in_f32(x[i], gate[i]))));
    }
    const TensorSpec spec{{kCount}, DType::f32};
    const HostTensor in[] = {HostTensor(spec, x), HostTensor(spec, gate), HostTensor(spec, x)};
    const TensorView views[] = {in[0].view(), in[1].view(), in[2].view()};
    HostTensor expected(spec);
    const TensorView made[] = {expected.view()};
    const double scale = reference_step(plan.steps[0], views, made, t);
    const ErrorBudget budget = step_budget(plan, plan.steps[0]);
    const double share = difference(got, expected.floats(), t, budget, scale).share;
    EXPECT_LE(share, 1) << t;
    EXPECT_GT(share, 0.02) << t << ": a budget that nobody can miss is no budget";
    if (t == DType::bf16) continue;
    EXPECT_GT(difference(truncated, expected.floats(), t, budget, scale).share, 2) << t << ": rounded to bf16 on the way";
  }
}

}  // namespace
}  // namespace frieze::test
