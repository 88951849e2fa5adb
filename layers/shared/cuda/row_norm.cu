#include <frieze/layers/shared/cuda/row_norm.h>

#include <algorithm>
#include <bit>

#include <frieze/core/error.h>
#include <frieze/layers/shared/cuda/fast_div.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/moments.cuh>

namespace frieze::cuda {
namespace {

constexpr int kSegmentBlock = 256, kRowBlock = 512;
constexpr int kMostLanes = 1024;
constexpr int kMostSegments = kSegmentBlock;  // of a row: a thread of the second pass reads the moments of one
constexpr std::int64_t kFew = 1 << 14;        // elements that a block has not long to do with

struct RowNormArgs {
  const void* x;
  void* y;
  const void *weight, *bias;
  std::int64_t rows, length, plane, groups;
  FastDiv by_plane;
  bool wide;  // a row of more elements than FastDiv divides
  std::int64_t segment;
  int segments;
  Moments* partial;  // [rows][segments]
  float eps;
};

// The index of row's first weight.
__device__ __forceinline__ std::int64_t first_weight(const RowNormArgs& a, std::int64_t row) {
  return a.groups == 1 ? 0 : row % a.groups * (a.plane == 0 ? a.length : a.length / a.plane);
}

// v = v * weight + bias for the elements i to i + V - 1 of a row whose first weight has index `first`.
template <class T, int V>
__device__ __forceinline__ void scale_and_shift(const RowNormArgs& a, std::int64_t first, std::int64_t i, float (&v)[V]) {
  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
  if (weight == nullptr && bias == nullptr) return;
  if (a.plane == 0) {
    if (weight != nullptr) {
      const auto w = *reinterpret_cast<const Pack<T, V>*>(weight + first + i);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= widen(w.v[j]);
    }
    if (bias != nullptr) {
      const auto b = *reinterpret_cast<const Pack<T, V>*>(bias + first + i);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += widen(b.v[j]);
    }
    return;
  }
  const auto channel = [&](std::int64_t at) {
    return first + (a.wide ? at / a.plane : std::int64_t{a.by_plane.quotient(static_cast<std::uint32_t>(at))});
  };
  const std::int64_t c = channel(i), last = V == 1 ? c : channel(i + V - 1);
  if (c == last) {
    const float w = weight != nullptr ? widen(weight[c]) : 1.0F, b = bias != nullptr ? widen(bias[c]) : 0.0F;
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = v[j] * w + b;
    return;
  }
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const std::int64_t own = channel(i + j);
    v[j] = v[j] * (weight != nullptr ? widen(weight[own]) : 1.0F) + (bias != nullptr ? widen(bias[own]) : 0.0F);
  }
}

// Normalises and stores one pack, which lies at row * length + i.
template <class T, int V, bool kEpilogue>
__device__ __forceinline__ void store_normalised(const RowNormArgs& a, const EpilogueArgs& e, const Pack<T, V>& pack, std::int64_t row,
                                                 std::int64_t first, std::int64_t i, float pivot, float mean, float factor) {
  float v[V];
#pragma unroll
  for (int j = 0; j < V; ++j) v[j] = (widen(pack.v[j]) - pivot - mean) * factor;
  scale_and_shift<T, V>(a, first, i, v);
  const std::int64_t at = row * a.length + i;
  if constexpr (kEpilogue) apply_epilogue<T, V>(e, v, at);
  Pack<T, V> out;
#pragma unroll
  for (int j = 0; j < V; ++j) out.v[j] = narrow<T>(v[j]);
  *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(a.y) + at) = out;
}

// `lanes` threads own P rows: R packs of V elements of each in every thread's registers. Up to 32 lanes sum by shuffles alone; more are
// whole warps, which meet in shared memory, and own one row.
template <class T, int V, int R, int P, bool kEpilogue>
__global__ void __launch_bounds__(kMostLanes)
    row_norm_rows_of_lanes(const __grid_constant__ RowNormArgs a, const __grid_constant__ EpilogueArgs e, int lanes_log2) {
  __shared__ float partial[2][32];
  const int tid = static_cast<int>(threadIdx.x), lanes = 1 << lanes_log2, lane = tid & (lanes - 1);
  const int groups = static_cast<int>(blockDim.x) >> lanes_log2, group = tid >> lanes_log2;
  const std::int64_t first_row = std::int64_t{blockIdx.x} * groups * P + group;
  const int length = static_cast<int>(a.length);
  Pack<T, V> x[P][R];
  float pivot[P];
#pragma unroll
  for (int p = 0; p < P; ++p) {
    const std::int64_t row = first_row + p * groups;
    const T* from = static_cast<const T*>(a.x) + row * a.length;
    pivot[p] = row < a.rows ? widen(from[0]) : 0.0F;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int i = (r * lanes + lane) * V;
      x[p][r] = Pack<T, V>{};
      if (row < a.rows && i < length) x[p][r] = *reinterpret_cast<const Pack<T, V>*>(from + i);
    }
  }
  // The sum of f(v - pivot) over each row, in all its lanes.
  const auto sum_rows = [&](int round, float(&sum)[P], auto f) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      sum[p] = 0;
