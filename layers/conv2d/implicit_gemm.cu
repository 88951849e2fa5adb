// k x k convolution as a matrix product whose left operand is gathered on the way to shared memory.
#include <cstdint>

#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/tensor_core.cuh>

namespace frieze::cuda {
namespace {

// 16 bytes from global to shared memory without registers in between; zeros if !valid (then `from` is not read).
__device__ __forceinline__ void copy_async_16(std::uint32_t to_shared, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to_shared), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Until at most `kPending` of the groups committed last are unfinished.
template <int kPending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

constexpr int kDepth = kImplicitDepth, kRowBytes = kDepth * 2, kChunks = kRowBytes / 16;

// Byte of 16-byte chunk `chunk` of row `row` of a tile with 64-byte rows. The exchange of chunks spreads any 8 neighbouring rows
// at one chunk over all banks, so that ldmatrix and cp.async are free of conflicts.
__device__ __forceinline__ int swizzled(int row, int chunk) { return row * kRowBytes + ((chunk ^ ((row >> 1) & 3)) << 4); }

template <int BM_, int BN_, int WM_, int WN_, int STAGES_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, WM = WM_, WN = WN_, STAGES = STAGES_;
  static constexpr int kWarpsM = BM / WM, kWarpsN = BN / WN, kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kABytes = BM * kRowBytes, kBBytes = BN * kRowBytes, kStageBytes = kABytes + kBBytes;
  static constexpr int kSumsLd = BN + 4;  // floats; + 4 keeps rows at 16 bytes and off each other's banks
  static constexpr int kSharedBytes = STAGES * kStageBytes;
  // 48 KiB are there without asking, and two blocks of that fit an SM of every target.
  static_assert(kSharedBytes <= 48 * 1024 && WM * kSumsLd * 4 <= kSharedBytes);
  static_assert(128 % BN == 0 && BM % (kThreads / kChunks) == 0 && BN % (kThreads / kChunks) == 0 && WM % 16 == 0 && WN % 16 == 0);
};

struct ImplicitArgs {
  ConvGeometry g;
  const void* x;
  const void* w;
  const float* bias;
  void* y;
  std::int64_t w_row;
  int channels, steps, column_tiles;
  bool packs;  // y and the operands of the epilogue take 16-byte accesses
};

// One block owns BM pixels x BN output channels, a warp WM x WN of them. K runs over (r, s, c) in steps of 32, each thread fetching
// 16-byte chunks, that is 8 channels of one tap; chunks outside of the image, or past the last tap, are zero-filled.
template <class T, class Tl>
__global__ void __launch_bounds__(Tl::kThreads, 2)
    implicit_gemm_tile_per_block(const __grid_constant__ ImplicitArgs a, const __grid_constant__ EpilogueArgs epilogue) {
  extern __shared__ __align__(128) unsigned char shared[];
  constexpr int kRowStep = Tl::kThreads / kChunks, kARows = Tl::BM / kRowStep, kBRows = Tl::BN / kRowStep;
  const int tid = static_cast<int>(threadIdx.x), lane = tid % 32, warp = tid / 32;
  const int warp_m = warp % Tl::kWarpsM, warp_n = warp / Tl::kWarpsM;
  const auto column_tile = static_cast<int>(blockIdx.x % static_cast<unsigned>(a.column_tiles));
  const std::int64_t m0 = static_cast<std::int64_t>(blockIdx.x / static_cast<unsigned>(a.column_tiles)) * Tl::BM;
  const int n0 = column_tile * Tl::BN;
  const auto shared_base = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));

  // What this thread fetches: chunk `chunk` of rows `row0`, row0 + kRowStep, … of both tiles.
  const int chunk = tid % kChunks, row0 = tid / kChunks;
  const T* x = static_cast<const T*>(a.x);
  const T* image[kARows];
  int top[kARows], left[kARows];
  unsigned rows_in = 0;
