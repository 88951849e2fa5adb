// Conv2d on the GPU: packs the weights and runs the path that was chosen.
#include <algorithm>
#include <limits>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/layout.h>
#include <frieze/core/parallel.h>
#include <frieze/layers/conv2d/cuda/conv2d_paths.h>

namespace frieze::cuda {
namespace {

// 31 bits with room for a kernel's reach on both sides.
int extent(std::int64_t v, const char* what) {
  check<CudaError>(v <= std::numeric_limits<int>::max() / 2, "Conv2d's kernels take extents up to 2^30, got ", v, " (", what, ")");
  return static_cast<int>(v);
}

// `padding`: the zeros that the kernels add; `x` may be padded already.
ConvGeometry geometry(const Conv2d& layer, const Padding2d& padding, const Shape& x, const Shape& y) {
  ConvGeometry g;
  g.n = x.n();
  g.pixels = y.n() * y.h() * y.w();
  g.in_c = extent(x.c(), "input channels");
  g.in_h = extent(x.h(), "height");
  g.in_w = extent(x.w(), "width");
  g.out_c = extent(y.c(), "output channels");
  g.out_h = extent(y.h(), "output height");
  g.out_w = extent(y.w(), "output width");
  (void)extent(x.h() + std::int64_t{padding.top} + padding.bottom, "padded height");
  (void)extent(x.w() + std::int64_t{padding.left} + padding.right, "padded width");
  g.kernel_h = layer.kernel().h;
  g.kernel_w = layer.kernel().w;
  g.stride_h = layer.stride().h;
  g.stride_w = layer.stride().w;
  g.pad_h = padding.top;
  g.pad_w = padding.left;
  g.dilation_h = layer.dilation().h;
  g.dilation_w = layer.dilation().w;
  g.groups = layer.groups();
  (void)extent(std::int64_t{g.kernel_h} * g.kernel_w * round_up(g.in_c, 8), "products summed for one output");
  (void)extent(round_up(g.out_c, 128), "output channels");
  return g;
}

// Elements from one pixel to the next of a range of channels in nhwc; 0 of a tensor that is contiguous, in whichever format.
std::int64_t row_of_range(const TensorView& view) {
  if (view.is_contiguous(Format::nhwc) || view.is_contiguous(Format::nchw)) return 0;
  const std::optional<std::int64_t> row = channel_range_step(view.shape, view.strides, Format::nhwc);
  check<CudaError>(row.has_value(), "Conv2d's kernels take no such strides of a tensor of shape ", view.shape);
  return *row;
}

class Conv2dKernel final : public Kernel {
 public:
  Conv2dKernel(const Conv2d& layer, const PrepareArgs& given) : epilogue_(given.epilogue.begin(), given.epilogue.end()) {
    PrepareArgs args = given;
    std::vector<TensorSpec> in(given.in.begin(), given.in.end());
    Padding2d zeros = layer.padding();
    if (layer.padding_mode() != PadMode::zeros) {  // the paths see a padded image
      in[0] = padded_ = {padded_shape("Conv2d", in[0].shape, zeros, layer.padding_mode()), in[0].dtype, given.out[0].format};
      PrepareArgs pads = given;
      pads.in = given.in.first(1), pads.out = {&padded_, 1}, pads.epilogue = {}, pads.in_views = {}, pads.out_views = {};
      pad_ = kernel_registry().prepare(Pad(zeros, layer.padding_mode()), pads);
      padded_bytes_ = round_up(static_cast<std::size_t>(padded_.bytes()), std::size_t{256});
      args.in = in, args.in_views = {}, args.out_views = {};
      zeros = 0;
    }
    const Shape &x = args.in[0].shape, &y = args.out[0].shape;
    p_.g = geometry(layer, zeros, x, y);
    if (!args.in_views.empty()) p_.g.x_row = row_of_range(args.in_views[0]);
    if (!args.out_views.empty()) p_.g.y_row = row_of_range(args.out_views[0]);
    p_.dtype = args.out[0].dtype;
    p_.format = same_layout(x) && same_layout(y) ? Format::nhwc : args.out[0].format;
    p_.budget = layer.budget(args.in.first(1));
    pack_weights(layer);
    ConvChoice choice = choose_conv_path(p_, args);
    path_ = std::move(choice.path);
    why_ = std::move(choice.why);
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const void* x = args.in[0].data;
    if (pad_ != nullptr) {
      const TensorView padded(args.workspace, padded_);
      pad_->launch({args.in.first(1), {&padded, 1}, nullptr}, stream);
      x = padded.data;
    }
    path_->launch(x, args.out[0].data, make_epilogue(epilogue_, args.in.subspan(1)), static_cast<char*>(args.workspace) + padded_bytes_,
                  stream);
  }
  std::size_t workspace_bytes() const override { return padded_bytes_ + path_->workspace_bytes(); }
  std::size_t weight_bytes() const override {
    return weight_.bytes() + depthwise_.bytes() + bias_.bytes() + bias_f32_.bytes() + path_->weight_bytes();
  }
  std::string describe() const override { return (pad_ != nullptr ? "a padded copy, then " : "") + path_->describe() + why_; }
  bool rebindable() const override { return path_->only_own_kernels(); }
  bool builds_nodes() const override { return rebindable(); }