#pragma unroll
      for (int r = 0; r < R; ++r) {
        if ((r * lanes + lane) * V >= length) continue;
#pragma unroll
        for (int j = 0; j < V; ++j) sum[p] += f(p, widen(x[p][r].v[j]) - pivot[p]);
      }
    }
    for (int step = 1; step < min(lanes, 32); step *= 2) {
#pragma unroll
      for (int p = 0; p < P; ++p) sum[p] += __shfl_xor_sync(~0U, sum[p], step);
    }
    if (P > 1 || lanes <= 32) return;
    if (tid % 32 == 0) partial[round][tid / 32] = sum[0];
    __syncthreads();
    sum[0] = 0;
    for (int w = 0; w < lanes / 32; ++w) sum[0] += partial[round][group * (lanes / 32) + w];
  };
  float mean[P], m2[P];
  sum_rows(0, mean, [](int, float d) { return d; });
#pragma unroll
  for (int p = 0; p < P; ++p) mean[p] /= static_cast<float>(length);
  sum_rows(1, m2, [&](int p, float d) { return (d - mean[p]) * (d - mean[p]); });
#pragma unroll
  for (int p = 0; p < P; ++p) {
    const std::int64_t row = first_row + p * groups;
    if (row >= a.rows) continue;
    const float factor = inverse_deviation({mean[p], m2[p], static_cast<float>(length)}, a.eps);
    const std::int64_t first = first_weight(a, row);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int i = (r * lanes + lane) * V;
      if (i < length) store_normalised<T, V, kEpilogue>(a, e, x[p][r], row, first, i, pivot[p], mean[p], factor);
    }
  }
}

// A range of one row, read for the second time: the packs of a block's threads side by side.
template <class T, int V, bool kEpilogue>
__device__ __forceinline__ void normalise_range(const RowNormArgs& a, const EpilogueArgs& e, std::int64_t row, std::int64_t begin,
                                                std::int64_t end, float pivot, const Moments& m) {
  constexpr int K = kEpilogue ? 1 : 4;  // the code of an epilogue is long, and there are many warps
  const T* x = static_cast<const T*>(a.x) + row * a.length;
  const float factor = inverse_deviation(m, a.eps);
  const std::int64_t first = first_weight(a, row), step = std::int64_t{blockDim.x} * V;
  for (std::int64_t i = begin + std::int64_t{threadIdx.x} * V; i < end; i += step * K) {
    Pack<T, V> pack[K];
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (i + k * step < end) pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + i + k * step);
    }
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (i + k * step < end) store_normalised<T, V, kEpilogue>(a, e, pack[k], row, first, i + k * step, pivot, m.mean, factor);
    }
  }
}

// A block owns a row and reads it twice, the second time from the cache.
template <class T, int V, bool kEpilogue>
__global__ void __launch_bounds__(kRowBlock)
    row_norm_block_per_row(const __grid_constant__ RowNormArgs a, const __grid_constant__ EpilogueArgs e) {
  __shared__ Moments warps[kRowBlock / 32];
  const std::int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(a.x) + row * a.length;
  const float pivot = widen(x[0]);
  const Moments own = moments_of_packs<T, V>(x, a.length, pivot, static_cast<int>(threadIdx.x), kRowBlock);
  normalise_range<T, V, kEpilogue>(a, e, row, 0, a.length, pivot, merge_block(own, warps));
}

