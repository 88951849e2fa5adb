// Other convolutions that compute this one together with a neighbour.
#include <array>

#include <frieze/core/parallel.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/merge_phases/merge_phases.h>

namespace frieze {
namespace {

// A Conv2d made with options.bias has these two parameters, in this order.
ParameterValues& weight_of(Conv2d& conv) { return conv.Module::parameters()[0]->values; }
ParameterValues& bias_of(Conv2d& conv) { return conv.Module::parameters()[1]->values; }

}  // namespace

std::shared_ptr<const Layer> Conv2d::with_channel_affine(const ChannelAffine& affine) const {
  Conv2dOptions options = options_;
  options.bias = true;
  auto conv = std::make_shared<Conv2d>(in_channels_, out_channels_, kernel_, options);
  const std::size_t per_channel = weight_.values.size() / static_cast<std::size_t>(out_channels_);
  for (std::size_t i = 0; i < weight_.values.size(); ++i) {
    weight_of(*conv)[i] = static_cast<float>(weight_.values[i] * affine.scale[i / per_channel]);
  }
  for (std::size_t o = 0; o < affine.shift.size(); ++o) {
    bias_of(*conv)[o] = static_cast<float>((has_bias() ? bias_.values[o] * affine.scale[o] : 0) + affine.shift[o]);
  }
  return conv;
}

// Row 2y + i of the upsampled image is row y of the small one. So output rows of phase i = 0 see small rows y-1, y with the kernel's
// rows 0 and 1+2, those of phase 1 see y, y+1 with rows 0+1 and 2; columns alike. One 2x2 convolution, padded by 1, has an output at
// each corner between pixels: corner y serves phase 0 of row y and phase 1 of row y-1, which is what MergePhases undoes.
std::vector<std::shared_ptr<const Layer>> Conv2d::after_prologue(const PrologueOp& op) const {
  const bool fits = op.kind == PrologueOp::Kind::nearest_upsample && op.factor == 2 && kernel_ == Size2d(3) && padding_ == Size2d(1) &&
                    stride() == Size2d(1) && dilation() == Size2d(1) && groups() == 1;
  if (!fits) return {};
  auto conv = std::make_shared<Conv2d>(in_channels_, 4 * out_channels_, 2, Conv2dOptions{.padding = 1, .bias = has_bias()});
  // Which of the two small rows the kernel's row r falls on, for phase i.
  const auto row = [](int phase, int r) { return phase == 0 ? (r == 0 ? 0 : 1) : (r == 2 ? 1 : 0); };
  const std::int64_t filters = out_channels_ * in_channels_;  // of one phase
  float* const phases = weight_of(*conv).data();
  parallel_for(
      filters,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t filter = first; filter < last; ++filter) {
          const float* const w = weight_.values.data() + filter * 9;
          for (int phase = 0; phase < 4; ++phase) {
            std::array<double, 4> sums{};
            for (int tap = 0; tap < 9; ++tap)
              sums[static_cast<std::size_t>(2 * row(phase / 2, tap / 3) + row(phase % 2, tap % 3))] += w[tap];
            for (std::size_t i = 0; i < 4; ++i)
              phases[(phase * filters + filter) * 4 + static_cast<std::int64_t>(i)] = static_cast<float>(sums[i]);
          }
        }
      },
      1 << 12);
  for (std::size_t o = 0; has_bias() && o < bias_of(*conv).size(); ++o) bias_of(*conv)[o] = bias_.values[o % bias_.values.size()];
  return {std::move(conv), std::make_shared<MergePhases>()};
}

}  // namespace frieze
