#include <frieze/layers/rms_norm2d/cuda/normalise.cuh>

namespace frieze::cuda {
namespace {

// Few channels side by side: V pixels are C packs of 16 bytes, wherever a pixel begins in them. One thread owns them; a warp loads and
// stores its packs in the order of memory, and hands them to their owners through shared memory.
template <class T, int C, bool kFull>
__global__ void __launch_bounds__(256) rms_norm2d_nhwc_packs_per_thread(const __grid_constant__ NormArgs a) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  using W = WordOf<T, V>;
  __shared__ uint4 shared[8][36 * C];
  const NormFormula& f = a.formula;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t elements = a.images * a.pixels * C, first = (std::int64_t{blockIdx.x} * blockDim.x + warp * 32) * V * C;
  const int count = static_cast<int>(min(elements - first, std::int64_t{32} * V * C));  // of the warp; at most 0 behind the last one
  if (blockIdx.x < a.early_blocks && threadIdx.x == 0) prefetch_run<T>(a.x, first, std::int64_t{blockDim.x} * V * C, elements);
  pdl_wait();
  // A gap behind every 8 packs: owners of neighbouring packs and neighbouring owners both meet all banks.
  const auto spot = [&](int pack) -> W& { return shared[warp][pack + pack / 8]; };
  const auto load = [&](const void* from, W(&own)[C]) {
    W w[C];
#pragma unroll
    for (int i = 0; i < C; ++i) {
      w[i] = W{};
      if ((i * 32 + lane) * V < count) w[i] = load_some<T, V>(static_cast<const T*>(from) + first, (i * 32 + lane) * V, count);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < C; ++i) spot(i * 32 + lane) = w[i];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < C; ++i) own[i] = spot(lane * C + i);
  };
  W x[C];
  load(a.x, x);
  pdl_trigger();
  W other[C] = {};
  if (kFull && f.residual_mode != ResidualMode::none) load(a.residual, other);
  if (kFull && f.residual_mode == ResidualMode::before) {
#pragma unroll
    for (int i = 0; i < C; ++i) {
      float v[V], add[V];
      unpack<T, V>(x[i], v);
      unpack<T, V>(other[i], add);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += add[j];
      x[i] = pack<T, V>(v);
    }
  }
  // Channel c of the thread's pixel p.
  const auto value = [&](int p, int c) { return widen(reinterpret_cast<const T*>(&x[(p * C + c) / V])[(p * C + c) % V]); };
  float r[V];
  bool special = false;
#pragma unroll
  for (int p = 0; p < V; ++p) {
    SquareSum<T> sum;
#pragma unroll
    for (int c = 0; c < C; ++c) sum.add(value(p, c));
    r[p] = inverse_rms<T>(f, sum);
    if (kMayLeaveRange<T>) special = special || left_range(f, sum.value());
  }
  const T* __restrict__ weight = static_cast<const T*>(a.weight);
  const T* __restrict__ bias = static_cast<const T*>(a.bias);
  const auto put = [&](const float* power) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < C; ++i) {
      keep(x[i]);
      float v[V];
      unpack<T, V>(x[i], v);
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const int p = (i * V + j) / C, c = (i * V + j) % C;
        const float w = weight != nullptr ? widen(weight[c]) : 1.0F, b = bias != nullptr ? widen(bias[c]) : 0.0F;
        v[j] = scale_and_shift<T, kFull>(f, power != nullptr ? v[j] * power[p] : v[j], r[p], weight != nullptr, w, bias != nullptr, b);
      }
      finish<T, kFull, V>(f, v, other[i]);
      spot(lane * C + i) = pack<T, V>(v);
    }
  };
  if (kMayLeaveRange<T> && __any_sync(~0U, special)) {
    uint4 words[C];
    float rest[V], power[V];
#pragma unroll
    for (int c = 0; c < C; ++c) words[c] = x[c];
#pragma unroll
    for (int j = 0; j < V; ++j) rest[j] = r[j];
    split_pixels(f, reinterpret_cast<const T*>(words), V, C, 1, rest, power);
#pragma unroll
    for (int j = 0; j < V; ++j) r[j] = rest[j];
    put(power);
  } else {
    put(nullptr);
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < C; ++i) {
    const int place = (i * 32 + lane) * V;
    if (place < count) store_some<T, V>(static_cast<T*>(a.y) + first + place, spot(i * 32 + lane), place, 0, count);
  }
}

template <class T, bool kFull>
void (*pick(std::int64_t channels))(NormArgs) {
  if constexpr (sizeof(T) == 2) {  // 4 channels of f32 are a pack, which nhwc_rows takes
    if (channels == 4) return &rms_norm2d_nhwc_packs_per_thread<T, 4, kFull>;
  }
  switch (channels) {
    case 2: return &rms_norm2d_nhwc_packs_per_thread<T, 2, kFull>;
    case 3: return &rms_norm2d_nhwc_packs_per_thread<T, 3, kFull>;
    default: throw CudaError(concat_text("RMSNorm2d has no nhwc kernel of ", channels, " channels a thread"));
  }
}

}  // namespace

void launch_nhwc_few(const NormConfig& c, DType dtype, const NormArgs& args, cudaStream_t stream) {
  dispatch(dtype, [&](auto t) {
    using T = decltype(t);
    const auto kernel = is_full(args.formula) ? pick<T, true>(args.channels) : pick<T, false>(args.channels);
    launch_kernel(kernel, norm_launch_shape(c, dtype, args), stream, args);
  });
}

}  // namespace frieze::cuda
