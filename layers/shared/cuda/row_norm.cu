#include <frieze/layers/shared/cuda/row_norm.h>

#include <algorithm>
#include <bit>

#include <frieze/core/error.h>
#include <frieze/layers/shared/cuda/fast_div.h>
#include <frieze/core/cuda/launch.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/moments.cuh>
#include <frieze/layers/shared/cuda/norm_epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kSegmentBlock = 256, kRowBlock = 512;
constexpr int kSegmentBlocks = 4, kRowBlocks = 2;  // at the least on a multiprocessor
constexpr int kMostLanes = 512;
constexpr int kMostSegments = kSegmentBlock;  // of a row: a thread of the second pass reads the moments of one
constexpr std::int64_t kFew = 1 << 14;        // elements that a block has not long to do with
constexpr std::int64_t kLongPlane = 1 << 11;  // elements of a channel that are worth a loop of their own

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
    if (bias == nullptr) {
      const auto w = *reinterpret_cast<const Pack<T, V>*>(weight + first + i);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= widen(w.v[j]);
    } else if (weight == nullptr) {
      const auto b = *reinterpret_cast<const Pack<T, V>*>(bias + first + i);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += widen(b.v[j]);
    } else {
      const auto w = *reinterpret_cast<const Pack<T, V>*>(weight + first + i), b = *reinterpret_cast<const Pack<T, V>*>(bias + first + i);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = fmaf(v[j], widen(w.v[j]), widen(b.v[j]));
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

// `lanes` threads own a row at a time, R packs of V elements each, and `rounds` rows one after the other: the next one is on its way while
// this one is summed up. Up to 32 lanes sum by shuffles alone; more are whole warps, which meet in shared memory.
template <class T, int V, int R, bool kEpilogue>
__global__ void __launch_bounds__(kMostLanes)
    row_norm_rows_of_lanes(const __grid_constant__ RowNormArgs a, const __grid_constant__ EpilogueArgs e, int lanes_log2, int rounds) {
  __shared__ float partial[2][kMostLanes / 32];
  const int tid = static_cast<int>(threadIdx.x), lanes = 1 << lanes_log2, lane = tid & (lanes - 1);
  const int groups = static_cast<int>(blockDim.x) >> lanes_log2, group = tid >> lanes_log2;
  const int length = static_cast<int>(a.length);
  const float share = 1.0F / static_cast<float>(length);
  std::int64_t row = std::int64_t{blockIdx.x} * rounds * groups + group;
  Pack<T, V> next[R];
  T next_pivot{};
  const auto load = [&](std::int64_t from_row) {
    if (from_row >= a.rows) return;
    const T* from = static_cast<const T*>(a.x) + from_row * a.length;
    next_pivot = from[0];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int i = (r * lanes + lane) * V;
      if (i < length) next[r] = *reinterpret_cast<const Pack<T, V>*>(from + i);
    }
  };
  // The sum over the row's lanes, in all of them.
  const auto sum_lanes = [&](int half, float sum) {
    for (int step = 1; step < min(lanes, 32); step *= 2) sum += __shfl_xor_sync(~0U, sum, step);
    if (lanes <= 32) return sum;
    if (tid % 32 == 0) partial[half][tid / 32] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < lanes / 32; ++w) sum += partial[half][group * (lanes / 32) + w];
    return sum;
  };
#pragma unroll
  for (int r = 0; r < R; ++r) next[r] = Pack<T, V>{};
  load(row);
  for (int round = 0; round < rounds; ++round, row += groups) {  // all threads of the block as often
    float d[R][V], sum = 0, m2 = 0;
    const float pivot = widen(next_pivot);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if ((r * lanes + lane) * V >= length) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        d[r][j] = widen(next[r].v[j]) - pivot;
        sum += d[r][j];
      }
    }
    if (round + 1 < rounds) load(row + groups);
    const float mean = sum_lanes(0, sum) * share;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if ((r * lanes + lane) * V >= length) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        d[r][j] -= mean;
        m2 = fmaf(d[r][j], d[r][j], m2);
      }
    }
    const float factor = 1.0F / sqrtf(sum_lanes(1, m2) * share + a.eps);
    if (row >= a.rows) continue;
    const std::int64_t first = first_weight(a, row);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int i = (r * lanes + lane) * V;
      if (i >= length) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) d[r][j] *= factor;
      scale_and_shift<T, V>(a, first, i, d[r]);
      store_normalised<T, V, kEpilogue ? NormEpilogue::chain : NormEpilogue::none>(static_cast<T*>(a.y), e, d[r], row * a.length + i);
    }
  }
}

