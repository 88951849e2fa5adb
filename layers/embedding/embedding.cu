#include <frieze/core/cuda/handles.h>
#include <frieze/layers/embedding/embedding.h>
#include <frieze/layers/shared/cuda/pointwise.cuh>

namespace frieze::cuda {
namespace {

// Element `i` of an array of integers.
__device__ __forceinline__ std::int64_t index_at(const void* indices, bool wide, std::int64_t i) {
  return wide ? static_cast<const std::int64_t*>(indices)[i] : std::int64_t{static_cast<const std::int32_t*>(indices)[i]};
}

template <class T, int N>
__global__ void __launch_bounds__(kPointwiseBlock) embedding_pack_per_thread(const void* indices, bool wide, const T* table, T* y,
                                                                             std::int64_t count, std::int64_t width, std::int64_t packs) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kPointwiseBlock + threadIdx.x;
  if (i >= packs) return;
  const std::int64_t row_packs = width / N, row = i / row_packs, at = (i - row * row_packs) * N;
  const std::int64_t index = index_at(indices, wide, row);
  Pack<T, N> pack;
  if (index >= 0 && index < count) {
    pack = *reinterpret_cast<const Pack<T, N>*>(table + index * width + at);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) pack.v[j] = narrow<T>(NAN);
  }
  *reinterpret_cast<Pack<T, N>*>(y + row * width + at) = pack;
}

class EmbeddingKernel final : public NodeKernel {
 public:
  EmbeddingKernel(const Embedding& layer, const PrepareArgs& args)
      : count_(layer.weight().shape[0]), width_(layer.weight().shape[1]), table_(to_device(layer.weight().values, args.out[0].dtype)) {
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      preload_all(&embedding_pack_per_thread<T, 16 / sizeof(T)>, &embedding_pack_per_thread<T, 1>);
    });
  }
  // Reads and writes elements(y) * sizeof(T) bytes, the reads in runs of a row: bound by memory. Not measured yet.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView &x = args.in[0], &y = args.out[0];
    dispatch(y.dtype, [&](auto t) {
      using T = decltype(t);
      constexpr int kPack = 16 / sizeof(T);
      const bool whole = width_ % kPack == 0 && reinterpret_cast<std::uintptr_t>(y.data) % 16 == 0;
      const std::int64_t packs = y.shape.elements() / (whole ? kPack : 1);
      const auto kernel = whole ? &embedding_pack_per_thread<T, kPack> : &embedding_pack_per_thread<T, 1>;
      launch_kernel(kernel, grid_of(ceil_div(packs, std::int64_t{kPointwiseBlock})), dim3(kPointwiseBlock), 0, stream,
                    static_cast<const void*>(x.data), x.dtype == DType::i64, table_.as<const T>(), y.as<T>(), count_, width_, packs);
    });
  }
  std::size_t weight_bytes() const override { return table_.bytes(); }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  std::int64_t count_, width_;
  DeviceBuffer table_;
};

// A thread makes one sine and its cosine. In double: a few thousand values, and time steps of 1000 would cost f32 a digit or four.
__global__ void __launch_bounds__(kPointwiseBlock)
    timestep_frequency_per_thread(const void* t, DType from, const double* frequencies, void* y, DType to, std::int64_t steps, int width,
                                  int sines, int cosines) {
  const int half = width / 2;
  const std::int64_t i = std::int64_t{blockIdx.x} * kPointwiseBlock + threadIdx.x;
  if (i >= steps * half) return;
  const std::int64_t n = i / half;
  const int k = static_cast<int>(i - n * half);
  double step = 0;
  switch (from) {
    case DType::f32: step = static_cast<const float*>(t)[n]; break;
    case DType::f16: step = widen(static_cast<const __half*>(t)[n]); break;
    case DType::bf16: step = widen(static_cast<const __nv_bfloat16*>(t)[n]); break;
    default: step = static_cast<double>(index_at(t, from == DType::i64, n)); break;
  }
  double sine = 0, cosine = 0;
  sincos(step * frequencies[k], &sine, &cosine);
  const auto store = [&](int at, double v) {
    const std::int64_t place = n * width + at;
    const auto f = static_cast<float>(v);
    if (to == DType::f32) static_cast<float*>(y)[place] = f;
    if (to == DType::f16) static_cast<__half*>(y)[place] = narrow<__half>(f);
    if (to == DType::bf16) static_cast<__nv_bfloat16*>(y)[place] = narrow<__nv_bfloat16>(f);
  };
  store(sines + k, sine);
  store(cosines + k, cosine);
  if (k == 0 && width % 2 != 0) store(width - 1, 0);
}

class TimestepKernel final : public NodeKernel {
 public:
  explicit TimestepKernel(const TimestepEmbedding& layer) : width_(layer.width()), cosines_first_(layer.options().flip_sin_to_cos) {
    const std::vector<double> frequencies = layer.frequencies();
    frequencies_ = to_device(frequencies.data(), frequencies.size() * sizeof(double));
    preload(reinterpret_cast<const void*>(&timestep_frequency_per_thread));
  }
  // N * width values: bound by its start. Not measured yet.
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const TensorView &t = args.in[0], &y = args.out[0];
    const int half = width_ / 2;
    launch_kernel(timestep_frequency_per_thread, grid_of(ceil_div(t.shape[0] * half, std::int64_t{kPointwiseBlock})), dim3(kPointwiseBlock),
                  0, stream, static_cast<const void*>(t.data), t.dtype, frequencies_.as<const double>(), y.data, y.dtype, t.shape[0],
                  width_, cosines_first_ ? half : 0, cosines_first_ ? 0 : half);
  }
  std::size_t weight_bytes() const override { return frequencies_.bytes(); }
  std::string describe() const override { return "a thread per frequency, in double"; }

 private:
  int width_;
  bool cosines_first_;
  DeviceBuffer frequencies_;
};

std::unique_ptr<Kernel> make_embedding(const Embedding& layer, const PrepareArgs& args) {
  return std::make_unique<EmbeddingKernel>(layer, args);
}
std::unique_ptr<Kernel> make_timestep(const TimestepEmbedding& layer, const PrepareArgs&) {
  return std::make_unique<TimestepKernel>(layer);
}

}  // namespace

void register_embedding(KernelRegistry& registry) {
  registry.add<Embedding>(&make_embedding);
  registry.add<TimestepEmbedding>(&make_timestep);
}

}  // namespace frieze::cuda
