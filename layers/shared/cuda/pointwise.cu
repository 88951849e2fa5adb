#include <frieze/layers/shared/cuda/pointwise.h>
#include <frieze/layers/shared/cuda/pointwise.cuh>

namespace frieze::cuda {
namespace {

// E is an unsigned integer of the element's size: a copy has no arithmetic, and signalling NaNs must survive it.
template <class E, int N>
__global__ void __launch_bounds__(kPointwiseBlock) copy_pack_per_thread(const E* src, E* dst, ThreadNest<2> nest) {
  std::int64_t offset[2];
  const int count = locate(nest, blockIdx.x * kPointwiseBlock + threadIdx.x, N, offset);
  if (count == N) {
    *reinterpret_cast<Pack<E, N>*>(dst + offset[0]) = *reinterpret_cast<const Pack<E, N>*>(src + offset[1]);
    return;
  }
  for (int i = 0; i < count; ++i) dst[offset[0] + i] = src[offset[1] + i];
}

// One thread owns kStreams packs: it loads a pack of every stream and stores their interleaving, or the other way round.
template <class E, int kStreams, bool kWeave>
__global__ void __launch_bounds__(kPointwiseBlock)
    interleave_packs_per_thread(const E* src, E* dst, ThreadNest<2> nest, int shift, std::int64_t near, std::int64_t far) {
  constexpr int N = 16 / sizeof(E);
  std::int64_t offset[2];
  if (locate(nest, blockIdx.x * kPointwiseBlock + threadIdx.x, N, offset) == 0) return;
  const auto stream = [&](int j) { return (j & ((1 << shift) - 1)) * near + (j >> shift) * far; };
  Pack<E, N> in[kStreams];
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    in[j] = *reinterpret_cast<const Pack<E, N>*>(src + offset[1] + (kWeave ? stream(j) : std::int64_t{j} * N));
  }
#pragma unroll
  for (int j = 0; j < kStreams; ++j) {
    Pack<E, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const int woven = kWeave ? j * N + i : i * kStreams + j;  // place in the interleaved run
      out.v[i] = kWeave ? in[woven % kStreams].v[woven / kStreams] : in[woven / N].v[woven % N];
    }
    *reinterpret_cast<Pack<E, N>*>(dst + offset[0] + (kWeave ? std::int64_t{j} * N : stream(j))) = out;
  }
}

// A copy that swaps the axis that runs fastest: `a` does in dst, `b` in src. Loops over the others are the nest's.
struct Transpose {
  std::int64_t a = 0, b = 0;          // extents
  std::int64_t src_a = 0, dst_b = 0;  // strides of the other side
  std::uint32_t tiles_a = 1, tiles_b = 1;
};
constexpr int kTile = 64;

// A tile goes through shared memory, so that both sides move runs of kTile elements; N of them at once.
template <class E, int N>
__global__ void __launch_bounds__(kPointwiseBlock) transpose_tile_per_block(const E* src, E* dst, ThreadNest<2> rest, Transpose t) {
  constexpr int kPadding = 4 / static_cast<int>(sizeof(E)), kPacks = kTile / N;  // a row of an odd number of words
  __shared__ E tile[kTile][kTile + kPadding];
  std::int64_t offset[2];
  const std::uint32_t batch = blockIdx.x / (t.tiles_a * t.tiles_b), in_plane = blockIdx.x - batch * (t.tiles_a * t.tiles_b);
  if (locate(rest, batch, 1, offset) == 0) return;
  const std::uint32_t tile_b = in_plane / t.tiles_a;
  const std::int64_t a0 = std::int64_t{in_plane - tile_b * t.tiles_a} * kTile, b0 = std::int64_t{tile_b} * kTile;
  const E* const from = src + offset[1] + a0 * t.src_a + b0;
  E* const to = dst + offset[0] + b0 * t.dst_b + a0;
#pragma unroll
  for (int p = static_cast<int>(threadIdx.x); p < kTile * kPacks; p += kPointwiseBlock) {
    const int row = p / kPacks, column = p % kPacks * N;
    if (a0 + row >= t.a || b0 + column >= t.b) continue;
    const auto pack = *reinterpret_cast<const Pack<E, N>*>(from + row * t.src_a + column);
#pragma unroll
    for (int j = 0; j < N; ++j) tile[row][column + j] = pack.v[j];
  }
  __syncthreads();
#pragma unroll
  for (int p = static_cast<int>(threadIdx.x); p < kTile * kPacks; p += kPointwiseBlock) {
    const int row = p / kPacks, column = p % kPacks * N;
    if (b0 + row >= t.b || a0 + column >= t.a) continue;
    Pack<E, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) pack.v[j] = tile[column + j][row];
    *reinterpret_cast<Pack<E, N>*>(to + row * t.dst_b + column) = pack;
  }
}

