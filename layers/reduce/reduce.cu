// Reductions: one kernel for lines along the axis that runs fastest in memory, one for lines across it; long lines are split among blocks,
// whose results a second launch joins.
#include <algorithm>
#include <bit>
#include <vector>

#include <frieze/core/error.h>
#include <frieze/layers/reduce/reduce.h>
#include <frieze/layers/shared/cuda/pointwise.cuh>

namespace frieze::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // packs in flight a thread: 64 bytes

// Division by a number that the host knows, of numerators below 2^31: (n * magic / 2^32 + n) >> shift.
struct Divisor {
  std::uint32_t by = 1, magic = 0, shift = 0;
  explicit Divisor(std::uint32_t d = 1) : by(d) {
    while ((std::uint64_t{1} << shift) < d) ++shift;
    magic = static_cast<std::uint32_t>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - d)) / d + 1);
  }
  __device__ std::uint32_t divide(std::uint32_t n) const { return (__umulhi(n, magic) + n) >> shift; }
};

struct KeptAxis {
  std::int64_t extent = 1, in = 0, out = 0;
};
struct ReducedAxis {
  Divisor extent{};
  std::int64_t in = 0;
};

// The packed axis is that of unit stride: number 0 of the reduced ones (rows), or of the kept ones (columns).
struct ReduceArgs {
  KeptAxis kept[Shape::kMaxRank];
  ReducedAxis reduced[Shape::kMaxRank];
  int kept_rank = 0, reduced_rank = 1;
  std::int64_t row = 1;    // elements along the packed axis
  std::int64_t outer = 1;  // outputs; of columns, packs of them
  std::int64_t steps = 1;  // of one output's line: packs of rows, elements of columns
  std::int64_t chunk = 1;  // steps a block takes
  int lanes = 1;           // threads that share an output
  bool sum = true, negate = false, partial = false, pack_store = false;
  float count = 1;  // the result is divided by it
  DType out = DType::f32;
};

__device__ __forceinline__ float join(bool sum, float a, float b) {
  if (sum) return a + b;
  return a > b || isnan(a) ? a : b;
}

__device__ __forceinline__ float finished(const ReduceArgs& args, float v) {
  if (args.partial) return v;
  if (args.negate) v = -v;
  return args.count == 1.0F ? v : v / args.count;
}

__device__ __forceinline__ void store_result(const ReduceArgs& args, void* y, std::int64_t at, float v) {
  if (args.partial || args.out == DType::f32) {
    static_cast<float*>(y)[at] = v;
  } else if (args.out == DType::f16) {
    static_cast<__half*>(y)[at] = narrow<__half>(v);
  } else {
    static_cast<__nv_bfloat16*>(y)[at] = narrow<__nv_bfloat16>(v);
  }
}

// Where step `i` of a line lies, and, of rows, how many elements its pack has.
template <int N, bool kRows>
__device__ __forceinline__ std::int64_t step_offset(const ReduceArgs& args, std::int64_t i, int& count) {
  std::int64_t at = i, offset = 0;
  if (args.reduced_rank > 1) {  // the host sees to it that such lines have fewer than 2^31 steps
    auto rest = static_cast<std::uint32_t>(i);
    std::uint32_t next = args.reduced[0].extent.divide(rest);
    at = rest - next * args.reduced[0].extent.by;
    for (int axis = 1; axis < args.reduced_rank; ++axis) {
      rest = next;
      next = axis + 1 < args.reduced_rank ? args.reduced[axis].extent.divide(rest) : 0;
      offset += (rest - next * args.reduced[axis].extent.by) * args.reduced[axis].in;
    }
  }
  if constexpr (kRows) {
    count = static_cast<int>(min(args.row - at * N, std::int64_t{N}));
    return offset + at * N * args.reduced[0].in;
  } else {
    return offset + at * args.reduced[0].in;
  }
}