template <class T, int V>
__global__ void __launch_bounds__(kSegmentBlock) row_moments_block_per_segment(const __grid_constant__ RowNormArgs a) {
  __shared__ Moments warps[kSegmentBlock / 32];
  const std::int64_t row = blockIdx.x / static_cast<unsigned>(a.segments);
  const std::int64_t begin = (blockIdx.x - row * a.segments) * a.segment;
  const T* x = static_cast<const T*>(a.x) + row * a.length;
  const Moments own =
      moments_of_packs<T, V>(x + begin, min(a.segment, a.length - begin), widen(x[0]), static_cast<int>(threadIdx.x), kSegmentBlock);
  const Moments all = merge_block(own, warps);
  if (threadIdx.x == 0) a.partial[blockIdx.x] = all;
}

// In the reverse order: what was read last is still in the cache.
template <class T, int V, bool kEpilogue>
__global__ void __launch_bounds__(kSegmentBlock)
    row_norm_block_per_segment(const __grid_constant__ RowNormArgs a, const __grid_constant__ EpilogueArgs e) {
  __shared__ Moments warps[kSegmentBlock / 32];
  const unsigned task = gridDim.x - 1 - blockIdx.x;
  const std::int64_t row = task / static_cast<unsigned>(a.segments);
  const std::int64_t begin = (task - row * a.segments) * a.segment;
  Moments part{};
  if (threadIdx.x < static_cast<unsigned>(a.segments)) part = a.partial[row * a.segments + threadIdx.x];
  const float pivot = widen(static_cast<const T*>(a.x)[row * a.length]);
  normalise_range<T, V, kEpilogue>(a, e, row, begin, min(begin + a.segment, a.length), pivot, merge_block(part, warps));
}

// The kernels there are for rows in registers; see choose().
template <class T, bool kEpilogue>
void (*pick_rows(int vector, int loads))(RowNormArgs, EpilogueArgs, int) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  if (vector == 1) return &row_norm_rows_of_lanes<T, 1, 4, 1, kEpilogue>;
  if (loads == 1) return &row_norm_rows_of_lanes<T, V, 1, 4, kEpilogue>;
  if (loads == 2) return &row_norm_rows_of_lanes<T, V, 2, 2, kEpilogue>;
  return &row_norm_rows_of_lanes<T, V, 4, 1, kEpilogue>;
}

template <class T, int V, bool kEpilogue>
void preload_passes() {
  preload(reinterpret_cast<const void*>(&row_norm_block_per_row<T, V, kEpilogue>));
  preload(reinterpret_cast<const void*>(&row_norm_block_per_segment<T, V, kEpilogue>));
}

template <class T, bool kEpilogue>
void preload_all() {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  for (const int loads : {1, 2, 4}) preload(reinterpret_cast<const void*>(pick_rows<T, kEpilogue>(V, loads)));
  preload(reinterpret_cast<const void*>(pick_rows<T, kEpilogue>(1, 4)));
  preload_passes<T, V, kEpilogue>();
  preload_passes<T, 1, kEpilogue>();
}

}  // namespace

RowNorm::RowNorm(const RowNormProblem& problem, int sm_count) : problem_(problem), sm_count_(sm_count) {
  aligned_ = choose(true);
  other_ = choose(false);
  dispatch(problem.dtype, [](auto t) {
    using T = decltype(t);
    preload(reinterpret_cast<const void*>(&row_moments_block_per_segment<T, 16 / sizeof(T)>));
    preload(reinterpret_cast<const void*>(&row_moments_block_per_segment<T, 1>));
    preload_all<T, false>();
    preload_all<T, true>();
  });
}

RowNorm::Choice RowNorm::choose(bool aligned) const {
  Choice c;
  const auto wide = static_cast<std::int64_t>(16 / size_of(problem_.dtype));
  c.vector = aligned && problem_.length % wide == 0 ? static_cast<int>(wide) : 1;
  const std::int64_t packs = problem_.length / c.vector;
  // In registers if the rows are enough for all multiprocessors, or so short that no more of them would be faster.
  if (packs <= 4 * kMostLanes && (problem_.rows >= sm_count_ / 2 || problem_.length <= kFew)) {
    c.loads = c.vector == 1 || packs >= 32 ? 4 : packs >= 16 ? 2 : 1;
    c.rows = 4 / c.loads;
    if (c.vector == 1) c.rows = 1;
    const std::int64_t lanes = ceil_div<std::int64_t>(packs, c.loads);
    c.lanes = static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(lanes)));
    return c;
  }
  // Ranges of rows until there are 8 blocks a multiprocessor, but none so short that its threads have nothing to do.
  const std::int64_t wanted = ceil_div<std::int64_t>(8 * sm_count_, problem_.rows);
  const std::int64_t most = std::clamp<std::int64_t>(packs / (4 * kSegmentBlock), 1, kMostSegments);
  const std::int64_t segments = std::clamp<std::int64_t>(wanted, 1, most);
  c.path = problem_.rows >= 2 * sm_count_ || segments == 1 ? Path::block : Path::segments;
  c.segment = ceil_div(packs, segments) * c.vector;
  c.segments = static_cast<int>(ceil_div(problem_.length, c.segment));
  return c;
}

