#include <frieze/core/rewrite.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/conv2d/conv2d.h>

namespace frieze {
namespace {

// The convolution's weights times the factor of their output channel, and a bias; made in double, rounded to f32.
std::shared_ptr<const Layer> normalised(const Conv2d& conv, const BatchNorm2d::Factors& norm) {
  Conv2dOptions options = conv.options();
  options.bias = true;
  auto made = std::make_shared<Conv2d>(conv.in_channels(), conv.out_channels(), conv.kernel(), options);
  const std::vector<float>& weights = conv.weight().values;
  const std::size_t channels = norm.scale.size(), per_channel = weights.size() / channels;
  std::vector<float> scaled(weights.size()), shifted(channels);
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = static_cast<float>(weights[i] * norm.scale[i / per_channel]);
  for (std::size_t o = 0; o < channels; ++o) {
    shifted[o] = static_cast<float>((conv.has_bias() ? conv.bias().values[o] * norm.scale[o] : 0) + norm.shift[o]);
  }
  const std::vector<Parameter*>& parameters = made->Module::parameters();
  parameters[0]->values = std::move(scaled);
  parameters[1]->values = std::move(shifted);
  return made;
}

// norm(conv(x)) is a convolution of x. Its value goes by both names.
std::optional<Replacement> into_weights(const StepView& shown) {
  const auto* norm = shown.as<BatchNorm2d>();
  const std::optional<StepView> before = norm != nullptr ? shown.maker_for_this_alone(0) : std::nullopt;
  const auto* conv = before ? before->as<Conv2d>() : nullptr;
  if (conv == nullptr) return std::nullopt;
  return Replacement{.steps = {{normalised(*conv, norm->factors()), {before->input(0)}}}, .absorbed = {*before}, .named_after = 0};
}

}  // namespace

void register_rewrites_batch_norm2d(RewriteRegistry& registry);
void register_rewrites_batch_norm2d(RewriteRegistry& registry) { registry.add("batch norm into weights", into_weights); }

}  // namespace frieze