template <class T, int N>
__device__ __forceinline__ void add_pack(const ReduceArgs& args, const Pack<T, N>& pack, int count, float (&sums)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) {
    if (N > 1 && j >= count) break;
    const float v = widen(pack.v[j]);
    sums[j] = join(args.sum, sums[j], args.negate ? -v : v);
  }
}

// This thread's steps of a line: every `lanes`-th of the block's chunk, loads ahead of the additions.
template <class T, int N, bool kRows>
__device__ __forceinline__ void reduce_line(const ReduceArgs& args, const T* x, int lane, int columns, float (&sums)[N]) {
  std::int64_t i = blockIdx.y * args.chunk + lane;
  const std::int64_t end = min(blockIdx.y * args.chunk + args.chunk, args.steps);
  for (; i + (kUnroll - 1) * args.lanes < end; i += kUnroll * args.lanes) {
    Pack<T, N> pack[kUnroll];
    int count[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      count[u] = columns;
      const std::int64_t at = step_offset<N, kRows>(args, i + u * args.lanes, count[u]);
      pack[u] = load_pack<T, N>(x + at, count[u], false);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) add_pack(args, pack[u], count[u], sums);
  }
  for (; i < end; i += args.lanes) {
    int count = columns;
    const std::int64_t at = step_offset<N, kRows>(args, i, count);
    add_pack(args, load_pack<T, N>(x + at, count, false), count, sums);
  }
}

// `lanes` threads an output: 1 to 32 of a warp, or the block.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) reduce_rows_lanes_per_output(const T* x, void* y, const __grid_constant__ ReduceArgs args) {
  const int lane = static_cast<int>(threadIdx.x) % args.lanes;
  const std::int64_t output = std::int64_t{blockIdx.x} * (kThreads / args.lanes) + threadIdx.x / args.lanes;
  const bool there = output < args.outer;
  std::int64_t rest = output, in = 0, out = 0;
  for (int axis = 0; axis < args.kept_rank; ++axis) {
    const std::int64_t next = rest / args.kept[axis].extent, at = rest - next * args.kept[axis].extent;
    in += at * args.kept[axis].in;
    out += at * args.kept[axis].out;
    rest = next;
  }
  float sums[N];
#pragma unroll
  for (int j = 0; j < N; ++j) sums[j] = args.sum ? 0.0F : -INFINITY;
  if (there) reduce_line<T, N, true>(args, x + in, lane, N, sums);
#pragma unroll
  for (int step = N / 2; step > 0; step /= 2) {
#pragma unroll
    for (int j = 0; j < step; ++j) sums[j] = join(args.sum, sums[j], sums[j + step]);
  }
  float v = sums[0];
  for (int step = min(args.lanes, 32) / 2; step > 0; step /= 2) v = join(args.sum, v, __shfl_xor_sync(~0U, v, step));
  if (args.lanes > 32) {
    __shared__ float of_warps[kThreads / 32];
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = v;
    __syncthreads();
    v = of_warps[0];
    for (int w = 1; w < kThreads / 32; ++w) v = join(args.sum, v, of_warps[w]);
  }
  if (there && lane == 0) store_result(args, y, args.partial ? output * gridDim.y + blockIdx.y : out, finished(args, v));
}

// A thread owns a pack of outputs side by side, and every `lanes`-th element of their lines.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) reduce_columns_pack_per_thread(const T* x, void* y, const __grid_constant__ ReduceArgs args) {
  __shared__ float shared[kThreads * N];
  const int columns = kThreads / args.lanes;
  const int column = static_cast<int>(threadIdx.x) % columns, lane = static_cast<int>(threadIdx.x) / columns;
  const auto place = [&](int c, std::int64_t& in, std::int64_t& out, std::int64_t& first) {  // how many elements of pack c are there
    const std::int64_t pack = std::int64_t{blockIdx.x} * columns + c;
    if (pack >= args.outer) return 0;
    const std::int64_t packs = (args.row + N - 1) / N, at = pack % packs * N;
    std::int64_t rest = pack / packs;
    first = rest * args.row + at;
    in = at * args.kept[0].in;
    out = at * args.kept[0].out;
    for (int axis = 1; axis < args.kept_rank; ++axis) {
      const std::int64_t next = rest / args.kept[axis].extent, index = rest - next * args.kept[axis].extent;
      in += index * args.kept[axis].in;
      out += index * args.kept[axis].out;
      rest = next;
    }
    return static_cast<int>(min(args.row - at, std::int64_t{N}));
  };
  std::int64_t in = 0, out = 0, first = 0;
  const int count = place(column, in, out, first);
  float sums[N];
