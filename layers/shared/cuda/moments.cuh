#pragma once
/// Mean and squared deviations of f32 values that arrive in parts. Nothing is ever subtracted from a sum of squares, so a mean far from
/// zero costs no digits: values are taken relative to a pivot, one of them, and parts are merged by their means.
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
  const float part = both.count > 0 ? b.count / both.count : 0.0F, d = b.mean - a.mean;
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

/// This thread's part of `length` contiguous values at `x`: packs of V, `threads` of them side by side, four under way at a time. `length`
/// is a multiple of V, and x aligned to a pack.
template <class T, int V>
__device__ __forceinline__ Moments moments_of_packs(const T* x, std::int64_t length, float pivot, int thread, int threads) {
  constexpr int K = 4;
  Moments run{};
  for (std::int64_t first = std::int64_t{thread} * V; first < length; first += std::int64_t{threads} * V * K) {
    Pack<T, V> pack[K];
    int packs = 0;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const std::int64_t at = first + std::int64_t{k} * threads * V;
      if (at >= length) continue;
      pack[k] = *reinterpret_cast<const Pack<T, V>*>(x + at);
      packs = k + 1;
    }
    Moments part{};
    part.count = static_cast<float>(packs * V);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (k >= packs) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) part.mean += widen(pack[k].v[j]) - pivot;
    }
    part.mean /= part.count;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (k >= packs) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const float d = widen(pack[k].v[j]) - pivot - part.mean;
        part.m2 += d * d;
      }
    }
    run = merge(run, part);
  }
  return run;
}

/// Moments of V values side by side, of which a thread meets a pack at a time: their counts are the same.
template <class T, int V>
struct PackMoments {
  float mean[V] = {}, m2[V] = {}, count = 0;

  /// Merges the first `packs` >= 1 of K. As merge() for each value.
  template <int K>
  __device__ __forceinline__ void add(const Pack<T, V> (&pack)[K], int packs, const float (&pivot)[V]) {
    const float fresh = static_cast<float>(packs), part = fresh / (count + fresh), weight = count * part, share = 1.0F / fresh;
    count += fresh;
#pragma unroll
    for (int j = 0; j < V; ++j) {
      float sum = 0, squares = 0;
#pragma unroll
      for (int k = 0; k < K; ++k) sum += k < packs ? widen(pack[k].v[j]) - pivot[j] : 0.0F;
      sum *= share;
#pragma unroll
      for (int k = 0; k < K; ++k) {
        const float d = k < packs ? widen(pack[k].v[j]) - pivot[j] - sum : 0.0F;
        squares += d * d;
      }
      const float d = sum - mean[j];
      mean[j] += d * part;
      m2[j] += squares + d * d * weight;
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
