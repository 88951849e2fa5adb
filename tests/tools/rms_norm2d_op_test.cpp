// `frieze op rms_norm2d`: every setting and every tensor that the layer takes, against the formula.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "layers/rms_norm2d_formula.h"
#include "tools/command.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

constexpr std::int64_t kChannels = 5, kPixels = 3;

class RmsNormOp : public ::testing::Test {
 protected:
  void SetUp() override {
    x_.values = numbers(15, 1);
    residual_.values = numbers(15, 2);
    weight_ = numbers(5, 3);
    bias_ = numbers(5, 4);
  }

  // Numbers of about 0.01 to 1 with an exact binary16 form, so that eps and every rounding matter.
  static std::vector<float> numbers(std::size_t count, std::uint32_t state) {
    std::vector<float> values(count);
    for (float& v : values) {
      state = state * 1664525U + 1013904223U;
      v = round_to(DType::bf16, static_cast<double>(state >> 8) / (1 << 23) - 1.0);
    }
    return values;
  }

  Outcome call(const RawTensors& tensors, const std::vector<std::string>& settings, const std::vector<std::string>& more = {}) {
    save(folder_.file("in.safetensors"), tensors);
    std::vector<std::string> arguments = {
        "op", "rms_norm2d", "--device", "cpu", "--in", folder_.file("in.safetensors"), "--out", folder_.file("out.safetensors")};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_frieze(arguments);
  }
  std::vector<float> result(const RawTensors& tensors, const std::vector<std::string>& settings,
                            const std::vector<std::string>& more = {}) {
    const Outcome outcome = call(tensors, settings, more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.status == 0 ? Weights::open(folder_.file("out.safetensors")).floats("y") : std::vector<float>(15, NAN);
  }
  RawTensor image(const RawTensor& like, DType t) const { return {like.shape, t, like.values}; }
  static RawTensor vector(const std::vector<float>& values, DType t, const Shape& shape = {kChannels}) { return {shape, t, values}; }

  void expect_formula(const std::vector<float>& y, const RMSNorm2dOptions& o, DType t) const {
    for (std::int64_t p = 0; p < kPixels; ++p) {
      std::vector<float> in, second, got;
      for (std::size_t i = static_cast<std::size_t>(p); i < x_.values.size(); i += kPixels) {
        in.push_back(x_.values[i]);
        second.push_back(residual_.values[i]);
        got.push_back(y[i]);
      }
      const auto truth = norm_pixel(o, t, in, o.weight ? weight_ : std::vector<float>{}, o.bias ? bias_ : std::vector<float>{},
                                    o.residual == ResidualMode::none ? std::vector<float>{} : second);
      for (std::size_t c = 0; c < got.size(); ++c)
        EXPECT_EQ(got[c], round_to(t, static_cast<double>(truth[c].y))) << "pixel " << p << ", channel " << c;
    }
  }

  RawTensor x_{{1, kChannels, 1, kPixels}, DType::f32, {}}, residual_ = x_;
  std::vector<float> weight_, bias_;
  TempFolder folder_;
};

TEST_F(RmsNormOp, EverySetting) {
  const auto check = [this](const RMSNorm2dOptions& o, DType t, const std::vector<std::string>& settings) {
    RawTensors tensors = {{"x", image(x_, t)}};
    if (o.weight) tensors["weight"] = vector(weight_, t);
    if (o.bias) tensors["bias"] = vector(bias_, t);
    if (o.residual != ResidualMode::none) tensors["residual"] = image(residual_, t);
    std::string trace = std::string(name(t));
    for (const std::string& s : settings) trace += ' ' + s;
    SCOPED_TRACE(trace);
    expect_formula(result(tensors, settings), o, t);
  };
  RMSNorm2dOptions defaults;
  defaults.weight = false;
  check(defaults, DType::f32, {});
  for (const EpsMode mode : kEpsModes) {
    RMSNorm2dOptions o = defaults;
    o.eps_mode = mode;
    o.eps = 0.25;
    o.weight = true;
    check(o, DType::bf16, {"eps=0.25", "eps_mode=" + std::string(name(mode))});
  }
  RMSNorm2dOptions clamp = defaults;
  clamp.eps_mode = EpsMode::clamp_norm;
  clamp.eps = 1e-12;
  check(clamp, DType::f16, {"eps_mode=clamp_norm"});
  for (const Activation activation : kActivations) {
    RMSNorm2dOptions o = defaults;
    o.activation = activation;
    o.bias = true;
    check(o, DType::f16, {"activation=" + std::string(name(activation))});
  }
  for (const Rounding rounding : kRoundings) {
    RMSNorm2dOptions o = defaults;
    o.rounding = rounding;
    o.weight = o.bias = true;
    check(o, DType::bf16, {"rounding=" + std::string(name(rounding))});
  }
  for (const ResidualMode residual : {ResidualMode::before, ResidualMode::after}) {
    RMSNorm2dOptions o = defaults;
    o.residual = residual;
    o.activation = Activation::silu;
    check(o, DType::f16, {"residual=" + std::string(name(residual)), "activation=silu"});
  }
}

TEST_F(RmsNormOp, WeightsUnderEveryNameAndShape) {
  RMSNorm2dOptions o;
  o.bias = true;
  for (const Shape& shape : {Shape{5}, Shape{5, 1, 1}, Shape{1, 5, 1, 1}, Shape{5, 1, 1, 1}}) {
    for (const std::string weight : {"weight", "gamma", "g"}) {
      for (const std::string bias : {"bias", "beta"}) {
        SCOPED_TRACE(weight + ' ' + bias + ' ' + to_string(shape));
        expect_formula(result({{"x", x_}, {weight, vector(weight_, DType::f32, shape)}, {bias, vector(bias_, DType::f32, shape)}}, {}), o,
                       DType::f32);
      }
    }
  }
}

TEST_F(RmsNormOp, StepsAfterANormWithItsOwnResidual) {
  RMSNorm2dOptions o;
  o.weight = false;
  o.residual = ResidualMode::before;
  o.activation = Activation::relu;  // relu after nothing but the norm is the same step
  expect_formula(result({{"x", x_}, {"residual", residual_}}, {"residual=before"}, {"--then", "relu"}), o, DType::f32);
}

TEST_F(RmsNormOp, RefusesWithOneLine) {
  struct Refusal {
    RawTensors tensors;
    std::vector<std::string> settings;
    std::string says;
  };
  const RawTensor short_residual{{1, kChannels, 1, 1}, DType::f32, std::vector<float>(5, 1.0F)};
  const Refusal refusals[] = {
      {{{"x", x_}}, {"residual=before"}, "needs a tensor 'residual'"},
      {{{"x", x_}, {"residual", residual_}}, {}, "RMSNorm2d takes 1 input, got 2"},
      {{{"x", x_}, {"residual", short_residual}}, {"residual=after"}, "expects a residual of x's shape"},
      {{{"x", x_}, {"residual", image(residual_, DType::f16)}}, {"residual=after"}, "f16"},
      {{{"x", x_}, {"weight", vector(weight_, DType::f32)}, {"gamma", vector(weight_, DType::f32)}}, {}, "'gamma' is not used"},
      {{{"x", x_}, {"weight", {{4}, DType::f32, {1, 2, 3, 4}}}}, {}, "expected [5], got [4]"},
      {{{"x", x_}, {"scale", vector(weight_, DType::f32)}}, {}, "'scale' is not used"},
      {{{"x", x_}}, {"eps=-1"}, "eps of at least 0"},
      {{{"x", x_}}, {"eps=nan"}, "--set eps: expected a number"},
      {{{"x", x_}}, {"rounding=never"}, "expected one of once, diffusers, wan"},
      {{{"x", x_}}, {"residual=beside"}, "expected one of none, before, after"},
      {{{"x", x_}}, {"activation=swish"}, "unknown activation 'swish'"},
  };
  for (const Refusal& r : refusals) {
    const Outcome outcome = call(r.tensors, r.settings);
    EXPECT_EQ(outcome.status, 2) << r.says;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(r.says), std::string::npos) << outcome.err;
    EXPECT_EQ(folder_.count(), 1) << "a file was written: " << r.says;
  }
}

}  // namespace
}  // namespace frieze::test