#pragma unroll
  for (int j = 0; j < N; ++j) sums[j] = args.sum ? 0.0F : -INFINITY;
  if (count > 0) reduce_line<T, N, false>(args, x + in, lane, count, sums);
  if (args.lanes == 1) {
    if (count == N && args.pack_store) {
      Pack<T, N> pack;
#pragma unroll
      for (int j = 0; j < N; ++j) pack.v[j] = narrow<T>(finished(args, sums[j]));
      store_pack(static_cast<T*>(y) + out, N, pack);
      return;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (j >= count) break;
      store_result(args, y, args.partial ? (first + j) * gridDim.y + blockIdx.y : out + j * args.kept[0].out, finished(args, sums[j]));
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < N; ++j) shared[(lane * columns + column) * N + j] = sums[j];
  __syncthreads();
  for (int o = static_cast<int>(threadIdx.x); o < columns * N; o += kThreads) {
    const int many = place(o / N, in, out, first);
    if (o % N >= many) continue;
    float v = shared[o];
    for (int l = 1; l < args.lanes; ++l) v = join(args.sum, v, shared[l * columns * N + o]);
    const std::int64_t at = args.partial ? (first + o % N) * gridDim.y + blockIdx.y : out + o % N * args.kept[0].out;
    store_result(args, y, at, finished(args, v));
  }
}

// Axes of one kind, fastest first, those merged that are one run of memory.
struct Axis {
  std::int64_t extent, in, out;
};
void collapse_axes(std::vector<Axis>& axes) {
  std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.in < b.in; });
  std::vector<Axis> merged;
  for (const Axis& axis : axes) {
    Axis* const last = merged.empty() ? nullptr : &merged.back();
    if (last != nullptr && axis.in == last->in * last->extent && axis.out == last->out * last->extent) {
      last->extent *= axis.extent;
    } else {
      merged.push_back(axis);
    }
  }
  axes = std::move(merged);
}

// How the kernels go over one pair of views.
struct ReducePlan {
  bool rows = false, packs = false;
  ReduceArgs args;
  std::int64_t blocks = 1, chunks = 1, outputs = 1;
};

std::int64_t bit_ceil(std::int64_t n) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(n, 1))));
}

class ReduceKernel final : public NodeKernel {
 public:
  ReduceKernel(const Reduce& layer, const PrepareArgs& args)
      : f_(layer.function()), over_(layer.reduced(args.in[0].shape)), sm_count_(args.device->sm_count) {
    const TensorView x = args.in_views.empty() ? TensorView(nullptr, args.in[0]) : args.in_views[0];
    const TensorView y = args.out_views.empty() ? TensorView(nullptr, args.out[0]) : args.out_views[0];
    const ReducePlan aligned = plan(x, y);
    // Ports may be bound to memory that lies elsewhere: the plan for single elements needs no more chunks than fit here.
    bytes_ = aligned.chunks > 1 ? static_cast<std::size_t>(aligned.outputs * aligned.chunks) * sizeof(float) : 0;
    most_chunks_ = aligned.chunks;
    text_ = concat_text(aligned.rows ? "along rows, " : "across columns, ", aligned.args.lanes, " threads an output",
                        aligned.chunks > 1 ? concat_text(", in ", aligned.chunks, " parts") : "");
    dispatch(x.dtype, [](auto t) {
      using T = decltype(t);
      constexpr int kPack = 16 / sizeof(T);
      preload_all(&reduce_rows_lanes_per_output<T, kPack>, &reduce_rows_lanes_per_output<T, 1>, &reduce_columns_pack_per_thread<T, kPack>,
                  &reduce_columns_pack_per_thread<T, 1>, &reduce_rows_lanes_per_output<float, 1>);
    });
  }

