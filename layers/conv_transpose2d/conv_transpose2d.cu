#include <algorithm>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/conv_transpose2d/conv_transpose2d.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/index_div.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// The outputs of one part, or of none; ConvTranspose2d::Part.
struct PartArgs {
  const void* z = nullptr;  // null: y is the bias
  Strides strides{};
  int begin_h = 0, begin_w = 0, count_w = 1, phases = 1, first_h = 0, first_w = 0;
};
struct PlaceArgs {
  PartArgs parts[4];  // phases below the split, and from it on: rows * 2 + columns
  std::int64_t threads = 0;
  Strides y{};
  int channels = 0, height = 0, width = 0;  // of y
  int group = 0;                            // channels of a group of y
  int stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, split_h = 1, split_w = 1;
  IndexDiv by_packs, by_width, by_height, by_stride_h, by_stride_w, by_group;
  bool channels_first = false;  // the order of threads
};

// A thread owns N neighbouring channels (nhwc) or one element of y; neighbouring threads own what lies next to it in y.
template <class E, int N>
__global__ void __launch_bounds__(kBlock) place_phases_pack_per_thread(const E* bias, E* y, const __grid_constant__ PlaceArgs a) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  DivMod c{}, w{}, h{};
  std::int64_t n = 0;
  if (a.channels_first) {
    c = a.by_packs(thread), w = a.by_width(c.quotient), h = a.by_height(w.quotient);
    n = h.quotient;
  } else {
    w = a.by_width(thread), h = a.by_height(w.quotient), c = a.by_packs(h.quotient);
    n = c.quotient;
  }
  const int o = static_cast<int>(c.remainder) * N, i = static_cast<int>(h.remainder), j = static_cast<int>(w.remainder);
  const auto u = static_cast<int>(a.by_stride_h(i + a.pad_h).quotient), v = static_cast<int>(a.by_stride_w(j + a.pad_w).quotient);
  const int phase_h = i + a.pad_h - u * a.stride_h, phase_w = j + a.pad_w - v * a.stride_w;
  const PartArgs& part = a.parts[(phase_h >= a.split_h ? 2 : 0) + (phase_w >= a.split_w ? 1 : 0)];
  Pack<E, N> pack = {};
  if (part.z != nullptr) {
    const int phase = (phase_h - part.begin_h) * part.count_w + phase_w - part.begin_w;
    const auto group = static_cast<int>(a.by_group(o).quotient);
    const std::int64_t channel = (std::int64_t{group} * part.phases + phase) * a.group + (o - group * a.group);
    const E* const from = static_cast<const E*>(part.z) + n * part.strides[0] + channel * part.strides[1] +
                          (u - part.first_h) * part.strides[2] + (v - part.first_w) * part.strides[3];
    pack = *reinterpret_cast<const Pack<E, N>*>(from);
  } else if (bias != nullptr) {
#pragma unroll
    for (int k = 0; k < N; ++k) pack.v[k] = bias[o + k];
  }
  *reinterpret_cast<Pack<E, N>*>(y + n * a.y[0] + o * a.y[1] + i * a.y[2] + j * a.y[3]) = pack;
}

template <class Body>
void with_bits(DType t, Body&& body) {
  if (size_of(t) == 4) return body(std::uint32_t{});
  body(std::uint16_t{});
}

int extent(std::int64_t v) {
  check<CudaError>(v <= 1 << 29, "ConvTranspose2d's kernels take extents up to 2^29, got ", v);
  return static_cast<int>(v);
}