std::size_t RowNorm::workspace_bytes() const {
  std::size_t bytes = 0;
  for (const Choice* c : {&aligned_, &other_}) {
    if (c->path != Path::segments) continue;
    bytes = std::max(bytes, static_cast<std::size_t>(problem_.rows) * static_cast<std::size_t>(c->segments) * sizeof(Moments));
  }
  return bytes;
}

std::string RowNorm::describe() const {
  if (aligned_.path == Path::registers) {
    return concat_text(aligned_.lanes, " lanes of ", aligned_.rows, aligned_.rows == 1 ? " row" : " rows", " in registers, packs of ",
                       aligned_.vector);
  }
  if (aligned_.path == Path::block) return "a block per row, read twice";
  return concat_text(aligned_.segments, " segments of a row, read twice");
}

// x in and y out once: 2 * rows * length * sizeof(T) bytes; bound by memory. Rows that no block holds are read a second time, from L2 as
// far as they are still there: at the worst 1.5 copies. Not measured yet.
void RowNorm::launch(const RowNormCall& call, cudaStream_t stream) const {
  const bool aligned = is_aligned(call.x, 16) && is_aligned(call.y, 16) && call.epilogue.aligned(16);
  const Choice& c = aligned ? aligned_ : other_;
  RowNormArgs a{};
  a.x = call.x;
  a.y = call.y;
  a.weight = call.weight;
  a.bias = call.bias;
  a.rows = problem_.rows;
  a.length = problem_.length;
  a.plane = problem_.plane;
  a.groups = problem_.groups;
  a.wide = problem_.length > 0x7FFFFFFF;
  if (!a.wide && a.plane > 0) a.by_plane = FastDiv(static_cast<std::uint32_t>(a.plane));
  a.segment = c.segment;
  a.segments = c.segments;
  a.partial = static_cast<Moments*>(call.workspace);
  a.eps = call.eps;
  dispatch(problem_.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int V = 16 / static_cast<int>(sizeof(T));
    const bool chain = call.epilogue.count > 0;
    if (c.path == Path::registers) {
      const int threads = std::max(kSegmentBlock, c.lanes);
      const std::int64_t blocks = ceil_div<std::int64_t>(a.rows, std::int64_t{threads / c.lanes} * c.rows);
      const auto kernel = chain ? pick_rows<T, true>(c.vector, c.loads) : pick_rows<T, false>(c.vector, c.loads);
      launch_kernel(kernel, grid_of(blocks), dim3(static_cast<unsigned>(threads)), 0, stream, a, call.epilogue,
                    std::bit_width(static_cast<unsigned>(c.lanes)) - 1);
      return;
    }
    const bool packs = c.vector > 1;
    if (c.path == Path::block) {
      const auto plain = packs ? &row_norm_block_per_row<T, V, false> : &row_norm_block_per_row<T, 1, false>;
      const auto full = packs ? &row_norm_block_per_row<T, V, true> : &row_norm_block_per_row<T, 1, true>;
      launch_kernel(chain ? full : plain, grid_of(a.rows), dim3(kRowBlock), 0, stream, a, call.epilogue);
      return;
    }
    const dim3 grid = grid_of(a.rows * a.segments);
    const auto moments = packs ? &row_moments_block_per_segment<T, V> : &row_moments_block_per_segment<T, 1>;
    launch_kernel(moments, grid, dim3(kSegmentBlock), 0, stream, a);
    const auto plain = packs ? &row_norm_block_per_segment<T, V, false> : &row_norm_block_per_segment<T, 1, false>;
    const auto full = packs ? &row_norm_block_per_segment<T, V, true> : &row_norm_block_per_segment<T, 1, true>;
    launch_kernel(chain ? full : plain, grid, dim3(kSegmentBlock), 0, stream, a, call.epilogue);
  });
}

}  // namespace frieze::cuda
