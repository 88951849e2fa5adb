#include <algorithm>
#include <limits>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/layers/interpolate/interpolate.h>
#include <frieze/layers/interpolate/cuda/resample.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 128;
constexpr int kMostRows = 16;   // of y that a thread makes one below the other, so that it blends rows of x once
constexpr int kWindowRows = 4;  // likewise, of any number of weights

template <class T, int N>
__device__ __forceinline__ void store(const float (&v)[N], T* to) {
  Pack<T, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) pack.v[j] = narrow<T>(v[j]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// What a thread owns: N neighbouring channels of one column (kChannels, nhwc), or N neighbouring columns, of `rows` rows of y.
template <class T, int N, bool kChannels>
struct Strip {
  const T* plane;  // of x, from the thread's first channel on
  T* out;
  int column, first_row, rows;

  __device__ __forceinline__ Strip(const T* x, T* y, const ResampleArgs& a, std::int64_t thread) {
    const DivMod unit = div_mod(thread, a.units), group = div_mod(unit.quotient, a.row_groups);
    const auto at = static_cast<int>(unit.remainder);
    column = kChannels ? at / a.packs : at * N;
    const int channel = kChannels ? (at - column * a.packs) * N : 0;
    first_row = static_cast<int>(group.remainder) * a.rows;
    rows = min(a.rows, a.h.out - first_row);
    plane = x + group.quotient * a.x_plane + channel;
    out = y + group.quotient * a.y_plane + (static_cast<std::int64_t>(first_row) * a.w.out + column) * a.inner + channel;
  }
};

// K weights along each axis. Of the rows of x, blended along the width, the last K are kept; one more is on its way.
template <class T, int N, int K, bool kChannels>
__global__ void __launch_bounds__(kBlock) interpolate_rows_per_thread(const T* x, T* y, const __grid_constant__ ResampleArgs a) {
  constexpr int kColumns = kChannels ? 1 : N, kParts = kChannels ? K : N * K;
  using Part = Pack<T, kChannels ? N : 1>;
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const Strip<T, N, kChannels> strip(x, y, a, thread);
  T* out = strip.out;

  int offset[kColumns][K];
  float across[kColumns][K];
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    const int start = a.w.start[strip.column + i];
#pragma unroll
    for (int k = 0; k < K; ++k) offset[i][k] = clamped(start + k, a.w.in) * a.inner;
    load_weights<K>(a.w, strip.column + i, across[i]);
  }
  const auto fetch = [&](int row, Part(&to)[kParts]) {
    const T* const line = strip.plane + static_cast<std::int64_t>(clamped(row, a.h.in)) * a.w.in * a.inner;
#pragma unroll
    for (int p = 0; p < kParts; ++p) to[p] = *reinterpret_cast<const Part*>(line + offset[p / K][p % K]);
  };

  float kept[K][N] = {};
  int row = a.h.start[strip.first_row];  // of x, the next to be blended; `ahead` is what it has
  Part ahead[kParts];
  fetch(row, ahead);
#pragma unroll 1
  for (int r = 0; r < strip.rows; ++r, out += static_cast<std::int64_t>(a.w.out) * a.inner) {
    const int i = strip.first_row + r, start = a.h.start[i];
    float down[K], sum[N] = {};
    load_weights<K>(a.h, i, down);
    if (start > row) {  // none of the rows that are kept is needed
      row = start;
      fetch(row, ahead);
    }
#pragma unroll 1
    for (; row < start + K; ++row) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
#pragma unroll
        for (int k = 0; k + 1 < K; ++k) kept[k][j] = kept[k + 1][j];
        float v = 0;
#pragma unroll
        for (int k = 0; k < K; ++k) {
          const float from = widen(kChannels ? ahead[k].v[kChannels ? j : 0] : ahead[kChannels ? 0 : j * K + k].v[0]);
          v = K == 1 ? from : fmaf(across[kChannels ? 0 : j][k], from, v);
        }
        kept[K - 1][j] = v;
      }
      fetch(row + 1, ahead);
    }
#pragma unroll
    for (int k = 0; k < K; ++k) {
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] = K == 1 ? kept[k][j] : fmaf(down[k], kept[k][j], sum[j]);
    }
    store(sum, out);
  }
}

// Any number of weights, all inside of the image: each row of x that one of up to kWindowRows rows of y needs is blended along the width
// once, and added to all of those. In nchw the weights of a column are kept, if they are few.
template <class T, int N, bool kChannels>
__global__ void __launch_bounds__(kBlock) interpolate_window_per_thread(const T* x, T* y, const __grid_constant__ ResampleArgs a) {
  constexpr int kColumns = kChannels ? 1 : N, kKept = kChannels ? 1 : 8;
  const std::int64_t thread = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (thread >= a.threads) return;
  const Strip<T, N, kChannels> strip(x, y, a, thread);
  const bool few = !kChannels && a.w.taps <= kKept;

  int offset[kColumns], taps[kColumns];
  const float* weights[kColumns];
  float kept[kColumns][kKept];
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    offset[i] = a.w.start[strip.column + i] * a.inner;
    taps[i] = a.w.count[strip.column + i];
    weights[i] = a.w.weights + static_cast<std::int64_t>(strip.column + i) * a.w.taps;
#pragma unroll
    for (int k = 0; k < kKept; ++k) kept[i][k] = few && k < taps[i] ? weights[i][k] : 0.0F;
  }
  int start[kWindowRows], count[kWindowRows], end = 0;
  const float* down[kWindowRows];
