#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// Strides in elements of x and y; what a thread's index means follows the order of y in memory.
struct ShortcutArgs {
  std::int64_t threads = 0;
  std::int64_t channels = 0, height = 0, width = 0;  // of y
  std::int64_t x_n = 0, x_c = 0, x_h = 0, x_w = 0;
  std::int64_t y_n = 0, y_c = 0, y_h = 0, y_w = 0;
  int factor = 1, group = 1;  // group: channels averaged, or times that a channel is repeated
  bool nhwc = false;
};

struct Pixel {
  std::int64_t n, c, h, w;
};

// The first of the N neighbouring channels (nhwc) or the one element (nchw) that a thread owns.
template <int N>
__device__ __forceinline__ Pixel owned(const ShortcutArgs& a, std::int64_t thread) {
  if (a.nhwc) {
    const DivMod c = div_mod(thread, a.channels / N), w = div_mod(c.quotient, a.width), h = div_mod(w.quotient, a.height);
    return {h.quotient, c.remainder * N, h.remainder, w.remainder};
  }
  const DivMod w = div_mod(thread, a.width), h = div_mod(w.quotient, a.height), c = div_mod(h.quotient, a.channels);
  return {c.quotient, c.remainder, h.remainder, w.remainder};
}

template <class T, int N>
__device__ __forceinline__ void store(const ShortcutArgs& a, T* y, const Pixel& p, const Pack<T, N>& out) {
  *reinterpret_cast<Pack<T, N>*>(y + p.n * a.y_n + p.c * a.y_c + p.h * a.y_h + p.w * a.y_w) = out;
}

// y[o] = mean over t of U[o*g + t], U[u] = x[u / r^2, h*r + u / r % r, w*r + u % r].
template <class T, int N>
__global__ void __launch_bounds__(kBlock) average_channels_per_thread(const T* x, T* y, ShortcutArgs a) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const Pixel p = owned<N>(a, thread);
  const T* corner = x + p.n * a.x_n + p.h * a.factor * a.x_h + p.w * a.factor * a.x_w;
  const int patch = a.factor * a.factor;
  Pack<T, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float sum = 0;
    for (int t = 0; t < a.group; ++t) {
      const DivMod u = div_mod((p.c + i) * a.group + t, patch);
      const int in_patch = static_cast<int>(u.remainder);
      sum += widen(corner[u.quotient * a.x_c + in_patch / a.factor * a.x_h + in_patch % a.factor * a.x_w]);
    }
    out.v[i] = narrow<T>(sum / static_cast<float>(a.group));
  }
  store(a, y, p, out);
}

// y[o, h, w] = x[(o*r^2 + (h%r)*r + w%r) / R, h / r, w / r].
template <class T, int N>
__global__ void __launch_bounds__(kBlock) duplicate_channels_per_thread(const T* x, T* y, ShortcutArgs a) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const Pixel p = owned<N>(a, thread);
  const DivMod h = div_mod(p.h, a.factor), w = div_mod(p.w, a.factor);
  const T* pixel = x + p.n * a.x_n + h.quotient * a.x_h + w.quotient * a.x_w;
  const std::int64_t phase = h.remainder * a.factor + w.remainder;
  const std::int64_t patch = std::int64_t{a.factor} * a.factor;
  Pack<T, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) out.v[i] = pixel[div_mod((p.c + i) * patch + phase, a.group).quotient * a.x_c];
  store(a, y, p, out);
}

enum class Direction { average, duplicate };

template <Direction kDirection>
class ShortcutKernel final : public NodeKernel {
 public:
  ShortcutKernel(std::int64_t factor, const PrepareArgs& args) {
    const Shape &x = args.in[0].shape, &y = args.out[0].shape;
    const std::int64_t patch = factor * factor;
    args_.channels = y.c();
    args_.height = y.h();
    args_.width = y.w();
    args_.factor = static_cast<int>(factor);
    args_.group = static_cast<int>(kDirection == Direction::average ? x.c() * patch / y.c() : y.c() * patch / x.c());
    args_.nhwc = args.out[0].format == Format::nhwc;
    const Strides in = contiguous_strides(x, args.in[0].format), out = contiguous_strides(y, args.out[0].format);
    args_.x_n = in[0], args_.x_c = in[1], args_.x_h = in[2], args_.x_w = in[3];
    args_.y_n = out[0], args_.y_c = out[1], args_.y_h = out[2], args_.y_w = out[3];
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      preload(reinterpret_cast<const void*>(kernel<T, 16 / sizeof(T)>()));
      preload(reinterpret_cast<const void*>(kernel<T, 1>()));
    });
  }

  // x is read once from memory (neighbouring threads share its cache lines), y written once, in packs where channels allow.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      constexpr int kPack = 16 / sizeof(T);
      const bool packs = args_.nhwc && args_.channels % kPack == 0 && is_aligned(args.out[0].data, 16);
      ShortcutArgs a = args_;
      a.threads = args.out[0].shape.elements() / (packs ? kPack : 1);
      launch_kernel(packs ? kernel<T, kPack>() : kernel<T, 1>(), dim3(static_cast<unsigned>(ceil_div<std::int64_t>(a.threads, kBlock))),
                    dim3(kBlock), 0, stream, args.in[0].as<const T>(), args.out[0].as<T>(), a);
    });
  }
  std::string describe() const override { return args_.nhwc ? "nhwc, a pack of channels a thread" : "nchw, an element a thread"; }

 private:
  template <class T, int N>
  static void (*kernel())(const T*, T*, ShortcutArgs) {
    if constexpr (kDirection == Direction::average) {
      return &average_channels_per_thread<T, N>;
    } else {
      return &duplicate_channels_per_thread<T, N>;
    }
  }

  ShortcutArgs args_;
};

std::unique_ptr<Kernel> make_average(const AveragingShortcut& layer, const PrepareArgs& args) {
  return std::make_unique<ShortcutKernel<Direction::average>>(layer.factor(), args);
}
std::unique_ptr<Kernel> make_duplicate(const DuplicatingShortcut& layer, const PrepareArgs& args) {
  return std::make_unique<ShortcutKernel<Direction::duplicate>>(layer.factor(), args);
}

}  // namespace

void register_channel_shortcut(KernelRegistry& registry) {
  registry.add<AveragingShortcut>(&make_average);
  registry.add<DuplicatingShortcut>(&make_duplicate);
}

}  // namespace frieze::cuda
