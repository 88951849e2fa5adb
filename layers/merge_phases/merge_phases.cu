#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/merge_phases/merge_phases.h>
#include <frieze/layers/shared/cuda/epilogue.h>
#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

// A copy, or a sum with the absorbed operand, between views of six axes; nhwc moves whole packs of channels.
class MergePhasesKernel final : public NodeKernel {
 public:
  explicit MergePhasesKernel(const PrepareArgs& args) : adds_(!args.epilogue.empty()) {
    if (adds_) {
      preload_binary({BinaryOp::Code::add}, args.out[0].dtype);
    } else {
      preload_copy(args.out[0].dtype);
    }
  }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView x = merge_phases_view_input(args.in[0]), y = merge_phases_view_output(args.out[0]);
    if (adds_) {
      launch_binary({BinaryOp::Code::add}, x, merge_phases_view_output(args.in[1]), y, stream);
    } else {
      launch_copy(x, y, stream);
    }
  }
  std::string describe() const override { return adds_ ? "a strided sum" : "a strided copy"; }

 private:
  bool adds_;
};

constexpr int kBlock = 256;

// Strides in elements; extents of the shortcut's image.
struct MergeArgs {
  std::int64_t threads = 0, channels = 0, height = 0, width = 0;
  Strides x, s, y;
  int repeat = 1;  // R: times that a channel of s is repeated
};

// nhwc: one thread owns N channels of a 2 x 2 patch of y. They need 4 packs of x, one of each phase and corner, and the 4*N/R neighbouring
// channels of s; all loads come before the first store. repeat = kRepeat.
template <class T, int kRepeat>
__global__ void __launch_bounds__(kBlock) merge_patch_per_thread(const T* x, const T* s, T* y, const __grid_constant__ MergeArgs a) {
  constexpr int N = 16 / sizeof(T), kPacks = 4 / kRepeat;
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const DivMod c = div_mod(thread, a.channels / N), w = div_mod(c.quotient, a.width), h = div_mod(w.quotient, a.height);
  const std::int64_t channel = c.remainder * N;
  const T* corner = x + h.quotient * a.x[0] + h.remainder * a.x[2] + w.remainder * a.x[3] + channel;
  const T* pixel = s + h.quotient * a.s[0] + h.remainder * a.s[2] + w.remainder * a.s[3] + channel * 4 / kRepeat;
  Pack<T, N> phase[4], added[kPacks];
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    phase[p] = *reinterpret_cast<const Pack<T, N>*>(corner + (p / 2) * a.x[2] + (p % 2) * a.x[3] + p * a.channels);
  }
#pragma unroll
  for (int k = 0; k < kPacks; ++k) added[k] = *reinterpret_cast<const Pack<T, N>*>(pixel + k * N);
  T* patch = y + h.quotient * a.y[0] + 2 * h.remainder * a.y[2] + 2 * w.remainder * a.y[3] + channel;
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    Pack<T, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const int from = (4 * i + p) / kRepeat;
      out.v[i] = narrow<T>(widen(phase[p].v[i]) + widen(added[from / N].v[from % N]));
    }
    *reinterpret_cast<Pack<T, N>*>(patch + (p / 2) * a.y[2] + (p % 2) * a.y[3]) = out;
  }
}

// Any format, channels and alignment: an element of y a thread.
template <class T>
__global__ void __launch_bounds__(kBlock) merge_element_per_thread(const T* x, const T* s, T* y, const __grid_constant__ MergeArgs a) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const DivMod c = div_mod(thread, a.channels), w = div_mod(c.quotient, 2 * a.width), h = div_mod(w.quotient, 2 * a.height);
  const std::int64_t n = h.quotient, row = h.remainder, column = w.remainder, o = c.remainder;
  const int i = static_cast<int>(row % 2), j = static_cast<int>(column % 2), p = 2 * i + j;
  const T v = x[n * a.x[0] + (p * a.channels + o) * a.x[1] + (row / 2 + i) * a.x[2] + (column / 2 + j) * a.x[3]];
  const T added = s[n * a.s[0] + (4 * o + p) / a.repeat * a.s[1] + row / 2 * a.s[2] + column / 2 * a.s[3]];
  y[n * a.y[0] + o * a.y[1] + row * a.y[2] + column * a.y[3]] = narrow<T>(widen(v) + widen(added));
}

class MergeWithShortcutKernel final : public NodeKernel {
 public:
  explicit MergeWithShortcutKernel(const PrepareArgs& args) {
    const Shape &x = args.in[0].shape, &s = args.in[1].shape, &y = args.out[0].shape;
    a_.channels = y.c();
    a_.height = s.h();
    a_.width = s.w();
    a_.repeat = static_cast<int>(x.c() / s.c());
    a_.x = contiguous_strides(x, args.out[0].format);
    a_.s = contiguous_strides(s, args.out[0].format);
    a_.y = contiguous_strides(y, args.out[0].format);
    patches_ = args.out[0].format == Format::nhwc && a_.channels % static_cast<std::int64_t>(16 / size_of(args.out[0].dtype)) == 0 &&
               (a_.repeat == 1 || a_.repeat == 2 || a_.repeat == 4);
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      for (const int repeat : {1, 2, 4}) preload(reinterpret_cast<const void*>(patch<T>(repeat)));
      preload(reinterpret_cast<const void*>(&merge_element_per_thread<T>));
    });
  }

  // Reads x and s and writes y once. 256->128 channels @ 1024^2 bf16: 0.27 + 0.13 + 0.27 GB = 0.22 ms at 3 TB/s; the addition of a
  // shortcut that was written before moves 1.2 GB.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      constexpr int kPack = 16 / sizeof(T);
      const bool patches =
          patches_ && is_aligned(args.in[0].data, 16) && is_aligned(args.in[1].data, 16) && is_aligned(args.out[0].data, 16);
      MergeArgs a = a_;
      a.threads = args.out[0].shape.elements() / (patches ? 4 * kPack : 1);
      launch_kernel(patches ? patch<T>(a.repeat) : &merge_element_per_thread<T>,
                    dim3(static_cast<unsigned>(ceil_div<std::int64_t>(a.threads, kBlock))), dim3(kBlock), 0, stream,
                    args.in[0].as<const T>(), args.in[1].as<const T>(), args.out[0].as<T>(), a);
    });
  }
  std::string describe() const override { return patches_ ? "nhwc, a pack of channels of a patch a thread" : "an element a thread"; }

 private:
  template <class T>
  static void (*patch(int repeat))(const T*, const T*, T*, MergeArgs) {
    return repeat == 1 ? &merge_patch_per_thread<T, 1> : repeat == 2 ? &merge_patch_per_thread<T, 2> : &merge_patch_per_thread<T, 4>;
  }

  MergeArgs a_;
  bool patches_ = false;
};

std::unique_ptr<Kernel> make(const MergePhases& layer, const PrepareArgs& args) {
  if (layer.shortcut_channels() > 0) return std::make_unique<MergeWithShortcutKernel>(args);
  return std::make_unique<MergePhasesKernel>(args);
}

}  // namespace

void register_merge_phases(KernelRegistry& registry) { registry.add<MergePhases>(&make); }

}  // namespace frieze::cuda