// Elements begin to end - 1 of one row, read for the second time: the packs of a block's threads side by side.
template <class T, int V, NormEpilogue kEpilogue>
__device__ __forceinline__ void normalise_range(const RowNormArgs& a, const EpilogueArgs& e, std::int64_t row, std::int64_t begin,
                                                std::int64_t end, float pivot, const Moments& m) {
  constexpr int K = kEpilogue == NormEpilogue::chain ? 1 : 4;  // packs under way at a time; the code of a chain is long
  const float factor = inverse_deviation(m, a.eps);
  const std::int64_t first = first_weight(a, row), start = row * a.length;
  const T* x = static_cast<const T*>(a.x) + start;
  const int step = static_cast<int>(blockDim.x) * V;
  // Channel by channel, each with one factor and one offset, where channels are long; else all of it.
  const bool whole = a.plane >= kLongPlane && a.plane % V == 0;
  for (std::int64_t c = whole ? begin / a.plane : 0; begin < end; ++c) {
    float scale = factor, shift = -m.mean * factor;
    std::int64_t stop = end;
    if (whole) {
      if (a.weight != nullptr) scale *= widen(static_cast<const T*>(a.weight)[first + c]);
      shift = (a.bias != nullptr ? widen(static_cast<const T*>(a.bias)[first + c]) : 0.0F) - m.mean * scale;
      stop = min(end, (c + 1) * a.plane);
    }
    for (std::int64_t i = begin + std::int64_t{threadIdx.x} * V; i < stop; i += std::int64_t{step} * K) {
      Pack<T, V> pack[K];
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (i + k * step < stop) pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + i + k * step);
      }
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (i + k * step >= stop) continue;
        float v[V];
#pragma unroll
        for (int j = 0; j < V; ++j) v[j] = fmaf(widen(pack[k].v[j]) - pivot, scale, shift);
        if (!whole) scale_and_shift<T, V>(a, first, i + k * step, v);
        store_normalised<T, V, kEpilogue>(static_cast<T*>(a.y), e, v, start + i + k * step);
      }
    }
    begin = stop;
  }
}

// A block owns a row and reads it twice, the second time from the cache.
template <class T, int V, NormEpilogue kEpilogue>
__global__ void __launch_bounds__(kRowBlock, kRowBlocks)
    row_norm_block_per_row(const __grid_constant__ RowNormArgs a, const __grid_constant__ EpilogueArgs e) {
  __shared__ Moments warps[kRowBlock / 32];
  const std::int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(a.x) + row * a.length;
  const float pivot = widen(x[0]);
  const Moments own = moments_of_packs<T, V>(x, a.length, pivot, static_cast<int>(threadIdx.x), kRowBlock);
  normalise_range<T, V, kEpilogue>(a, e, row, 0, a.length, pivot, merge_block(own, warps));
}

template <class T, int V>
__global__ void __launch_bounds__(kSegmentBlock, kSegmentBlocks) row_moments_block_per_segment(const __grid_constant__ RowNormArgs a) {
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
template <class T, int V, NormEpilogue kEpilogue>
__global__ void __launch_bounds__(kSegmentBlock, kSegmentBlocks)
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
void (*pick_rows(int vector, int loads))(RowNormArgs, EpilogueArgs, int, int) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  if (vector == 1) return &row_norm_rows_of_lanes<T, 1, 4, kEpilogue>;
  if constexpr (!kEpilogue) {  // whose code is long: the next larger number of packs serves too
    if (loads == 1) return &row_norm_rows_of_lanes<T, V, 1, kEpilogue>;
    if (loads == 3) return &row_norm_rows_of_lanes<T, V, 3, kEpilogue>;
  }
  if (loads <= 2) return &row_norm_rows_of_lanes<T, V, 2, kEpilogue>;
  return &row_norm_rows_of_lanes<T, V, 4, kEpilogue>;
}

// The second pass, or both in one.
template <class T, int V>
void (*pick_pass(bool segments, NormEpilogue e))(RowNormArgs, EpilogueArgs) {
  if (segments) {
    if (e == NormEpilogue::none) return &row_norm_block_per_segment<T, V, NormEpilogue::none>;
    if (e == NormEpilogue::silu) return &row_norm_block_per_segment<T, V, NormEpilogue::silu>;
    return &row_norm_block_per_segment<T, V, NormEpilogue::chain>;
  }
  if (e == NormEpilogue::none) return &row_norm_block_per_row<T, V, NormEpilogue::none>;
  if (e == NormEpilogue::silu) return &row_norm_block_per_row<T, V, NormEpilogue::silu>;
  return &row_norm_block_per_row<T, V, NormEpilogue::chain>;
}

