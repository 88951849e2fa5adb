#pragma once
/// Mean and squared deviations of f32 values that arrive in parts. Squares are taken of differences from a value of the same run of 32 or
/// fewer, so what cancels in the sum of squares is no more than n^2 of the squared deviations, whatever the mean is; runs are merged by
/// their means, relative to a pivot that all have in common, one of the values.
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {

/// Of `count` values v: mean of v - pivot, and the sum of the squared deviations from the mean. Non-finite values make both NaN or Inf.
/// Without values of its own accord, as shared memory must be: write Moments{} for none.
struct Moments {
  float mean, m2, count;
};

/// T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979. Both relative
/// to one pivot; either may be empty.
__device__ __forceinline__ Moments merge(const Moments& a, const Moments& b) {
  Moments both;
  both.count = a.count + b.count;
  const float part = both.count > 0 ? __fdividef(b.count, both.count) : 0.0F, d = b.mean - a.mean;
  both.mean = a.mean + d * part;
  both.m2 = a.m2 + b.m2 + d * d * (a.count * part);
  return both;
}

/// Of all threads of a block of whole warps, in each of them, merged in one order. `shared` has a place for each warp.
__device__ __forceinline__ Moments merge_block(Moments m, Moments* shared) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    m = merge(m, {__shfl_down_sync(~0U, m.mean, step), __shfl_down_sync(~0U, m.m2, step), __shfl_down_sync(~0U, m.count, step)});
  }
  __syncthreads();  // the places may still be read for what was merged before
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = m;
  __syncthreads();
  m = shared[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w) m = merge(m, shared[w]);
  return m;
}

/// 1 / sqrt(variance + eps), the variance as PyTorch's normalisations have it: over count, not count - 1.
__device__ __forceinline__ float inverse_deviation(const Moments& m, float eps) { return 1.0F / sqrtf(m.m2 / m.count + eps); }

/// Of `count` values v: sum and sum of squares of v - base. NaN stays NaN.
__device__ __forceinline__ Moments moments_of_run(float sum, float squares, float count, float base_above_pivot) {
  const float mean = sum * (1.0F / count), m2 = squares - sum * mean;
  return {base_above_pivot + mean, m2 < 0.0F ? 0.0F : m2, count};
}

/// This thread's part of `length` contiguous values at `x`: packs of V, `threads` of them side by side, four under way at a time. `length`
/// is a multiple of V, and x aligned to a pack.
template <class T, int V>
__device__ __forceinline__ Moments moments_of_packs(const T* x, std::int64_t length, float pivot, int thread, int threads) {
  constexpr int K = 4;
  const int step = threads * V;
  Moments run{};
  std::int64_t first = std::int64_t{thread} * V;
  const auto add = [&](const Pack<T, V>(&pack)[K], int packs) {
    const float base = widen(pack[0].v[0]);
    float sum = 0, squares = 0;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (k >= packs) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const float d = widen(pack[k].v[j]) - base;
        sum += d;
        squares = fmaf(d, d, squares);
      }
    }
    run = merge(run, moments_of_run(sum, squares, static_cast<float>(packs * V), base - pivot));
  };
  for (; first + (K - 1) * step < length; first += std::int64_t{step} * K) {
    Pack<T, V> pack[K];
#pragma unroll
    for (int k = 0; k < K; ++k) pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + first + k * step);
    add(pack, K);
  }
  if (first < length) {
    Pack<T, V> pack[K];
    int packs = 0;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (first + k * step >= length) continue;
      pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + first + k * step);
      packs = k + 1;
    }
    add(pack, packs);
  }
  return run;
}

/// Moments of V values side by side, of which a thread meets a pack at a time: their counts are the same.
template <class T, int V>
struct PackMoments {
  float mean[V] = {}, m2[V] = {}, count = 0;

  /// Merges the first `packs` >= 1 of K, which is all of them but at the end. As merge() for each value.
  template <int K>
  __device__ __forceinline__ void add(const Pack<T, V> (&pack)[K], int packs, const float (&pivot)[V]) {
    const float fresh = static_cast<float>(packs), part = __fdividef(fresh, count + fresh), weight = count * part, share = 1.0F / fresh;
    count += fresh;
#pragma unroll
    for (int j = 0; j < V; ++j) {
      const float base = widen(pack[0].v[j]);
      float sum = 0, squares = 0;
#pragma unroll
      for (int k = 1; k < K; ++k) {
        if (k >= packs) continue;
        const float d = widen(pack[k].v[j]) - base;
        sum += d;
        squares = fmaf(d, d, squares);
      }
      const float above = sum * share, own = squares - sum * above, d = base - pivot[j] + above - mean[j];
      mean[j] += d * part;
      m2[j] += (own < 0.0F ? 0.0F : own) + d * d * weight;
    }
  }
};

/// PackMoments of a block of kThreads threads or fewer. Threads of one threadIdx.x have the same values, those of threadIdx.y a part of
/// each.
template <int V, int kThreads>
struct SharedMoments {
  float mean[kThreads * V], m2[kThreads * V], count[kThreads];

  /// Value i of the block's, counted along threadIdx.x and the packs; behind merge_rows().
  __device__ __forceinline__ Moments value(int i) const { return {mean[i], m2[i], count[i / V]}; }

  /// A tree whose shape depends on the block alone; ends with a barrier.
  template <class T>
  __device__ __forceinline__ void merge_rows(const PackMoments<T, V>& own) {
    const int columns = static_cast<int>(blockDim.x), row = static_cast<int>(threadIdx.y);
    const int thread = row * columns + static_cast<int>(threadIdx.x);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      mean[thread * V + j] = own.mean[j];
      m2[thread * V + j] = own.m2[j];
    }
    count[thread] = own.count;
    for (int left = static_cast<int>(blockDim.y); left > 1;) {
      const int half = (left + 1) / 2, from = thread + half * columns;
      __syncthreads();
      if (row + half < left) {
#pragma unroll
        for (int j = 0; j < V; ++j) {
          const Moments both =
              merge({mean[thread * V + j], m2[thread * V + j], count[thread]}, {mean[from * V + j], m2[from * V + j], count[from]});
          mean[thread * V + j] = both.mean;
          m2[thread * V + j] = both.m2;
        }
        count[thread] += count[from];
      }
      left = half;
    }
    __syncthreads();
  }
};

}  // namespace frieze::cuda
