// Depthwise convolution of nhwc images, stride and dilation 1: a tile with its halo in shared memory, read once.
#include <algorithm>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/shared/cuda/async_copy.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

constexpr int kMostThreads = 128;

struct TileArgs {
  ConvGeometry g;
  const void* w;      // [taps, C]
  const float* bias;  // null: none
  const void* x;
  void* y;
  int packs;                                   // of V channels, of one pixel of a block
  int columns, rows;                           // of output pixels of a block
  int channel_tiles, column_tiles, row_tiles;  // of an image
  int first_operand;                           // of the epilogue, the index of its operation; -1: none
  std::int64_t x_row;                          // elements from one pixel of x to the next
};

// A thread owns V channels of one column of the tile and goes down its rows: each row of the input adds to the K sums that it is part
// of, which move along as the first product of each reads one sum and writes the next.
template <class T, int V, int K, int kBlocks>
__global__ void __launch_bounds__(kMostThreads, kBlocks)
    depthwise_tile_per_block(const __grid_constant__ TileArgs a, const __grid_constant__ EpilogueArgs epilogue) {
  using P = Pack<T, V>;
  constexpr int kChunk = 16 / sizeof(T);
  extern __shared__ uint4 words[];
  T* tile = reinterpret_cast<T*>(words);
  const ConvGeometry& g = a.g;
  const int pack = static_cast<int>(threadIdx.x) % a.packs, column = static_cast<int>(threadIdx.x) / a.packs;
  const DivMod across = div_mod(blockIdx.x, a.channel_tiles);
  const DivMod along = div_mod(across.quotient, a.column_tiles);
  const DivMod down = div_mod(along.quotient, a.row_tiles);
  const int first_c = static_cast<int>(across.remainder) * a.packs * V, c = first_c + pack * V;
  const int ow = static_cast<int>(along.remainder) * a.columns, oh = static_cast<int>(down.remainder) * a.rows;
  const bool mine = c < g.in_c && ow + column < g.out_w;

  float factors[K * K][V];
#pragma unroll
  for (int k = 0; k < K * K; ++k) {
    P p = {};
    if (mine) p = *reinterpret_cast<const P*>(static_cast<const T*>(a.w) + std::int64_t{k} * g.in_c + c);
#pragma unroll
    for (int v = 0; v < V; ++v) factors[k][v] = widen(p.v[v]);
  }

  pdl_wait();
  const int width = a.columns + K - 1, rows = min(a.rows, g.out_h - oh), height = rows + K - 1;
  const int chunks = a.packs * V / kChunk, step = static_cast<int>(blockDim.x) / chunks;
  const T* image = static_cast<const T*>(a.x) + down.quotient * g.in_h * g.in_w * a.x_row;
  {
    const int chunk = static_cast<int>(threadIdx.x) % chunks, first = static_cast<int>(threadIdx.x) / chunks;
    const int channel = first_c + chunk * kChunk;
    if (first < step && channel < g.in_c) {
      for (int row = first / width, col = first % width; row < height;) {
        const int iy = oh - g.pad_h + row, ix = ow - g.pad_w + col;
        const bool inside = iy >= 0 && iy < g.in_h && ix >= 0 && ix < g.in_w;
        const T* from = image + (std::int64_t{inside ? iy : 0} * g.in_w + (inside ? ix : 0)) * a.x_row + channel;
        copy_async_16_or_zero(tile + ((row * width + col) * chunks + chunk) * kChunk, from, inside);
        col += step;
        while (col >= width) col -= width, ++row;
      }
    }
  }
  commit_async();
  wait_async();
  __syncthreads();
  pdl_trigger();
  if (!mine) return;

  float sums[K][V] = {};
  const T* at = tile + (column * a.packs + pack) * V;
  const int stride = width * a.packs * V;
  std::int64_t offset = ((down.quotient * g.out_h + oh) * g.out_w + ow + column) * g.in_c + c;
  const std::int64_t line = std::int64_t{g.out_w} * g.in_c;
#pragma unroll 1
  for (int row = 0; row < height; ++row, at += stride) {
    const bool whole = row >= K - 1;  // a row of the output is complete behind this one
    P operand = {};
    if (whole && a.first_operand >= 0) {
      operand = *reinterpret_cast<const P*>(static_cast<const T*>(epilogue.ops[a.first_operand].operand) + offset);
    }
    float in[K][V];
#pragma unroll
    for (int s = 0; s < K; ++s) {
      const P p = *reinterpret_cast<const P*>(at + s * a.packs * V);
#pragma unroll
      for (int v = 0; v < V; ++v) in[s][v] = widen(p.v[v]);
    }
#pragma unroll
    for (int k = K - 1; k >= 0; --k) {
#pragma unroll
      for (int v = 0; v < V; ++v) sums[k][v] = fmaf(in[0][v], factors[k * K][v], k > 0 ? sums[k > 0 ? k - 1 : 0][v] : 0.0F);
#pragma unroll
      for (int s = 1; s < K; ++s) {
#pragma unroll
        for (int v = 0; v < V; ++v) sums[k][v] = fmaf(in[s][v], factors[k * K + s][v], sums[k][v]);
      }
    }
    if (!whole) continue;
    float out[V];
#pragma unroll
    for (int v = 0; v < V; ++v) out[v] = sums[K - 1][v] + (a.bias != nullptr ? a.bias[c + v] : 0.0F);
    apply_epilogue<T, V, false>(epilogue, out, offset, a.first_operand, operand);
    P stored;
#pragma unroll
    for (int v = 0; v < V; ++v) stored.v[v] = narrow<T>(out[v]);
    *reinterpret_cast<P*>(static_cast<T*>(a.y) + offset) = stored;
    offset += line;
  }
}