  // elements * sizeof(T) bytes read once; a conversion and an addition an element: bound by memory. Not measured yet.
  void launch(const LaunchArgs& launch, cudaStream_t stream) const override {
    const TensorView &x = launch.in[0], &y = launch.out[0];
    ReducePlan p = plan(x, y);
    if (p.chunks > 1) {
      p.args.partial = true;
      start(p, x.dtype, x.data, launch.workspace, stream);
      ReducePlan joining = join_plan(p, y);
      start(joining, DType::f32, launch.workspace, y.data, stream);
    } else {
      start(p, x.dtype, x.data, y.data, stream);
    }
  }
  std::size_t workspace_bytes() const override { return bytes_; }
  std::string describe() const override { return text_; }

 private:
  static void start(const ReducePlan& p, DType dtype, const void* x, void* y, cudaStream_t stream) {
    dispatch(dtype, [&](auto t) {
      using T = decltype(t);
      constexpr int kPack = 16 / sizeof(T);
      dim3 grid = grid_of(p.blocks);
      grid.y = static_cast<unsigned>(p.chunks);
      const auto kernel = p.rows ? (p.packs ? &reduce_rows_lanes_per_output<T, kPack> : &reduce_rows_lanes_per_output<T, 1>)
                                 : (p.packs ? &reduce_columns_pack_per_thread<T, kPack> : &reduce_columns_pack_per_thread<T, 1>);
      launch_kernel(kernel, grid, dim3(kThreads), 0, stream, static_cast<const T*>(x), y, p.args);
    });
  }

  ReducePlan plan(const TensorView& x, const TensorView& y) const {
    std::vector<Axis> kept, reduced;
    const bool squeezed = y.shape.rank() != x.shape.rank();
    std::int64_t length = 1;
    int at = 0;
    ReducePlan p;
    for (int axis = 0; axis < x.shape.rank(); ++axis) {
      const bool over = over_[static_cast<std::size_t>(axis)];
      if (over) length *= x.shape[axis];
      if (!over) p.outputs *= x.shape[axis];
      const std::int64_t out = over ? 0 : y.stride(squeezed ? at : axis);
      if (!over) ++at;
      if (x.shape[axis] > 1) (over ? reduced : kept).push_back({x.shape[axis], x.stride(axis), out});
    }
    collapse_axes(kept);
    collapse_axes(reduced);
    if (reduced.empty()) reduced.push_back({1, 1, 0});
    p.rows = kept.empty() || reduced.front().in <= kept.front().in;
    Axis& packed = p.rows ? reduced.front() : kept.front();
    const auto element = static_cast<std::int64_t>(size_of(x.dtype));
    const std::int64_t pack = 16 / element;
    p.packs = packed.in == 1 && packed.extent >= pack && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
    for (const auto* axes : {&kept, &reduced}) {
      for (const Axis& axis : *axes) p.packs = p.packs && (&axis == &packed || axis.in % pack == 0);
    }
    const std::int64_t n = p.packs ? pack : 1;
    ReduceArgs& args = p.args;
    args.row = packed.extent;
    for (const Axis& axis : kept) args.kept[args.kept_rank++] = {axis.extent, axis.in, axis.out};
    args.reduced_rank = static_cast<int>(reduced.size());
    args.steps = 1;
    for (std::size_t i = 0; i < reduced.size(); ++i) {
      const std::int64_t extent = p.rows && i == 0 ? ceil_div(reduced[i].extent, n) : reduced[i].extent;
      args.steps *= extent;
      if (args.reduced_rank > 1) args.reduced[i].extent = Divisor(static_cast<std::uint32_t>(extent));
      args.reduced[i].in = reduced[i].in;
    }
    check<CudaError>(args.reduced_rank == 1 || args.steps < std::int64_t{1} << 31, name(f_), ": lines of ", args.steps,
                     " steps over several axes are too long");
    args.outer = p.rows ? p.outputs : p.outputs / args.row * ceil_div(args.row, n);
    args.sum = f_ == Reduction::sum || f_ == Reduction::mean;
    args.negate = f_ == Reduction::min;
    args.count = f_ == Reduction::mean ? static_cast<float>(length) : 1.0F;
    args.out = y.dtype;
    args.pack_store = !p.rows && p.packs && packed.out == 1 && reinterpret_cast<std::uintptr_t>(y.data) % 16 == 0;
    for (int axis = 1; axis < args.kept_rank; ++axis) args.pack_store = args.pack_store && args.kept[axis].out % pack == 0;
    divide(p);
    return p;
  }

