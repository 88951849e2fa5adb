#include <limits>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/index_div.cuh>

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

// nhwc with a factor of 2. A thread owns 16 bytes of y, or of each pixel of a patch of y, and some channels of x: `parts` of those are a
// pixel.
struct PatchArgs {
  std::int64_t threads = 0, fine_row = 0;  // elements from one row of the fine side to the next
  IndexDiv parts, width;                   // of the coarse side
  int fine_channels = 0;
};
// Channels of x that a thread owns, by how many are averaged to one, or how often one is repeated.
template <class T>
constexpr int averaged_channels(int group) {
  return static_cast<int>(16 / sizeof(T)) * group / 4;
}
template <class T>
constexpr int repeated_channels(int group) {
  return static_cast<int>(16 / sizeof(T)) * 4 / group;
}

// M neighbouring elements, in as few loads of up to 16 bytes as they take; `from` is a multiple of the smaller of both.
template <class T, int M>
__device__ __forceinline__ void load_run(const T* from, T (&v)[M]) {
  constexpr int N = M * sizeof(T) > 16 ? 16 / sizeof(T) : M;
#pragma unroll
  for (int first = 0; first < M; first += N) {
    const auto pack = *reinterpret_cast<const Pack<T, N>*>(from + first);
#pragma unroll
    for (int i = 0; i < N; ++i) v[first + i] = pack.v[i];
  }
}

// 4 * kIn neighbouring channels of U are averaged to a pack.
template <class T, int G>
__global__ void __launch_bounds__(kBlock) average_patch_per_thread(const T* x, T* y, const __grid_constant__ PatchArgs a) {
  constexpr int N = 16 / sizeof(T), kIn = averaged_channels<T>(G);
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const DivMod pixel = a.parts(thread), row = a.width(pixel.quotient);
  const T* const corner = x + row.quotient * 2 * a.fine_row + row.remainder * 2 * a.fine_channels + pixel.remainder * kIn;
  T in[4][kIn];
#pragma unroll
  for (int p = 0; p < 4; ++p) load_run(corner + p / 2 * a.fine_row + p % 2 * a.fine_channels, in[p]);
  Pack<T, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float sum = 0;
#pragma unroll
    for (int t = 0; t < G; ++t) sum += widen(in[(i * G + t) % 4][(i * G + t) / 4]);
    out.v[i] = narrow<T>(sum / static_cast<float>(G));
  }
  *reinterpret_cast<Pack<T, N>*>(y + thread * N) = out;
}

// kIn channels, each R times, are a pack of each pixel of the patch.
template <class T, int R>
__global__ void __launch_bounds__(kBlock) duplicate_patch_per_thread(const T* x, T* y, const __grid_constant__ PatchArgs a) {
  constexpr int N = 16 / sizeof(T), kIn = repeated_channels<T>(R);
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const DivMod pixel = a.parts(thread), row = a.width(pixel.quotient);
  T* const corner = y + row.quotient * 2 * a.fine_row + row.remainder * 2 * a.fine_channels + pixel.remainder * N;
  T in[kIn];
  load_run(x + thread * kIn, in);
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    Pack<T, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) out.v[i] = in[(i * 4 + p) / R];
    *reinterpret_cast<Pack<T, N>*>(corner + p / 2 * a.fine_row + p % 2 * a.fine_channels) = out;
  }
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
    const Shape &coarse = kDirection == Direction::average ? y : x, &fine = kDirection == Direction::average ? x : y;
    std::int64_t part = 0;
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      part = kDirection == Direction::average ? averaged_channels<T>(args_.group) : repeated_channels<T>(args_.group);
    });
    const bool known = args_.group == 1 || args_.group == 2 || args_.group == 4 || args_.group == 8;
    patches_ = args_.nhwc && factor == 2 && known && x.c() % part == 0 && fine.w() * fine.c() <= std::numeric_limits<int>::max();
    if (patches_) {
      patch_.threads = coarse.n() * coarse.h() * coarse.w() * (x.c() / part);
      patch_.fine_row = fine.w() * fine.c();
      patch_.fine_channels = static_cast<int>(fine.c());
      patch_.parts = IndexDiv(x.c() / part, patch_.threads);
      patch_.width = IndexDiv(coarse.w(), patch_.threads);
    }
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      preload(reinterpret_cast<const void*>(kernel<T, 16 / sizeof(T)>()));
      preload(reinterpret_cast<const void*>(kernel<T, 1>()));
      preload(reinterpret_cast<const void*>(patch_kernel<T>(args_.group)));
    });
  }

  // x is read once from memory (neighbouring threads share its cache lines), y written once, in packs where channels allow.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      constexpr int kPack = 16 / sizeof(T);
      if (patches_ && is_aligned(args.in[0].data, 16) && is_aligned(args.out[0].data, 16)) {
        return launch_kernel(patch_kernel<T>(args_.group), grid_of(ceil_div<std::int64_t>(patch_.threads, kBlock)), dim3(kBlock), 0, stream,
                             args.in[0].as<const T>(), args.out[0].as<T>(), patch_);
      }
      const bool packs = args_.nhwc && args_.channels % kPack == 0 && is_aligned(args.out[0].data, 16);
      ShortcutArgs a = args_;
      a.threads = args.out[0].shape.elements() / (packs ? kPack : 1);
      launch_kernel(packs ? kernel<T, kPack>() : kernel<T, 1>(), dim3(static_cast<unsigned>(ceil_div<std::int64_t>(a.threads, kBlock))),
                    dim3(kBlock), 0, stream, args.in[0].as<const T>(), args.out[0].as<T>(), a);
    });
  }
  std::string describe() const override {
    if (patches_) return "nhwc, a pack of channels of a patch a thread";
    return args_.nhwc ? "nhwc, a pack of channels a thread" : "nchw, an element a thread";
  }

 private:
  template <class T, int N>
  static void (*kernel())(const T*, T*, ShortcutArgs) {
    if constexpr (kDirection == Direction::average) {
      return &average_channels_per_thread<T, N>;
    } else {
      return &duplicate_channels_per_thread<T, N>;
    }
  }

  template <class T, int G>
  static constexpr auto patch_of() {
    if constexpr (kDirection == Direction::average) {
      return &average_patch_per_thread<T, G>;
    } else {
      return &duplicate_patch_per_thread<T, G>;
    }
  }
  template <class T>
  static void (*patch_kernel(int group))(const T*, T*, PatchArgs) {
    return group == 1 ? patch_of<T, 1>() : group == 2 ? patch_of<T, 2>() : group == 4 ? patch_of<T, 4>() : patch_of<T, 8>();
  }

  ShortcutArgs args_;
  PatchArgs patch_;
  bool patches_ = false;
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
