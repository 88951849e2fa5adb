#pragma once
/// Tiny layers with adjustable contracts, so that tests of graph/ depend on no real layer's decisions.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/core/layer.h>
#include <frieze/graph/plan.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/elementwise/elementwise.h>
#include "support/reference.h"

namespace frieze::test {

/// What a Times layer promises about itself.
struct TimesOptions {
  float factor = 2;
  std::size_t absorbs = 0;    ///< operations of a chain that it takes at most
  bool operands = true;       ///< false: it absorbs activations only
  FormatRule formats = {};    ///< both, no preference
  bool workspace = false;     ///< its kernel goes through a workspace of the output's size: two nodes
  bool large_output = false;  ///< infers C twice as large as its input's, to force the planner's hand
};

/// y = factor * x, once more along C if `large_output`. A stand-in for a convolution: a producer that absorbs.
class Times final : public Layer {
 public:
  explicit Times(TimesOptions options = {}) : options_(options) {}
  const TimesOptions& options() const { return options_; }

  Inferred infer(std::span<const TensorSpec> in) const override {
    check_inputs(type_name(), in, 1);
    TensorSpec out{in[0].shape, in[0].dtype};
    if (options_.large_output) out.shape = out.shape.with(1, 2 * out.shape[1]);
    return elementwise_cost(in, out, 1);
  }
  void reference(const ReferenceArgs& args) const override {
    const std::vector<float> x = to_floats(args.in[0]);
    std::vector<double> y;
    const std::size_t images = static_cast<std::size_t>(args.in[0].shape.rank() > 0 ? args.in[0].shape[0] : 1);
    const std::size_t image = x.size() / images;
    for (std::size_t n = 0; n < images; ++n) {
      for (int copy = 0; copy < (options_.large_output ? 2 : 1); ++copy) {
        for (std::size_t i = 0; i < image; ++i) y.push_back(static_cast<double>(options_.factor) * static_cast<double>(x[n * image + i]));
      }
    }
    from_doubles(y, args.out[0]);
  }
  std::size_t absorbs(std::span<const TensorSpec>, std::span<const EpilogueOp> chain) const override {
    std::size_t taken = 0;
    while (taken < chain.size() && taken < options_.absorbs && (options_.operands || chain[taken].kind == EpilogueOp::Kind::activation)) {
      ++taken;
    }
    return taken;
  }
  FormatRule formats(std::span<const TensorSpec>) const override { return options_.formats; }
  ErrorBudget budget(std::span<const TensorSpec>) const override { return {.roundings = 1, .terms = 0}; }
  std::string describe() const override { return concat_text("by ", options_.factor); }
  std::string_view type_name() const override { return "Times"; }

 private:
  TimesOptions options_;
};

inline FormatRule nhwc_only() { return {.nchw = false, .nhwc = true, .prefers = Format::nhwc}; }
inline FormatRule nchw_only() { return {.nchw = true, .nhwc = false, .prefers = Format::nchw}; }
inline FormatRule prefers_nhwc() { return {.nchw = true, .nhwc = true, .prefers = Format::nhwc}; }

/// A free function around a Times layer.
inline Value times(Value x, TimesOptions options = {}) {
  const Value inputs[] = {x};
  return apply(std::make_shared<Times>(options), "times", inputs);
}

/// A model out of a function; the lambda's values are the model's inputs in order.
class Lambda final : public Module {
 public:
  using Forward = std::function<std::vector<NamedValue>(const std::vector<NamedValue>&)>;
  explicit Lambda(Forward forward) : forward_(std::move(forward)) {}
  explicit Lambda(std::function<Value(Value)> forward)
      : forward_([f = std::move(forward)](const std::vector<NamedValue>& in) {
          return std::vector<NamedValue>{{"y", f(in.at(0).value)}};
        }) {}
  std::vector<NamedValue> forward_named(const std::vector<NamedValue>& inputs) const override { return forward_(inputs); }

 private:
  Forward forward_;
};

/// Values 1, 2, 3, … scaled, signs alternating.
inline std::vector<float> ramp(std::int64_t count, float scale = 0.25F) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = scale * static_cast<float>(i + 1) * (i % 2 == 0 ? 1.0F : -1.0F);
  return values;
}

inline ::testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << part << "' is not in: " << text;
}

/// The labels of a plan's steps, a blank between them: "conv1+silu add".
inline std::string labels(const Plan& plan) {
  std::string out;
  for (const Step& step : plan.steps) out.append(out.empty() ? "" : " ").append(step.label());
  return out;
}

}  // namespace frieze::test