  // Threads an output, and parts of a line: enough blocks for the device, if each thread still has some packs to add.
  void divide(ReducePlan& p) const {
    ReduceArgs& args = p.args;
    const std::int64_t wanted = 4 * std::int64_t{sm_count_};
    if (p.rows) {
      const bool few = args.outer * 8 < wanted * kThreads;
      args.lanes =
          args.steps >= 1024 || (few && args.steps > 128)
              ? kThreads
              : static_cast<int>(std::min<std::int64_t>(32, bit_ceil(few ? args.steps : ceil_div(args.steps, std::int64_t{kUnroll}))));
      p.blocks = ceil_div(args.outer, std::int64_t{kThreads / args.lanes});
    } else {
      std::int64_t lanes = std::min<std::int64_t>(32, bit_ceil(args.steps / 8));
      lanes = std::max(lanes, kThreads / std::min<std::int64_t>(kThreads, bit_ceil(args.outer)));
      args.lanes = static_cast<int>(lanes);
      p.blocks = ceil_div(args.outer, std::int64_t{kThreads / args.lanes});
    }
    const std::int64_t least = std::int64_t{args.lanes} * 2 * kUnroll;  // steps that are worth a block
    p.chunks =
        std::clamp<std::int64_t>(std::min(ceil_div(wanted, p.blocks), args.steps / least), 1, std::min<std::int64_t>(most_chunks_, 4096));
    args.chunk = ceil_div(args.steps, p.chunks);
    p.chunks = ceil_div(args.steps, args.chunk);
  }

  // The parts of each output lie side by side in the workspace; outputs are numbered as the kept axes count them.
  ReducePlan join_plan(const ReducePlan& parts, const TensorView& y) const {
    ReducePlan p;
    p.rows = true;
    p.args = parts.args;
    ReduceArgs& args = p.args;
    args.partial = args.pack_store = false;
    args.negate = false;
    std::int64_t step = parts.chunks;
    for (int axis = 0; axis < args.kept_rank; ++axis) {
      args.kept[axis].in = step;
      step *= args.kept[axis].extent;
    }
    args.reduced_rank = 1;
    args.reduced[0].in = 1;
    args.row = args.steps = args.chunk = parts.chunks;
    args.outer = parts.outputs;
    args.out = y.dtype;
    args.lanes = parts.chunks >= 256 ? kThreads : static_cast<int>(std::min<std::int64_t>(32, bit_ceil(parts.chunks)));
    if (parts.args.negate) args.count = -1;  // the parts are of the negated elements
    p.blocks = ceil_div(args.outer, std::int64_t{kThreads / args.lanes});
    return p;
  }

  Reduction f_;
  std::vector<bool> over_;
  int sm_count_;
  std::int64_t most_chunks_ = 4096;
  std::size_t bytes_ = 0;
  std::string text_;
};

std::unique_ptr<Kernel> make(const Reduce& layer, const PrepareArgs& args) { return std::make_unique<ReduceKernel>(layer, args); }

}  // namespace

void register_reduce(KernelRegistry& registry) { registry.add<Reduce>(&make); }

}  // namespace frieze::cuda