template <class T, int V>
void preload_passes() {
  preload(reinterpret_cast<const void*>(&row_moments_block_per_segment<T, V>));
  for (const bool segments : {false, true}) {
    for (const NormEpilogue e : kNormEpilogues) preload(reinterpret_cast<const void*>(pick_pass<T, V>(segments, e)));
  }
}

template <class T, bool kEpilogue>
void preload_rows() {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  for (const int loads : {1, 2, 3, 4}) preload(reinterpret_cast<const void*>(pick_rows<T, kEpilogue>(V, loads)));
  preload(reinterpret_cast<const void*>(pick_rows<T, kEpilogue>(1, 4)));
}

}  // namespace

RowNorm::RowNorm(const RowNormProblem& problem, int sm_count) : problem_(problem), sm_count_(sm_count) {
  aligned_ = choose(true);
  other_ = choose(false);
  dispatch(problem.dtype, [](auto t) {
    using T = decltype(t);
    preload_passes<T, 16 / sizeof(T)>();
    preload_passes<T, 1>();
    preload_rows<T, false>();
    preload_rows<T, true>();
  });
}

RowNorm::Choice RowNorm::choose(bool aligned) const {
  Choice c;
  const auto wide = static_cast<std::int64_t>(16 / size_of(problem_.dtype));
  c.vector = aligned && problem_.length % wide == 0 ? static_cast<int>(wide) : 1;
  const std::int64_t packs = problem_.length / c.vector;
  // In registers if the rows are enough for all multiprocessors, or so short that no more of them would be faster.
  if (packs <= 4 * kMostLanes && (problem_.rows >= sm_count_ / 2 || problem_.length <= kFew)) {
    const auto lanes_of = [&](int loads) {
      return static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(ceil_div<std::int64_t>(packs, loads))));
    };
    // Four packs a thread, or three where these leave fewer lanes without; of short rows as many as leave four lanes.
    c.loads = c.vector == 1 ? 4 : static_cast<int>(std::clamp<std::int64_t>(ceil_div<std::int64_t>(packs, 4), 1, 4));
    if (c.loads == 4 && c.vector > 1 && 3 * lanes_of(3) < 4 * lanes_of(4)) c.loads = 3;
    c.lanes = lanes_of(c.loads);
    const std::int64_t together = std::int64_t{std::max(kSegmentBlock, c.lanes) / c.lanes} * 4 * sm_count_;  // rows of 4 blocks each
    c.rounds = static_cast<int>(std::clamp<std::int64_t>(problem_.rows / together, 1, 8));
    return c;
  }
  // Ranges of rows until every multiprocessor has the blocks that it holds at once, none of which so short that threads have nothing to do.
  const std::int64_t wanted = std::max<std::int64_t>(1, std::int64_t{kSegmentBlocks} * sm_count_ / problem_.rows);
  const std::int64_t most = std::clamp<std::int64_t>(packs / (4 * kSegmentBlock), 1, kMostSegments);
  const std::int64_t segments = std::min(wanted, most);
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
    return concat_text(aligned_.lanes, " lanes a row in registers, ", aligned_.loads, aligned_.loads == 1 ? " pack" : " packs", " of ",
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
      const std::int64_t blocks = ceil_div<std::int64_t>(a.rows, std::int64_t{threads / c.lanes} * c.rounds);
      const auto kernel = chain ? pick_rows<T, true>(c.vector, c.loads) : pick_rows<T, false>(c.vector, c.loads);
      launch_kernel(kernel, grid_of(blocks), dim3(static_cast<unsigned>(threads)), 0, stream, a, call.epilogue,
                    std::bit_width(static_cast<unsigned>(c.lanes)) - 1, c.rounds);
      return;
    }
    const bool packs = c.vector > 1, segments = c.path == Path::segments;
    const NormEpilogue e = epilogue_kind(call.epilogue);
    const dim3 grid = grid_of(segments ? a.rows * a.segments : a.rows), block(segments ? kSegmentBlock : kRowBlock);
    if (segments) {
      launch_kernel(packs ? &row_moments_block_per_segment<T, V> : &row_moments_block_per_segment<T, 1>, grid, block, 0, stream, a);
    }
    launch_kernel(packs ? pick_pass<T, V>(segments, e) : pick_pass<T, 1>(segments, e), grid, block, 0, stream, a, call.epilogue);
  });
}

}  // namespace frieze::cuda