// Calls body with the type to copy elements of T as.
template <class Body>
void dispatch_bits(DType t, Body&& body) {
  if (size_of(t) == 8) {
    body(std::uint64_t{});
  } else if (size_of(t) == 4) {
    body(std::uint32_t{});
  } else {
    body(std::uint16_t{});
  }
}

template <class E, int kStreams>
void launch_interleave(const Interleave& plan, bool weave, const TensorView& src, const TensorView& dst, cudaStream_t stream) {
  for_each_piece<2>(plan.rest, 16 / sizeof(E), [&](const ThreadNest<2>& nest) {
    const auto kernel = weave ? &interleave_packs_per_thread<E, kStreams, true> : &interleave_packs_per_thread<E, kStreams, false>;
    launch_kernel(kernel, blocks(nest.threads), dim3(kPointwiseBlock), 0, stream, src.as<const E>(), dst.as<E>(), nest, plan.shift,
                  plan.near, plan.far);
  });
}

template <class E>
bool try_interleave(const TensorView& src, const TensorView& dst, const Nest& by_dst, cudaStream_t stream) {
  const TensorView views[] = {dst, src};
  const auto data = addresses(dst, src);
  bool weave = true;
  Interleave plan = find_interleave(by_dst, 0, data, sizeof(E));
  if (plan.streams == 0) {
    weave = false;
    plan = find_interleave(collapse(views, 1), 1, data, sizeof(E));
  }
  switch (plan.streams) {
    case 2: launch_interleave<E, 2>(plan, weave, src, dst, stream); return true;
    case 4: launch_interleave<E, 4>(plan, weave, src, dst, stream); return true;
    case 16: launch_interleave<E, 16>(plan, weave, src, dst, stream); return true;
    default: return false;
  }
}