// Channels a thread: as many as its K * K factors and K sums leave registers for, and no more than 16 bytes.
template <class T, int K>
constexpr int kChannels = K == 7                     ? 2
                          : K == 3 && sizeof(T) == 2 ? 8
                                                     : 4;
// Blocks that a multiprocessor must hold at once, so that some load while others compute.
template <class T, int K>
constexpr int kBlocks = K != 3           ? 3
                        : sizeof(T) == 2 ? 4
                                         : 5;
constexpr std::int64_t kEnoughBlocks = 512;  // four for each multiprocessor of the largest GPUs; below, short tiles beat long ones

// What a block takes: chunks of 16 bytes along the channels, columns and rows of pixels.
struct Tile {
  int chunks, columns, rows;
  std::int64_t blocks;
};

Tile choose_tile(const ConvGeometry& g, int chunk, int channels) {
  Tile t{4, 0, 16, 0};
  const int all = g.in_c / chunk;
  for (const int chunks : {8, 2, 3, 6, 4}) {  // of those that leave no thread without a channel, the last
    if (all % chunks == 0) t.chunks = chunks;
  }
  t.chunks = std::min(t.chunks, all);
  t.columns = std::min(g.out_w, kMostThreads / (t.chunks * chunk / channels));
  t.columns = ceil_div(g.out_w, ceil_div(g.out_w, t.columns));
  const std::int64_t across = g.n * ceil_div(all, t.chunks) * ceil_div(g.out_w, t.columns);
  while (t.rows > 1 && (across * ceil_div(g.out_h, t.rows) < kEnoughBlocks || t.rows / 2 >= g.out_h)) t.rows /= 2;
  t.blocks = across * ceil_div(g.out_h, t.rows);
  return t;
}

// Calls body(kernel, channels a thread) for the kernel's extent.
template <class T, class Body>
void with_kernel(int extent, Body&& body) {
  switch (extent) {
    case 3: return body(&depthwise_tile_per_block<T, kChannels<T, 3>, 3, kBlocks<T, 3>>, kChannels<T, 3>);
    case 5: return body(&depthwise_tile_per_block<T, kChannels<T, 5>, 5, kBlocks<T, 5>>, kChannels<T, 5>);
    default: return body(&depthwise_tile_per_block<T, kChannels<T, 7>, 7, kBlocks<T, 7>>, kChannels<T, 7>);
  }
}

}  // namespace

bool takes_depthwise_tile(DType dtype, const ConvGeometry& g) {
  const bool plain = g.kernel_h == g.kernel_w && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 && g.dilation_w == 1;
  return plain && (g.kernel_h == 3 || g.kernel_h == 5 || g.kernel_h == 7) && g.in_c % static_cast<int>(16 / size_of(dtype)) == 0;
}

void launch_depthwise_tile(DType dtype, const ConvGeometry& g, const void* w, const float* bias, const void* x, void* y,
                           const EpilogueArgs& epilogue, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    with_kernel<T>(g.kernel_h, [&](auto* kernel, int channels) {
      constexpr int kChunk = 16 / sizeof(T);
      const Tile tile = choose_tile(g, kChunk, channels);
      TileArgs args{g, w, bias, x, y, 0, 0, 0, 0, 0, 0, -1, g.x_row > 0 ? g.x_row : g.in_c};
      args.packs = tile.chunks * kChunk / channels;
      args.columns = tile.columns;
      args.rows = tile.rows;
      args.channel_tiles = ceil_div(g.in_c / kChunk, tile.chunks);
      args.column_tiles = ceil_div(g.out_w, tile.columns);
      args.row_tiles = ceil_div(g.out_h, tile.rows);
      for (int i = epilogue.count - 1; i >= 0; --i) {
        if (epilogue.ops[i].kind != EpilogueOp::Kind::activation) args.first_operand = i;
      }
      // x once from memory, but for the halo, which neighbouring blocks find in L2; y once; 2 * taps flops an element.
      const int halo = g.kernel_h - 1;
      LaunchShape shape{grid_of(tile.blocks), dim3(static_cast<unsigned>(args.packs * args.columns))};
      shape.shared_bytes = std::size_t{16} * static_cast<std::size_t>(tile.chunks * (tile.columns + halo) * (tile.rows + halo));
      shape.dependent = true;
      launch_kernel(kernel, shape, stream, args, epilogue);
    });
  });
}

void preload_depthwise_tile(DType dtype) {
  dispatch(dtype, [](auto t) {
    for (const int k : {3, 5, 7}) {
      with_kernel<decltype(t)>(k, [](auto* kernel, int) { preload(reinterpret_cast<const void*>(kernel)); });
    }
  });
}

std::string describe_depthwise_tile(DType dtype, const ConvGeometry& g) {
  std::string text;
  dispatch(dtype, [&](auto t) {
    with_kernel<decltype(t)>(g.kernel_h, [&](auto*, int channels) {
      constexpr int kChunk = 16 / sizeof(t);
      const Tile tile = choose_tile(g, kChunk, channels);
      text = concat_text("own depthwise ", g.kernel_h, "x", g.kernel_w, ", tiles of ", tile.rows, "x", tile.columns, " pixels and ",
                         tile.chunks * kChunk, " channels, ", channels, " a thread");
    });
  });
  return text;
}

}  // namespace frieze::cuda