 private:
  void pack_weights(const Conv2d& layer) {
    const ConvGeometry& g = p_.g;
    const std::vector<float>& from = layer.weight().values;
    const std::int64_t in_group = g.in_c / g.groups, taps = g.taps();
    if (p_.format == Format::nhwc && layer.is_depthwise() && g.groups > 1) {
      std::vector<float> by_tap(from.size());
      for (std::int64_t c = 0; c < g.in_c; ++c) {
        for (std::int64_t t = 0; t < taps; ++t)
          by_tap[static_cast<std::size_t>(t * g.in_c + c)] = from[static_cast<std::size_t>(c * taps + t)];
      }
      depthwise_ = to_device(by_tap, p_.dtype);
      p_.depthwise_weights = depthwise_.data();
    } else {
      // Room for 16-byte chunks and whole tiles, where a path makes use of them.
      const bool product = p_.format == Format::nhwc && g.groups == 1, half = p_.dtype != DType::f32;
      const std::int64_t tap_size = product ? round_up(in_group, half ? 8 : 4) : in_group;
      const std::int64_t row = product ? round_up(taps * tap_size, kImplicitDepth) : taps * tap_size;
      const std::int64_t rows = product && half ? round_up(g.out_c, 128) : g.out_c;
      std::vector<float> packed(static_cast<std::size_t>(checked_mul(rows, row, "packed weights")));
      parallel_for(
          g.out_c,
          [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t o = first; o < last; ++o) {
              for (std::int64_t t = 0; t < taps; ++t) {
                float* const to = packed.data() + o * row + t * tap_size;
                const float* const at = from.data() + o * in_group * taps + t;
                for (std::int64_t c = 0; c < in_group; ++c) to[c] = at[c * taps];
              }
            }
          },
          std::max<std::int64_t>(1, (1 << 16) / (in_group * taps)));
      weight_ = to_device(packed, p_.dtype);
      p_.weights.w = weight_.data();
      p_.weights.row = row;
      p_.weights.tap_size = static_cast<int>(tap_size);
    }
    p_.weights.rows = static_cast<int>(round_up(g.out_c, 128));
    std::vector<float> bias(static_cast<std::size_t>(p_.weights.rows));
    if (layer.has_bias()) {
      const std::vector<float> rounded = layer.bias().rounded(p_.dtype);
      std::copy(rounded.begin(), rounded.end(), bias.begin());
    }
    bias_ = to_device(bias, p_.dtype);
    bias_f32_ = to_device(bias, DType::f32);
    p_.weights.bias = bias_.data();
    p_.weights.bias_f32 = bias_f32_.as<const float>();
    p_.weights.has_bias = layer.has_bias();
  }

  std::vector<EpilogueOp> epilogue_;
  DeviceBuffer weight_, depthwise_, bias_, bias_f32_;
  ConvProblem p_;
  std::unique_ptr<ConvPath> path_;
  std::string why_;
  std::unique_ptr<Kernel> pad_;  // of the modes other than zeros, into the front of the workspace
  TensorSpec padded_;
  std::size_t padded_bytes_ = 0;
};

std::unique_ptr<Kernel> make(const Conv2d& layer, const PrepareArgs& args) { return std::make_unique<Conv2dKernel>(layer, args); }

}  // namespace

void register_conv2d(KernelRegistry& registry);
void register_conv2d(KernelRegistry& registry) { registry.add<Conv2d>(&make); }

}  // namespace frieze::cuda