// `by_dst`: the loops, ordered by dst. False where the copy is no transposition, or one of few elements along an axis.
template <class E>
bool try_transpose(const TensorView& src, const TensorView& dst, const Nest& by_dst, cudaStream_t stream) {
  constexpr std::int64_t kLeast = 16, kPack = 16 / sizeof(E);
  int fast = 0;
  for (int axis = 1; axis < by_dst.rank; ++axis) {
    if (by_dst.axes[static_cast<std::size_t>(axis)].stride[1] == 1) fast = axis;
  }
  const NestAxis a = by_dst.axes[0], b = by_dst.axes[static_cast<std::size_t>(fast)];
  if (fast == 0 || a.stride[0] != 1 || a.stride[1] < kPack || a.extent < kLeast || b.extent < kLeast) return false;
  Transpose t{a.extent, b.extent, a.stride[1], b.stride[0]};
  t.tiles_a = static_cast<std::uint32_t>(ceil_div(t.a, std::int64_t{kTile}));
  t.tiles_b = static_cast<std::uint32_t>(ceil_div(t.b, std::int64_t{kTile}));
  Nest rest = by_dst;
  rest.rank = 0;
  bool packs = t.a % kPack == 0 && t.b % kPack == 0 && t.src_a % kPack == 0 && t.dst_b % kPack == 0 &&
               (reinterpret_cast<std::uintptr_t>(src.data) | reinterpret_cast<std::uintptr_t>(dst.data)) % 16 == 0;
  std::int64_t batches = 1;
  for (int axis = 1; axis < by_dst.rank; ++axis) {
    if (axis == fast) continue;
    const NestAxis& loop = by_dst.axes[static_cast<std::size_t>(axis)];
    rest.axes[static_cast<std::size_t>(rest.rank++)] = loop;
    packs = packs && loop.stride[0] % kPack == 0 && loop.stride[1] % kPack == 0;
    batches *= loop.extent;
  }
  const std::int64_t tiles = ceil_div(t.a, std::int64_t{kTile}) * ceil_div(t.b, std::int64_t{kTile});
  if (tiles > 0x7FFFFFFF || batches > 0x7FFFFFFF || tiles * batches > 0x7FFFFFFF) return false;
  if (rest.rank == 0) {
    rest.rank = 1;
    rest.axes[0] = {};
  }
  for_each_piece<2>(rest, 1, [&](const ThreadNest<2>& nest) {
    const auto kernel = packs ? &transpose_tile_per_block<E, static_cast<int>(kPack)> : &transpose_tile_per_block<E, 1>;
    launch_kernel(kernel, grid_of(tiles * nest.threads), dim3(kPointwiseBlock), 0, stream, src.as<const E>(), dst.as<E>(), nest, t);
  });
  return true;
}

template <class E, int N>
void launch_copy_packs(const Nest& loops, const TensorView& src, const TensorView& dst, cudaStream_t stream) {
  for_each_piece<2>(loops, N, [&](const ThreadNest<2>& nest) {
    launch_kernel(copy_pack_per_thread<E, N>, blocks(nest.threads), dim3(kPointwiseBlock), 0, stream, src.as<const E>(), dst.as<E>(), nest);
  });
}

}  // namespace

void launch_copy(const TensorView& src, const TensorView& dst, cudaStream_t stream) {
  const TensorView views[] = {dst, src};
  const Nest loops = collapse(views);
  dispatch_bits(dst.dtype, [&](auto e) {
    using E = decltype(e);
    const std::int64_t pack = pack_size(loops, addresses(dst, src), sizeof(E), false);
    if constexpr (sizeof(E) < 8) {
      if (pack == 1 && (try_interleave<E>(src, dst, loops, stream) || try_transpose<E>(src, dst, loops, stream))) return;
    }
    if constexpr (sizeof(E) == 2) {
      if (pack >= 8) return launch_copy_packs<E, 8>(loops, src, dst, stream);
    }
    if constexpr (sizeof(E) < 8) {
      if (pack >= 4) return launch_copy_packs<E, 4>(loops, src, dst, stream);
    }
    if (pack >= 2) return launch_copy_packs<E, 2>(loops, src, dst, stream);
    launch_copy_packs<E, 1>(loops, src, dst, stream);
  });
}

void preload_copy(DType t) {
  dispatch_bits(t, [](auto e) {
    using E = decltype(e);
    preload_all(&copy_pack_per_thread<E, 1>, &copy_pack_per_thread<E, 2>);
    if constexpr (sizeof(E) == 2) preload_all(&copy_pack_per_thread<E, 8>);
    if constexpr (sizeof(E) < 8) {
      preload_all(&copy_pack_per_thread<E, 4>, &transpose_tile_per_block<E, static_cast<int>(16 / sizeof(E))>,
                  &transpose_tile_per_block<E, 1>);
      preload_all(&interleave_packs_per_thread<E, 2, true>, &interleave_packs_per_thread<E, 4, true>,
                  &interleave_packs_per_thread<E, 16, true>);
      preload_all(&interleave_packs_per_thread<E, 2, false>, &interleave_packs_per_thread<E, 4, false>,
                  &interleave_packs_per_thread<E, 16, false>);
    }
  });
}

}  // namespace frieze::cuda