#pragma unroll
  for (int q = 0; q < kWindowRows; ++q) {
    const int i = strip.first_row + min(q, strip.rows - 1);
    start[q] = a.h.start[i];
    count[q] = q < strip.rows ? a.h.count[i] : 0;
    down[q] = a.h.weights + static_cast<std::int64_t>(i) * a.h.taps;
    end = max(end, start[q] + count[q]);
  }

  float sums[kWindowRows][N] = {};
#pragma unroll 1
  for (int row = start[0]; row < end; ++row) {
    const T* const line = strip.plane + static_cast<std::int64_t>(row) * a.w.in * a.inner;
    float v[N] = {};
    if constexpr (kChannels) {
#pragma unroll 4
      for (int k = 0; k < taps[0]; ++k) {
        const auto pack = *reinterpret_cast<const Pack<T, N>*>(line + offset[0] + k * a.inner);
        const float w = weights[0][k];
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] = fmaf(w, widen(pack.v[i]), v[i]);
      }
    } else if (few) {
#pragma unroll
      for (int k = 0; k < kKept; ++k) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          if (k < taps[i]) v[i] = fmaf(kept[i][k], widen(line[offset[i] + k * a.inner]), v[i]);
        }
      }
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        for (int k = 0; k < taps[i]; ++k) v[i] = fmaf(weights[i][k], widen(line[offset[i] + k * a.inner]), v[i]);
      }
    }
#pragma unroll
    for (int q = 0; q < kWindowRows; ++q) {
      const int k = row - start[q];
      if (k < 0 || k >= count[q]) continue;
      const float w = down[q][k];
#pragma unroll
      for (int j = 0; j < N; ++j) sums[q][j] = fmaf(w, v[j], sums[q][j]);
    }
  }
#pragma unroll
  for (int q = 0; q < kWindowRows; ++q) {
    if (q < strip.rows) store(sums[q], strip.out + q * static_cast<std::int64_t>(a.w.out) * a.inner);
  }
}

// Calls body(kernel) for the number of weights.
template <class T, int N, bool kChannels, class Body>
void with_kernel(std::int64_t taps, Body&& body) {
  switch (taps) {
    case 1: return body(&interpolate_rows_per_thread<T, N, 1, kChannels>);
    case 2: return body(&interpolate_rows_per_thread<T, N, 2, kChannels>);
    case 4: return body(&interpolate_rows_per_thread<T, N, 4, kChannels>);
    default: return body(&interpolate_window_per_thread<T, N, kChannels>);
  }
}

constexpr int kColumns = 4;  // of a thread in nchw
template <class T>
constexpr int kChannels = 16 / sizeof(T);  // of a thread in nhwc

