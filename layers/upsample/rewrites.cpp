#include <array>

#include <frieze/core/parallel.h>
#include <frieze/core/rewrite.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/merge_phases/merge_phases.h>
#include <frieze/layers/upsample/upsample.h>

namespace frieze {
namespace {

// Row 2y + i of the upsampled image is row y of the small one. So output rows of phase i = 0 see small rows y-1, y with the kernel's
// rows 0 and 1+2, those of phase 1 see y, y+1 with rows 0+1 and 2. The same holds for columns. One 2x2 convolution, padded by 1, has an
// output at each corner between pixels: corner y serves phase 0 of row y and phase 1 of row y-1, which is what MergePhases undoes.
std::shared_ptr<const Layer> convolution_of_phases(const Conv2d& conv) {
  auto made =
      std::make_shared<Conv2d>(conv.in_channels(), 4 * conv.out_channels(), 2, Conv2dOptions{.padding = 1, .bias = conv.has_bias()});
  // Which of the two small rows the kernel's row r falls on, for phase i.
  const auto row = [](int phase, int r) { return phase == 0 ? (r == 0 ? 0 : 1) : (r == 2 ? 1 : 0); };
  const std::int64_t filters = conv.out_channels() * conv.in_channels();  // of one phase
  const std::vector<float>& weights = conv.weight().values;
  std::vector<float> phases(static_cast<std::size_t>(16 * filters));
  parallel_for(
      filters,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t filter = first; filter < last; ++filter) {
          const float* const w = weights.data() + filter * 9;
          for (int phase = 0; phase < 4; ++phase) {
            std::array<double, 4> sums{};
            for (int tap = 0; tap < 9; ++tap)
              sums[static_cast<std::size_t>(2 * row(phase / 2, tap / 3) + row(phase % 2, tap % 3))] += w[tap];
            float* const to = phases.data() + (phase * filters + filter) * 4;
            for (std::size_t i = 0; i < 4; ++i) to[i] = static_cast<float>(sums[i]);
          }
        }
      },
      1 << 12);
  const std::vector<Parameter*>& parameters = made->Module::parameters();
  parameters[0]->values = std::move(phases);
  if (!conv.has_bias()) return made;
  const std::vector<float>& bias = conv.bias().values;
  std::vector<float> biases;
  for (int phase = 0; phase < 4; ++phase) biases.insert(biases.end(), bias.begin(), bias.end());
  parameters[1]->values = std::move(biases);
  return made;
}

// Nearest upsampling by 2 before a 3x3 convolution with padding 1, stride 1, one group: each of the four phases of the output is a 2x2
// convolution of the small image, with sums of the weights. 8/18 of the products, and nothing is upsampled.
std::optional<Replacement> as_phases(const StepView& shown) {
  const auto* conv = shown.as<Conv2d>();
  const bool fits = conv != nullptr && conv->kernel() == Size2d(3) && conv->padding() == Padding2d(1) &&
                    conv->padding_mode() == PadMode::zeros && conv->stride() == Size2d(1) && conv->dilation() == Size2d(1) &&
                    conv->groups() == 1;
  const std::optional<StepView> before = fits ? shown.maker_for_this_alone(0) : std::nullopt;
  const auto* upsample = before ? before->as<Upsample>() : nullptr;
  if (upsample == nullptr || upsample->factor() != 2) return std::nullopt;
  return Replacement{
      .steps = {{convolution_of_phases(*conv), {before->input(0)}}, {std::make_shared<MergePhases>(), {ValueRef::made_by(0)}}},
      .absorbed = {*before}};
}

}  // namespace

void register_rewrites_upsample(RewriteRegistry& registry);
void register_rewrites_upsample(RewriteRegistry& registry) { registry.add("nearest x2 before 3x3 as phases", as_phases); }

}  // namespace frieze
