#include <frieze/core/cuda/check.h>
#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>
#include <frieze/layers/shared/cuda/epilogue.cuh>

namespace frieze::cuda {
namespace {

// Any strides, any C. A block owns blockDim.x / lanes neighbouring pixels; `lanes` threads share the channels of each. x (and a
// residual that comes before the norm) is read twice: 3 accesses an element where the others have 2, mostly from L2 the second time.
template <class T>
__global__ void __launch_bounds__(1024)
    rms_norm2d_strided_lanes_per_pixel(const __grid_constant__ NormArgs a, const __grid_constant__ NormStrides s, int lanes,
                                       bool pixels_first, std::int64_t blocks) {
  extern __shared__ float floats[];
  const SharedSums<T> partial{floats, static_cast<int>(blockDim.x)};  // [lanes][pixels of the block]
  const NormFormula& f = a.formula;
  const int tid = static_cast<int>(threadIdx.x), own = static_cast<int>(blockDim.x) / lanes;
  const int lane = pixels_first ? tid / own : tid % lanes, slot = pixels_first ? tid % own : tid / lanes;
  const std::int64_t all_pixels = a.images * a.pixels;
  pdl_wait();
  for (std::int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const std::int64_t pixel = block * own + slot;
    const bool inside = pixel < all_pixels;
    std::int64_t at[3] = {0, 0, 0};
    if (inside) {
      const DivMod image = div_mod(pixel, a.pixels), place = div_mod(image.remainder, s.width);
      for (int i = 0; i < 3; ++i) at[i] = image.quotient * s.n[i] + place.quotient * s.h[i] + place.remainder * s.w[i];
    }
    const T* x = static_cast<const T*>(a.x) + at[0];
    T* y = static_cast<T*>(a.y) + at[1];
    const T* residual = static_cast<const T*>(a.residual) + at[2];
    const auto value = [&](std::int64_t c) {
      float v = widen(x[c * s.c[0]]);
      if (f.residual_mode == ResidualMode::before) v = rounded<T>(v + widen(residual[c * s.c[2]]));
      return v;
    };
    const auto sum_pixel = [&](float scale) {
      SquareSum<T> squares;
      if (inside) {
        for (std::int64_t c = lane; c < a.channels; c += lanes) {
          const float v = value(c) * scale;
          squares.add(v);
        }
      }
      partial.put(lane * own + slot, squares);
      __syncthreads();
      SquareSum<T> all;
      for (int i = 0; i < lanes; ++i) all.join(partial.get(i * own + slot));
      __syncthreads();
      return all;
    };
    const SquareSum<T> sum = sum_pixel(1.0F);
    SplitInverse r{1.0F, inverse_rms<T>(f, sum)};
    if constexpr (kMayLeaveRange<T>) {
      if (__syncthreads_or(inside && left_range(f, sum.value()))) {
        const float scale = range_scale(f, sum.value());
        const double scaled = sum_pixel(scale).exact();
        if (scale != 1.0F) r = split_inverse_rms(f, scaled, scale);
      }
    }
    if (!inside) continue;
    const T* __restrict__ weight = static_cast<const T*>(a.weight);
    const T* __restrict__ bias = static_cast<const T*>(a.bias);
    for (std::int64_t c = lane; c < a.channels; c += lanes) {
      const float w = weight != nullptr ? widen(weight[c]) : 1.0F, b = bias != nullptr ? widen(bias[c]) : 0.0F;
      float v[1] = {scale_and_shift<T, true>(f, value(c) * r.power, r.rest, weight != nullptr, w, bias != nullptr, b)};
      WordOf<T, 1> add{};
      if (f.residual_mode == ResidualMode::after) add = *reinterpret_cast<const WordOf<T, 1>*>(residual + c * s.c[2]);
      finish<T, true, 1>(f, v, add);
      y[c * s.c[1]] = narrow<T>(v[0]);
    }
  }
}

}  // namespace

int running_capability() {
  cudaFuncAttributes attributes{};
  CUDA_CHECK(cudaFuncGetAttributes(&attributes, &rms_norm2d_strided_lanes_per_pixel<float>));
  return attributes.ptxVersion;
}

void launch_strided(const NormConfig& c, DType dtype, const NormArgs& args, const NormStrides& strides, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const int own = c.threads / c.lanes;
    const std::int64_t blocks = ceil_div<std::int64_t>(args.images * args.pixels, own);
    const bool pixels_first = std::abs(strides.w[0]) < std::abs(strides.c[0]);  // neighbouring threads take neighbouring elements
    launch_kernel(&rms_norm2d_strided_lanes_per_pixel<T>, norm_launch_shape(c, dtype, args), stream, args, strides, c.lanes, pixels_first,
                  blocks);
  });
}

}  // namespace frieze::cuda
