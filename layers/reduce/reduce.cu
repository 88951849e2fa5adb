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
  std::int64_t step = 1;   // elements from one step to the next along the first reduced axis
  std::int64_t runs = 1;   // of rows: runs of the packed axis in one output's line
  int rest = 0;            // of rows: elements of a run behind its whole packs
  std::int64_t chunk = 1;  // steps a block takes
  int lanes = 1;           // threads that share an output
  enum class Kind : std::uint8_t { sum, max, min } kind = Kind::sum;
  bool partial = false, pack_store = false;
  float count = 1;  // the result is divided by it
  DType out = DType::f32;
};

using Kind = ReduceArgs::Kind;

// NaN stays: PyTorch's amax is one instruction.
template <Kind kKind>
__device__ __forceinline__ float join(float a, float b) {
  if constexpr (kKind == Kind::sum) return a + b;
  float v;
  if constexpr (kKind == Kind::max) {
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  } else {
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  }
  return v;
}
template <Kind kKind>
__device__ __forceinline__ float identity() {
  return kKind == Kind::sum ? 0.0F : kKind == Kind::max ? -INFINITY : INFINITY;
}

__device__ __forceinline__ float finished(const ReduceArgs& args, float v) {
  return args.partial || args.count == 1.0F ? v : v / args.count;
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

// Where output `o` lies in the input and, added to `out`, in the output; divisions of 32 bits where they suffice.
__device__ __forceinline__ std::int64_t locate_output(const ReduceArgs& args, std::int64_t o, int first, std::int64_t& out) {
  std::int64_t in = 0;
  for (int axis = first; axis < args.kept_rank; ++axis) {
    std::int64_t next = 0;
    if (axis + 1 < args.kept_rank) {
      next = (o | args.kept[axis].extent) >> 32 == 0 ? static_cast<std::uint32_t>(o) / static_cast<std::uint32_t>(args.kept[axis].extent)
                                                     : o / args.kept[axis].extent;
    }
    const std::int64_t at = o - next * args.kept[axis].extent;
    in += at * args.kept[axis].in;
    out += at * args.kept[axis].out;
    o = next;
  }
  return in;
}

// Where step `i` of a line lies; of rows, in whole packs of N.
template <int N>
__device__ __forceinline__ std::int64_t step_offset(const ReduceArgs& args, std::int64_t i) {
  if (args.reduced_rank == 1) return i * args.step;
  // The host sees to it that such lines have fewer than 2^31 steps.
  auto rest = static_cast<std::uint32_t>(i);
  std::uint32_t next = divide(args.reduced[0].extent, rest);
  std::int64_t offset = (rest - next * args.reduced[0].extent.by) * args.step;
  for (int axis = 1; axis < args.reduced_rank; ++axis) {
    rest = next;
    next = axis + 1 < args.reduced_rank ? divide(args.reduced[axis].extent, rest) : 0;
    offset += (rest - next * args.reduced[axis].extent.by) * args.reduced[axis].in;
  }
  return offset;
}

// Joins this thread's steps of a line into `sums`: every `lanes`-th of the block's chunk, kUnroll loads ahead of the additions. `count`
// elements of each pack are there.
template <Kind kKind, class T, int N>
__device__ __forceinline__ void reduce_line(const ReduceArgs& args, const T* x, int lane, int count, float (&sums)[N]) {
  const std::int64_t begin = blockIdx.y * args.chunk, end = min(begin + args.chunk, args.steps);
  for (std::int64_t i = begin + lane; i < end; i += kUnroll * args.lanes) {
    Pack<T, N> pack[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t at = i + u * args.lanes;
      if (at < end) {
        pack[u] = load_pack<T, N>(x + step_offset<N>(args, at), count, false);
      } else {
#pragma unroll
        for (int j = 0; j < N; ++j) pack[u].v[j] = narrow<T>(identity<kKind>());
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int j = 0; j < N; ++j) sums[j] = join<kKind>(sums[j], widen(pack[u].v[j]));
    }
  }
}

// One output's line by `lanes` threads: 1 to 32 of a warp, or the block. Rows end with a pack that is not whole, which lane 0 takes.
template <Kind kKind, class T, int N>
__device__ __forceinline__ void reduce_rows(const ReduceArgs& args, const T* x, void* y) {
  const int lane = static_cast<int>(threadIdx.x) % args.lanes;
  const std::int64_t output = std::int64_t{blockIdx.x} * (kThreads / args.lanes) + threadIdx.x / args.lanes;
  const bool there = output < args.outer;
  std::int64_t out = 0;
  float sums[N];
#pragma unroll
  for (int j = 0; j < N; ++j) sums[j] = identity<kKind>();
  if (there) {
    const T* const line = x + locate_output(args, output, 0, out);
    reduce_line<kKind, T, N>(args, line, lane, N, sums);
    if (N > 1 && args.rest > 0) {  // behind the whole packs of each run; runs are shared out like steps
      const std::int64_t runs = args.runs, share = (runs + gridDim.y - 1) / gridDim.y;
      const std::int64_t last = min(std::int64_t{blockIdx.y} * share + share, runs);
      for (std::int64_t run = blockIdx.y * share + lane; run < last; run += args.lanes) {
        const std::int64_t at = args.row - args.rest + (args.reduced_rank > 1 ? step_offset<N>(args, run * args.reduced[0].extent.by) : 0);
        for (int j = 0; j < args.rest; ++j) sums[0] = join<kKind>(sums[0], widen(line[at + j]));
      }
    }
  }
#pragma unroll
  for (int step = N / 2; step > 0; step /= 2) {
#pragma unroll
    for (int j = 0; j < step; ++j) sums[j] = join<kKind>(sums[j], sums[j + step]);
  }
  float v = sums[0];
  for (int step = min(args.lanes, 32) / 2; step > 0; step /= 2) v = join<kKind>(v, __shfl_xor_sync(~0U, v, step));
  if (args.lanes > 32) {
    __shared__ float of_warps[kThreads / 32];
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = v;
    __syncthreads();
    v = of_warps[0];
    for (int w = 1; w < kThreads / 32; ++w) v = join<kKind>(v, of_warps[w]);
  }
  if (there && lane == 0) store_result(args, y, args.partial ? output * gridDim.y + blockIdx.y : out, finished(args, v));
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) reduce_rows_lanes_per_output(const T* x, void* y, const __grid_constant__ ReduceArgs args) {
  switch (args.kind) {
    case Kind::sum: return reduce_rows<Kind::sum, T, N>(args, x, y);
    case Kind::max: return reduce_rows<Kind::max, T, N>(args, x, y);
    default: return reduce_rows<Kind::min, T, N>(args, x, y);
  }
}

// A thread owns a pack of outputs side by side, and every `lanes`-th element of their lines.
template <Kind kKind, class T, int N>
__device__ __forceinline__ void reduce_columns(const ReduceArgs& args, const T* x, void* y, float* shared) {
  const int columns = kThreads / args.lanes;
  const int column = static_cast<int>(threadIdx.x) % columns, lane = static_cast<int>(threadIdx.x) / columns;
  const auto place = [&](int c, std::int64_t& in, std::int64_t& out, std::int64_t& first) {  // how many elements of pack c are there
    const std::int64_t pack = std::int64_t{blockIdx.x} * columns + c;
    if (pack >= args.outer) return 0;
    const std::int64_t packs = (args.row + N - 1) / N;
    const std::int64_t rest = args.kept_rank == 1         ? 0
                              : (pack | packs) >> 32 == 0 ? static_cast<std::uint32_t>(pack) / static_cast<std::uint32_t>(packs)
                                                          : pack / packs;
    const std::int64_t at = (pack - rest * packs) * N;
    first = rest * args.row + at;
    out = at * args.kept[0].out;
    in = at * args.kept[0].in + locate_output(args, rest, 1, out);
    return static_cast<int>(min(args.row - at, std::int64_t{N}));
  };
  std::int64_t in = 0, out = 0, first = 0;
  const int count = place(column, in, out, first);
  float sums[N];
#pragma unroll
  for (int j = 0; j < N; ++j) sums[j] = identity<kKind>();
  if (count > 0) reduce_line<kKind, T, N>(args, x + in, lane, count, sums);
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
    for (int l = 1; l < args.lanes; ++l) v = join<kKind>(v, shared[l * columns * N + o]);
    const std::int64_t at = args.partial ? (first + o % N) * gridDim.y + blockIdx.y : out + o % N * args.kept[0].out;
    store_result(args, y, at, finished(args, v));
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) reduce_columns_pack_per_thread(const T* x, void* y, const __grid_constant__ ReduceArgs args) {
  __shared__ float shared[kThreads * N];
  switch (args.kind) {
    case Kind::sum: return reduce_columns<Kind::sum, T, N>(args, x, y, shared);
    case Kind::max: return reduce_columns<Kind::max, T, N>(args, x, y, shared);
    default: return reduce_columns<Kind::min, T, N>(args, x, y, shared);
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

std::int64_t bit_floor(std::int64_t n) { return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(n))); }
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
      const std::int64_t extent = p.rows && i == 0 ? reduced[i].extent / n : reduced[i].extent;
      args.steps *= extent;
      if (i > 0) args.runs *= extent;
      if (args.reduced_rank > 1) args.reduced[i].extent = Divisor(static_cast<std::uint32_t>(extent));
      args.reduced[i].in = reduced[i].in;
    }
    check<CudaError>(args.reduced_rank == 1 || args.steps < std::int64_t{1} << 31, name(f_), ": lines of ", args.steps,
                     " steps over several axes are too long");
    args.outer = p.rows ? p.outputs : p.outputs / args.row * ceil_div(args.row, n);
    args.step = reduced[0].in * (p.rows ? n : 1);
    args.rest = p.rows ? static_cast<int>(args.row % n) : 0;
    args.kind = f_ == Reduction::max ? Kind::max : f_ == Reduction::min ? Kind::min : Kind::sum;
    args.count = f_ == Reduction::mean ? static_cast<float>(length) : 1.0F;
    args.out = y.dtype;
    args.pack_store = !p.rows && p.packs && packed.out == 1 && reinterpret_cast<std::uintptr_t>(y.data) % 16 == 0;
    for (int axis = 1; axis < args.kept_rank; ++axis) args.pack_store = args.pack_store && args.kept[axis].out % pack == 0;
    divide_work(p);
    return p;
  }

  // Threads an output, and parts of a line: enough blocks for the device, if each thread still has kUnroll steps or more.
  void divide_work(ReducePlan& p) const {
    ReduceArgs& args = p.args;
    const std::int64_t wanted = 6 * std::int64_t{sm_count_};
    const auto blocks_of = [&](std::int64_t lanes) { return ceil_div(args.outer, kThreads / lanes); };
    const std::int64_t each = std::max<std::int64_t>(args.steps / kUnroll, 1);  // lanes that have kUnroll steps
    std::int64_t lanes = 1;
    if (p.rows) {
      lanes = std::min<std::int64_t>(32, bit_floor(each));
      if (args.steps >= 1024 || (blocks_of(32) < wanted && args.steps > 256)) lanes = kThreads;
    } else {
      lanes = std::max(std::min<std::int64_t>(8, bit_floor(each)), kThreads / std::min<std::int64_t>(kThreads, bit_ceil(args.outer)));
      // A block short of what keeps the device busy: more threads an output; far short of it: parts, which a second launch joins.
      while (lanes < 32 && blocks_of(lanes) < wanted && 2 * blocks_of(lanes) >= wanted && args.steps / (2 * lanes) >= 2 * kUnroll)
        lanes *= 2;
    }
    args.lanes = static_cast<int>(lanes);
    p.blocks = blocks_of(lanes);
    const std::int64_t least = lanes * 2 * kUnroll;  // steps that are worth a block
    p.chunks =
        std::clamp<std::int64_t>(std::min(ceil_div(wanted, p.blocks), args.steps / least), 1, std::min<std::int64_t>(most_chunks_, 4096));
    args.chunk = std::max<std::int64_t>(ceil_div(args.steps, p.chunks), 1);
    p.chunks = std::max<std::int64_t>(ceil_div(args.steps, args.chunk), 1);
  }

  // The parts of each output lie side by side in the workspace; outputs are numbered as the kept axes count them.
  ReducePlan join_plan(const ReducePlan& parts, const TensorView& y) const {
    ReducePlan p;
    p.rows = true;
    p.args = parts.args;
    ReduceArgs& args = p.args;
    args.partial = args.pack_store = false;
    std::int64_t step = parts.chunks;
    for (int axis = 0; axis < args.kept_rank; ++axis) {
      args.kept[axis].in = step;
      step *= args.kept[axis].extent;
    }
    args.reduced_rank = 1;
    args.reduced[0].in = 1;
    args.row = args.steps = args.chunk = parts.chunks;
    args.step = args.runs = 1;
    args.rest = 0;
    args.outer = parts.outputs;
    args.out = y.dtype;
    args.lanes = parts.chunks >= 256 ? kThreads : static_cast<int>(std::min<std::int64_t>(32, bit_ceil(parts.chunks)));
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