class InterpolateKernel final : public NodeKernel {
 public:
  InterpolateKernel(const Interpolate& layer, const PrepareArgs& args)
      : nhwc_(args.out[0].format == Format::nhwc && !(same_layout(args.in[0].shape) && same_layout(args.out[0].shape))) {
    const Shape &x = args.in[0].shape, &y = args.out[0].shape;
    constexpr std::int64_t kMost = std::numeric_limits<int>::max();
    const std::int64_t inner = nhwc_ ? x.c() : 1;
    for (const std::int64_t row : {x.w() * inner, y.w() * inner, x.h(), y.h()}) {
      check<CudaError>(row <= kMost, "Interpolate's kernel takes rows of up to 2^31 elements, got ", row, " (x ", x, ", y ", y, ")");
    }
    const Interpolate::Axis rows = layer.axis(0, x.h(), y.h()), columns = layer.axis(1, x.w(), y.w());
    upload(rows, x.h(), h_);
    upload(columns, x.w(), w_);
    // One kernel's number of weights serves both axes.
    const bool fixed = !layer.options().antialias;
    taps_ = fixed ? h_.args.taps : 0;
    a_.h = h_.args;
    a_.w = w_.args;
    a_.inner = static_cast<int>(inner);
    a_.x_plane = x.h() * x.w() * inner;
    a_.y_plane = y.h() * y.w() * inner;
    planes_ = nhwc_ ? x.n() : x.n() * x.c();
    sm_count_ = args.device->sm_count;
    // Nearest pixels of whole packs have nothing to share.
    a_.tile = nhwc_ || (taps_ == 1 && y.w() % kColumns == 0) ? 0 : interpolate_tile(rows, columns, static_cast<int>(taps_));
    if (a_.tile > 0) {
      const std::int64_t blocks = interpolate_tile_blocks(a_, planes_, static_cast<int>(taps_));
      if (blocks < 2 * std::int64_t{sm_count_} || blocks > std::numeric_limits<int>::max()) a_.tile = 0;
    }
    if (a_.tile > 0) preload_interpolate_tile(args.out[0].dtype, static_cast<int>(taps_));
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      const auto load = [](auto* kernel) { preload(reinterpret_cast<const void*>(kernel)); };
      with_kernel<T, 1, true>(taps_, load);
      with_kernel<T, 1, false>(taps_, load);
      with_kernel<T, kChannels<T>, true>(taps_, load);
      with_kernel<T, kColumns, false>(taps_, load);
    });
  }
  std::size_t weight_bytes() const override {
    return h_.start.bytes() + h_.count.bytes() + h_.weights.bytes() + w_.start.bytes() + w_.count.bytes() + w_.weights.bytes();
  }

  // Reads x and writes y once from memory; further reads of a pixel are served by L1 and L2.
  // [1,256,256,256] bf16 twice as large on an H200: nearest 46.0 us in nhwc, 0.89 of a copy; the others are not measured yet in this form.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Format format = nhwc_ ? Format::nhwc : Format::nchw;
    check<CudaError>(args.in[0].is_contiguous(format) && args.out[0].is_contiguous(format),
                     "Interpolate's kernel takes contiguous tensors only");
    if (a_.tile > 0) {
      ResampleArgs a = a_;
      const std::int64_t blocks = interpolate_tile_blocks(a, planes_, static_cast<int>(taps_));
      return launch_interpolate_tile(args.out[0].dtype, static_cast<int>(taps_), a, blocks, args.in[0].data, args.out[0].data, stream);
    }
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      const T* x = args.in[0].as<const T>();
      T* y = args.out[0].as<T>();
      ResampleArgs a = a_;
      const auto run = [&](auto* kernel) {
        // Long columns reuse more, as long as there are enough threads to half fill the GPU.
        a.rows = taps_ == 0 ? kWindowRows : kMostRows;
        const std::int64_t lines = planes_ * a.units;
        while (a.rows > 1 && lines * ceil_div(a.h.out, a.rows) < std::int64_t{sm_count_} * 1024) a.rows /= 2;
        a.row_groups = ceil_div(a.h.out, a.rows);
        a.threads = lines * a.row_groups;
        launch_kernel(kernel, grid_of(ceil_div<std::int64_t>(a.threads, kBlock)), dim3(kBlock), 0, stream, x, y, a);
      };
      if (nhwc_) {
        const bool packs = a.inner % kChannels<T> == 0 && is_aligned(x, 16) && is_aligned(y, 16);
        a.packs = packs ? a.inner / kChannels<T> : a.inner;
        a.units = a.w.out * a.packs;
        packs ? with_kernel<T, kChannels<T>, true>(taps_, run) : with_kernel<T, 1, true>(taps_, run);
      } else {
        const bool packs = a.w.out % kColumns == 0 && is_aligned(y, kColumns * sizeof(T));
        a.units = packs ? a.w.out / kColumns : a.w.out;
        packs ? with_kernel<T, kColumns, false>(taps_, run) : with_kernel<T, 1, false>(taps_, run);
      }
    });
  }
  std::string describe() const override {
    const char* const what = nhwc_         ? "nhwc, a column of channels a thread"
                             : a_.tile > 0 ? "nchw, a tile a block"
                                           : "nchw, columns of a channel a thread";
    return concat_text(what, ", ", h_.args.taps, "x", w_.args.taps, " weights");
  }

 private:
  struct Table {
    DeviceBuffer start, count, weights;
    ResampledAxis args;
  };
  static void upload(const Interpolate::Axis& axis, std::int64_t in, Table& table) {
    const auto integers = [](const std::vector<std::int64_t>& from) {
      const std::vector<int> narrow(from.begin(), from.end());
      return to_device(narrow.data(), narrow.size() * sizeof(int));
    };
    table.start = integers(axis.start);
    table.count = integers(axis.count);
    if (!axis.weights.empty()) table.weights = to_device(std::vector<float>(axis.weights.begin(), axis.weights.end()), DType::f32);
    table.args = {table.start.as<const int>(), table.count.as<const int>(), table.weights.as<const float>(),
                  static_cast<int>(axis.taps), static_cast<int>(in),        static_cast<int>(axis.start.size())};
  }

  bool nhwc_;
  ResampleArgs a_;
  Table h_, w_;
  std::int64_t taps_ = 0, planes_ = 1;
  int sm_count_ = 1;
};

std::unique_ptr<Kernel> make(const Interpolate& layer, const PrepareArgs& args) { return std::make_unique<InterpolateKernel>(layer, args); }

}  // namespace

void register_interpolate(KernelRegistry& registry) { registry.add<Interpolate>(&make); }

}  // namespace frieze::cuda