// The kernels of parts(), and their outputs put in their places.
class PartsKernel final : public Kernel {
 public:
  PartsKernel(const ConvTranspose2d& layer, const std::vector<ConvTranspose2d::Part>& parts, const PrepareArgs& args) {
    const Shape& y = args.out[0].shape;
    const ConvTranspose2dOptions& o = layer.options();
    TensorSpec in = args.in[0];
    in.format = Format::nchw;
    for (const ConvTranspose2d::Part& part : parts) {
      PartArgs& to = a_.parts[(part.begin.h > 0 ? 2 : 0) + (part.begin.w > 0 ? 1 : 0)];
      to.begin_h = part.begin.h, to.begin_w = part.begin.w, to.count_w = part.count.w;
      to.phases = extent(std::int64_t{part.count.h} * part.count.w);
      to.first_h = part.first.h, to.first_w = part.first.w;
      if (part.conv == nullptr) continue;
      Made made;
      made.to = static_cast<std::size_t>(&to - a_.parts);
      made.z = part.conv->infer({&in, 1}).out[0];
      made.z.format = args.out[0].format;
      PrepareArgs inner = args;
      inner.out = {&made.z, 1}, inner.epilogue = {}, inner.in_views = {}, inner.out_views = {};
      made.kernel = kernel_registry().prepare(*part.conv, inner);
      to.strides = contiguous_strides(made.z.shape, made.z.format);
      made.offset = z_bytes_;
      in_place_ = parts.size() == 1 && part.first.h * o.stride.h == o.padding.h && part.first.w * o.stride.w == o.padding.w &&
                  o.stride == Size2d(1) && made.z.shape == y;
      if (!in_place_) z_bytes_ += round_up(static_cast<std::size_t>(made.z.bytes()), std::size_t{256});
      scratch_bytes_ = std::max(scratch_bytes_, made.kernel->workspace_bytes());
      made_.push_back(std::move(made));
    }
    if (in_place_) return;
    a_.y = contiguous_strides(y, args.out[0].format);
    a_.channels = extent(y.c()), a_.height = extent(y.h()), a_.width = extent(y.w());
    a_.group = a_.channels / o.groups;
    a_.stride_h = o.stride.h, a_.stride_w = o.stride.w;
    a_.pad_h = extent(o.padding.h), a_.pad_w = extent(o.padding.w);
    a_.split_h = parts.front().count.h, a_.split_w = parts.front().count.w;
    a_.channels_first = args.out[0].format == Format::nhwc;
    a_.by_width = IndexDiv(a_.width, y.elements()), a_.by_height = IndexDiv(a_.height, y.elements());
    a_.by_stride_h = IndexDiv(a_.stride_h, std::int64_t{1} << 30), a_.by_stride_w = IndexDiv(a_.stride_w, std::int64_t{1} << 30);
    a_.by_group = IndexDiv(a_.group, a_.channels);
    if (o.bias) bias_ = to_device(layer.bias().values, args.out[0].dtype);
    with_bits(args.out[0].dtype, [](auto e) {
      using E = decltype(e);
      preload(reinterpret_cast<const void*>(&place_phases_pack_per_thread<E, 1>));
      preload(reinterpret_cast<const void*>(&place_phases_pack_per_thread<E, 16 / sizeof(E)>));
    });
  }

  // The convolutions, then a copy of y: 2 * elements(y) * sizeof(T) bytes.
  // [1,16,384,512] to 64 channels, 2x2, stride 2, bf16 nhwc on an H200: 94.7 us; y thrice at a copy's speed is 72.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    if (in_place_) return made_[0].kernel->launch(args, stream);
    char* const memory = static_cast<char*>(args.workspace);
    PlaceArgs a = a_;
    for (const Made& made : made_) {
      const TensorView z(memory + made.offset, made.z);
      made.kernel->launch({args.in, {&z, 1}, memory + z_bytes_}, stream);
      a.parts[made.to].z = z.data;
    }
    with_bits(args.out[0].dtype, [&](auto e) {
      using E = decltype(e);
      constexpr int N = 16 / sizeof(E);
      const bool packs = a.channels_first && a.group % N == 0 && is_aligned(args.out[0].data, 16);
      a.threads = args.out[0].shape.elements() / (packs ? N : 1);
      a.by_packs = IndexDiv(a.channels / (packs ? N : 1), a.threads);
      launch_kernel(packs ? &place_phases_pack_per_thread<E, N> : &place_phases_pack_per_thread<E, 1>,
                    grid_of(ceil_div<std::int64_t>(a.threads, kBlock)), dim3(kBlock), 0, stream, bias_.as<const E>(), args.out[0].as<E>(),
                    a);
    });
  }
  std::size_t workspace_bytes() const override { return z_bytes_ + scratch_bytes_; }
  std::size_t weight_bytes() const override {
    std::size_t bytes = bias_.bytes();
    for (const Made& made : made_) bytes += made.kernel->weight_bytes();
    return bytes;
  }
  std::string describe() const override {
    std::string text = made_.empty() ? "the bias alone" : made_[0].kernel->describe();
    if (made_.size() > 1) text = concat_text(made_.size(), " convolutions, the first ", text);
    return in_place_ ? text : text + ", then put in place";
  }
  bool rebindable() const override {
    return std::all_of(made_.begin(), made_.end(), [](const Made& made) { return made.kernel->rebindable(); });
  }
  bool builds_nodes() const override {
    return std::all_of(made_.begin(), made_.end(), [](const Made& made) { return made.kernel->builds_nodes(); });
  }

 private:
  struct Made {
    std::unique_ptr<Kernel> kernel;
    TensorSpec z;
    std::size_t offset = 0, to = 0;  // in the workspace, and of a_.parts
  };
  std::vector<Made> made_;
  DeviceBuffer bias_;
  bool in_place_ = false;
  std::size_t z_bytes_ = 0, scratch_bytes_ = 0;
  PlaceArgs a_;
};

struct DirectArgs {
  std::int64_t elements = 0;
  Strides x{}, y{};
  int in_group = 0, out_group = 0, in_c = 0, in_h = 0, in_w = 0, out_c = 0, out_h = 0, out_w = 0;
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
  const float* bias = nullptr;
  bool channels_first = false;
};