#pragma unroll
  for (int i = 0; i < kARows; ++i) {
    const std::int64_t m = m0 + row0 + i * kRowStep;
    const bool in = m < a.g.pixels;
    const DivMod row = div_mod(in ? m : 0, a.g.out_w);
    const DivMod plane = div_mod(row.quotient, a.g.out_h);
    image[i] = x + plane.quotient * a.g.in_h * a.g.in_w * a.channels;
    top[i] = static_cast<int>(plane.remainder) * a.g.stride_h - a.g.pad_h;
    left[i] = static_cast<int>(row.remainder) * a.g.stride_w - a.g.pad_w;
    rows_in |= (in ? 1U : 0U) << i;
  }
  const T* w = static_cast<const T*>(a.w) + (n0 + row0) * a.w_row + chunk * 8;  // rows up to a multiple of 128 exist
  int tap_r = 0, tap_s = 0, tap_c = chunk * 8;
  const auto settle = [&] {  // tap_c into [0, channels), carrying into the tap
    while (tap_c >= a.channels) {
      tap_c -= a.channels;
      if (++tap_s == a.g.kernel_w) {
        tap_s = 0;
        ++tap_r;
      }
    }
  };
  settle();

  const auto fetch = [&](int stage) {  // the next 32 of K
    const std::uint32_t a_base = shared_base + stage * Tl::kStageBytes, b_base = a_base + Tl::kABytes;
    const bool tap_in = tap_r < a.g.kernel_h;
    const int dy = tap_r * a.g.dilation_h, dx = tap_s * a.g.dilation_w;
#pragma unroll
    for (int i = 0; i < kARows; ++i) {
      const int iy = top[i] + dy, ix = left[i] + dx;
      const bool in = tap_in && (rows_in >> i & 1U) != 0 && static_cast<unsigned>(iy) < static_cast<unsigned>(a.g.in_h) &&
                      static_cast<unsigned>(ix) < static_cast<unsigned>(a.g.in_w);
      const T* from = in ? image[i] + (std::int64_t{iy} * a.g.in_w + ix) * a.channels + tap_c : x;
      copy_async_16(a_base + swizzled(row0 + i * kRowStep, chunk), from, in);
    }
#pragma unroll
    for (int i = 0; i < kBRows; ++i) {
      copy_async_16(b_base + swizzled(row0 + i * kRowStep, chunk), w + i * kRowStep * a.w_row, true);
    }
    w += kDepth;
    tap_c += kDepth;
    settle();
  };

  // One group is committed per step, also past the end, so that "all but the STAGES - 2 last groups" always means this step's.
#pragma unroll
  for (int s = 0; s < Tl::STAGES - 1; ++s) {
    if (s < a.steps) fetch(s);
    commit_copies();
  }
  float acc[Tl::WM / 16][Tl::WN / 8][4] = {};
  int stage = 0, fetch_stage = Tl::STAGES - 1;
  for (int step = 0; step < a.steps; ++step) {
    wait_copies<Tl::STAGES - 2>();
    __syncthreads();  // this step's tiles are there for everyone, and everyone is done with the stage that is refilled next
    if (step + Tl::STAGES - 1 < a.steps) fetch(fetch_stage);
    commit_copies();
    const std::uint32_t a_base = shared_base + stage * Tl::kStageBytes, b_base = a_base + Tl::kABytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      std::uint32_t af[Tl::WM / 16][4], bf[Tl::WN / 16][4];
#pragma unroll
      for (int i = 0; i < Tl::WM / 16; ++i) {  // matrices: rows 0-7 and 8-15 of k 0-7, then of k 8-15
        load_matrices(af[i], a_base + swizzled(warp_m * Tl::WM + i * 16 + (lane & 15), k * 2 + (lane >> 4)));
      }
#pragma unroll
      for (int j = 0; j < Tl::WN / 16; ++j) {  // matrices: k 0-7 and 8-15 of columns 0-7, then of columns 8-15
        load_matrices(bf[j], b_base + swizzled(warp_n * Tl::WN + j * 16 + (lane & 7) + ((lane >> 4) << 3), k * 2 + ((lane >> 3) & 1)));
      }
#pragma unroll
      for (int i = 0; i < Tl::WM / 16; ++i) {
#pragma unroll
        for (int j = 0; j < Tl::WN / 8; ++j) multiply_add<T>(acc[i][j], af[i], bf[j / 2][j % 2 * 2], bf[j / 2][j % 2 * 2 + 1]);
      }
    }
    stage = stage + 1 == Tl::STAGES ? 0 : stage + 1;
    fetch_stage = fetch_stage + 1 == Tl::STAGES ? 0 : fetch_stage + 1;
  }

  // Out through shared memory, WM rows at a time: 16-byte accesses to y and the operands, and the epilogue's long code only once.
  wait_copies<0>();
  auto* sums = reinterpret_cast<float*>(shared);
