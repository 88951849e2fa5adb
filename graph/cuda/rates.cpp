#include <frieze/graph/cuda/rates.h>

#include <algorithm>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/cold_timing.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/lt_matmul.h>
#include <frieze/core/cuda/yardstick.h>

namespace frieze::cuda {
namespace {

constexpr int kRounds = 5;

// Launches of a timed graph, for about a millisecond of `us_guess` each.
int launches(double us_guess) { return static_cast<int>(std::clamp(1000 / us_guess, 2.0, 200.0)); }

void measure_copies(DeviceRates& rates, cudaStream_t stream) {
  constexpr std::size_t kSmallest = std::size_t{8} << 10, kLargest = std::size_t{512} << 20;
  std::size_t free_bytes = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
  std::size_t largest = kLargest;
  while (largest > kSmallest && largest > free_bytes / 4) largest /= 2;
  const DeviceBuffer from(largest), to(largest);
  fill_normal(from.data(), DType::f32, static_cast<std::int64_t>(largest / sizeof(float)), 1, stream);
  for (std::size_t bytes = kSmallest; bytes <= largest; bytes *= 2) {
    const ColdCandidate ways[] = {{[&](int, cudaStream_t s) { copy_16_bytes_a_thread(from.data(), to.data(), bytes, s); }, true},
                                  {[&](int, cudaStream_t s) { enqueue_copy(to.data(), from.data(), bytes, s); }, true}};
    const double moved = 2 * static_cast<double>(bytes);
    const std::vector<double> us = time_cold(stream, ways, 1, kRounds, launches(1 + moved / 2e6));
    rates.copies.push_back({moved, *std::min_element(us.begin(), us.end())});
  }
}

void measure_product(DeviceRates& rates, const DeviceInfo& device, DType dtype, bool allow_tf32, cudaStream_t stream) {
  const std::int64_t size = dtype == DType::f32 ? 4096 : 8192;
  const std::int64_t count = size * size;
  const auto bytes = static_cast<std::size_t>(count) * size_of(dtype);
  const DeviceBuffer x(bytes), w(bytes), y(bytes);
  fill_normal(x.data(), dtype, count, 2, stream);
  fill_normal(w.data(), dtype, count, 3, stream);
  LtMatmulSpec spec;
  spec.m = spec.n = spec.k = spec.ldx = spec.ldw = size;
  spec.in = spec.out = dtype;
  spec.allow_tf32 = allow_tf32;
  PrepareArgs args;
  args.device = &device;
  args.stream = stream;
  args.allow_tf32 = allow_tf32;
  const std::optional<LtMatmul> product = LtMatmul::plan(spec, w.data(), args);
  if (!product) return;
  const DeviceBuffer workspace(product->workspace_bytes());
  const ColdCandidate ways[] = {{[&](int, cudaStream_t s) { product->launch(x.data(), nullptr, y.data(), workspace.data(), s); }}};
  const double flops = 2 * static_cast<double>(size) * static_cast<double>(count);
  rates.flops_per_us = flops / time_cold(stream, ways, 1, kRounds, 4).front();
  rates.product_size = size;
}

}  // namespace

DeviceRates measure_rates(const DeviceInfo& device, DType dtype, bool allow_tf32) {
  const Stream stream = make_stream();
  DeviceRates rates;
  rates.l2_bytes = static_cast<double>(device.l2_bytes);
  rates.sm_count = device.sm_count;
  measure_copies(rates, stream.get());
  measure_product(rates, device, dtype, allow_tf32, stream.get());
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  return rates;
}

}  // namespace frieze::cuda