// An element of y a thread, in the order of y's memory. `weight` as [KH,KW,C_in,C_out/groups].
template <class T>
__global__ void __launch_bounds__(kBlock)
    transposed_element_per_thread(const T* x, const T* __restrict__ weight, T* y, const __grid_constant__ DirectArgs a) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.elements) return;
  DivMod c{}, w{}, h{};
  std::int64_t n = 0;
  if (a.channels_first) {
    c = div_mod(thread, a.out_c), w = div_mod(c.quotient, a.out_w), h = div_mod(w.quotient, a.out_h);
    n = h.quotient;
  } else {
    w = div_mod(thread, a.out_w), h = div_mod(w.quotient, a.out_h), c = div_mod(h.quotient, a.out_c);
    n = c.quotient;
  }
  const auto o = static_cast<int>(c.remainder);
  const int group = o / a.out_group, out = o - group * a.out_group;
  float sum = 0;
  for (int r = 0; r < a.kernel_h; ++r) {
    const std::int64_t down = h.remainder + a.pad_h - std::int64_t{r} * a.dilation_h;
    if (down < 0 || down % a.stride_h != 0 || down / a.stride_h >= a.in_h) continue;
    for (int s = 0; s < a.kernel_w; ++s) {
      const std::int64_t across = w.remainder + a.pad_w - std::int64_t{s} * a.dilation_w;
      if (across < 0 || across % a.stride_w != 0 || across / a.stride_w >= a.in_w) continue;
      const std::int64_t first = std::int64_t{group} * a.in_group;
      const T* from = x + n * a.x[0] + first * a.x[1] + down / a.stride_h * a.x[2] + across / a.stride_w * a.x[3];
      const T* factor = weight + ((std::int64_t{r} * a.kernel_w + s) * a.in_c + first) * a.out_group + out;
#pragma unroll 4
      for (int k = 0; k < a.in_group; ++k) sum = fmaf(widen(from[k * a.x[1]]), widen(factor[std::int64_t{k} * a.out_group]), sum);
    }
  }
  sum += a.bias != nullptr ? a.bias[o] : 0.0F;
  y[n * a.y[0] + o * a.y[1] + h.remainder * a.y[2] + w.remainder * a.y[3]] = narrow<T>(sum);
}

class DirectKernel final : public NodeKernel {
 public:
  DirectKernel(const ConvTranspose2d& layer, const PrepareArgs& args) {
    const Shape &x = args.in[0].shape, &y = args.out[0].shape;
    const ConvTranspose2dOptions& o = layer.options();
    a_.elements = y.elements();
    a_.x = contiguous_strides(x, args.out[0].format), a_.y = contiguous_strides(y, args.out[0].format);
    a_.in_c = extent(x.c()), a_.in_h = extent(x.h()), a_.in_w = extent(x.w());
    a_.out_c = extent(y.c()), a_.out_h = extent(y.h()), a_.out_w = extent(y.w());
    a_.in_group = a_.in_c / o.groups, a_.out_group = a_.out_c / o.groups;
    a_.kernel_h = layer.kernel().h, a_.kernel_w = layer.kernel().w;
    a_.stride_h = o.stride.h, a_.stride_w = o.stride.w;
    a_.pad_h = o.padding.h, a_.pad_w = o.padding.w;
    a_.dilation_h = o.dilation.h, a_.dilation_w = o.dilation.w;
    a_.channels_first = args.out[0].format == Format::nhwc;
    const DType t = args.out[0].dtype;
    const std::vector<float>& from = layer.weight().values;
    const std::size_t taps = static_cast<std::size_t>(a_.kernel_h) * static_cast<std::size_t>(a_.kernel_w), rows = from.size() / taps;
    std::vector<float> by_tap(from.size());
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t tap = 0; tap < taps; ++tap) by_tap[tap * rows + row] = from[row * taps + tap];
    }
    weight_ = to_device(by_tap, t);
    if (o.bias) {
      bias_ = to_device(layer.bias().rounded(t), DType::f32);
      a_.bias = bias_.as<const float>();
    }
    dispatch(t, [](auto e) { preload(reinterpret_cast<const void*>(&transposed_element_per_thread<decltype(e)>)); });
  }

  // Bound by the loads of weights and pixels, two a product, from L1 and L2.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      launch_kernel(transposed_element_per_thread<T>, grid_of(ceil_div<std::int64_t>(a_.elements, kBlock)), dim3(kBlock), 0, stream,
                    args.in[0].as<const T>(), weight_.as<const T>(), args.out[0].as<T>(), a_);
    });
  }
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes(); }
  std::string describe() const override { return "own direct, an element a thread"; }

 private:
  DeviceBuffer weight_, bias_;
  DirectArgs a_;
};

std::unique_ptr<Kernel> make(const ConvTranspose2d& layer, const PrepareArgs& args) {
  const std::vector<ConvTranspose2d::Part> parts = layer.parts(args.in[0].shape);
  if (parts.empty()) return std::make_unique<DirectKernel>(layer, args);
  return std::make_unique<PartsKernel>(layer, parts, args);
}

}  // namespace

void register_conv_transpose2d(KernelRegistry& registry) { registry.add<ConvTranspose2d>(&make); }

}  // namespace frieze::cuda
