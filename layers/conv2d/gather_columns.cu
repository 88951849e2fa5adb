// What each output pixel sees, as rows of a matrix.
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/conv2d/cuda/conv2d_kernels.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

// One thread owns 16 bytes of one row: neighbouring channels of one tap.
template <class T>
__global__ void __launch_bounds__(256)
    gather_columns_pack_per_thread(const __grid_constant__ ConvGeometry g, const T* x, T* out, int tap_size, std::int64_t first_row,
                                   std::int64_t packs, int packs_per_row) {
  constexpr int kPack = 16 / sizeof(T);
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= packs) return;
  const DivMod at = div_mod(i, packs_per_row);
  const int k = static_cast<int>(at.remainder) * kPack, tap = k / tap_size, c = k % tap_size;
  const DivMod row = div_mod(first_row + at.quotient, g.out_w);
  const DivMod plane = div_mod(row.quotient, g.out_h);
  const int iy = static_cast<int>(plane.remainder) * g.stride_h - g.pad_h + tap / g.kernel_w * g.dilation_h;
  const int ix = static_cast<int>(row.remainder) * g.stride_w - g.pad_w + tap % g.kernel_w * g.dilation_w;
  Pack<T, kPack> pack;
#pragma unroll
  for (int j = 0; j < kPack; ++j) pack.v[j] = narrow<T>(0.0F);
  if (iy >= 0 && iy < g.in_h && ix >= 0 && ix < g.in_w) {
    const T* from = x + ((plane.quotient * g.in_h + iy) * g.in_w + ix) * g.in_c + c;
    if (c + kPack <= g.in_c && reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
      pack = *reinterpret_cast<const Pack<T, kPack>*>(from);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        if (c + j < g.in_c) pack.v[j] = from[j];
      }
    }
  }
  reinterpret_cast<Pack<T, kPack>*>(out)[i] = pack;
}

}  // namespace

void launch_gather_columns(DType dtype, const ConvGeometry& g, int tap_size, const void* x, void* out, std::int64_t row, std::int64_t rows,
                           cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const int packs_per_row = g.taps() * tap_size / static_cast<int>(16 / sizeof(T));
    const std::int64_t packs = rows * packs_per_row;
    // rows * taps * tap_size * sizeof(T) bytes written, mostly to L2; x is read once per tap, from L1 and L2.
    launch_kernel(gather_columns_pack_per_thread<T>, grid_of(ceil_div<std::int64_t>(packs, 256)), dim3(256), 0, stream, g,
                  static_cast<const T*>(x), static_cast<T*>(out), tap_size, row, packs, packs_per_row);
  });
}

void preload_gather_columns(DType dtype) {
  dispatch(dtype, [](auto t) { preload(reinterpret_cast<const void*>(&gather_columns_pack_per_thread<decltype(t)>)); });
}

}  // namespace frieze::cuda