#pragma unroll 1
  for (int part = 0; part < Tl::kWarpsM; ++part) {
    __syncthreads();  // the tiles, or the part before, are no longer read
    if (warp_m == part) {
#pragma unroll
      for (int i = 0; i < Tl::WM / 16; ++i) {
#pragma unroll
        for (int j = 0; j < Tl::WN / 8; ++j) {
          float* at = sums + (i * 16 + lane / 4) * Tl::kSumsLd + warp_n * Tl::WN + j * 8 + lane % 4 * 2;
          *reinterpret_cast<float2*>(at) = make_float2(acc[i][j][0], acc[i][j][1]);
          *reinterpret_cast<float2*>(at + 8 * Tl::kSumsLd) = make_float2(acc[i][j][2], acc[i][j][3]);
        }
      }
    }
    __syncthreads();
#pragma unroll 1
    for (int i = tid; i < Tl::WM * Tl::BN / 8; i += Tl::kThreads) {
      const int row = i / (Tl::BN / 8), column = i % (Tl::BN / 8) * 8, o = n0 + column;
      const std::int64_t m = m0 + part * Tl::WM + row;
      if (m >= a.g.pixels || o >= a.g.out_c) continue;
      const float* sum = sums + row * Tl::kSumsLd + column;
      const std::int64_t offset = m * a.g.out_c + o;
      T* y = static_cast<T*>(a.y) + offset;
      const int count = min(8, a.g.out_c - o);
      if (a.packs) {  // then out_c is a multiple of 8, and count is 8
        const float4 s0 = *reinterpret_cast<const float4*>(sum), s1 = *reinterpret_cast<const float4*>(sum + 4);
        const float4 b0 = *reinterpret_cast<const float4*>(a.bias + o), b1 = *reinterpret_cast<const float4*>(a.bias + o + 4);
        float v[8] = {s0.x + b0.x, s0.y + b0.y, s0.z + b0.z, s0.w + b0.w, s1.x + b1.x, s1.y + b1.y, s1.z + b1.z, s1.w + b1.w};
        apply_epilogue<T>(epilogue, v, offset);
        Pack<T, 8> out;
#pragma unroll
        for (int j = 0; j < 8; ++j) out.v[j] = narrow<T>(v[j]);
        *reinterpret_cast<Pack<T, 8>*>(y) = out;
      } else {
#pragma unroll 1
        for (int j = 0; j < count; ++j) {
          float v[1] = {sum[j] + a.bias[o + j]};
          apply_epilogue<T>(epilogue, v, offset + j);
          y[j] = narrow<T>(v[0]);
        }
      }
    }
  }
}

// Calls body with the tile's type. Warps take 64 x 32 where there is enough to do for them: 16 mma on 12 fragments loaded.
template <class Body>
void with_tile(int tile, Body&& body) {
  switch (tile) {
    case 0: return body(Tile<128, 128, 64, 32, 3>{});
    case 1: return body(Tile<128, 64, 64, 32, 4>{});
    case 2: return body(Tile<64, 64, 32, 32, 4>{});
    default: return body(Tile<128, 32, 32, 32, 4>{});
  }
}

template <class Body>
void with_half(DType dtype, Body&& body) {
  check<CudaError>(dtype != DType::f32, "the implicit GEMM takes f16 and bf16");
  if (dtype == DType::f16) return body(__half{});
  body(__nv_bfloat16{});
}

}  // namespace

void launch_implicit_gemm(DType dtype, int tile, const ConvGeometry& g, const ConvWeights& w, const void* x, void* y,
                          const EpilogueArgs& epilogue, cudaStream_t stream) {
  with_half(dtype, [&](auto t) {
    with_tile(tile, [&](auto shape) {
      using Tl = decltype(shape);
      ImplicitArgs args{g, x, w.w, w.bias_f32, y, w.row, w.tap_size, static_cast<int>(w.row / kDepth), ceil_div(g.out_c, Tl::BN), false};
      args.packs = g.out_c % 8 == 0 && is_aligned(y, 16) && epilogue.aligned(16);
      const std::int64_t blocks = ceil_div<std::int64_t>(g.pixels, Tl::BM) * args.column_tiles;
      check<CudaError>(blocks <= 0x7FFFFFFF && is_aligned(x, 16), "the implicit GEMM cannot take this convolution");
      // 2 * pixels * out_c * K flops on tensor cores; x is fetched once per tap, mostly from L2. Neighbouring blocks share their
      // pixels, so that x comes from memory once.
      launch_kernel(implicit_gemm_tile_per_block<decltype(t), Tl>, dim3(static_cast<unsigned>(blocks)), dim3(Tl::kThreads),
                    Tl::kSharedBytes, stream, args, epilogue);
    });
  });
}

void preload_implicit_gemm(DType dtype, int tile) {
  with_half(dtype, [&](auto t) {
    with_tile(tile,
              [](auto shape) { preload(reinterpret_cast<const void*>(&implicit_gemm_tile_per_block<decltype(t), decltype(shape)>)); });
  });
}

}  // namespace frieze::cuda
