#include <algorithm>
#include <chrono>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/lt_matmul.h>
#include <frieze/core/cuda/no_device.h>

#include "tools/frieze/gpu.h"

namespace frieze::tools {
namespace {

// 13020 -> "13.2"
std::string cuda_version(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::vector<GpuFacts> gpus() {
  std::vector<GpuFacts> facts;
  for (int i = 0; i < Device::cuda_count(); ++i) {
    const cuda::DeviceInfo info = cuda::device_info(i);
    facts.push_back({i, info.name, info.compute_capability, info.sm_count, static_cast<double>(info.memory_bytes) / (1 << 30),
                     static_cast<double>(info.l2_bytes) / (1 << 20), cuda_version(info.driver_version),
                     cuda_version(info.runtime_version)});
  }
  return facts;
}

std::string why_no_gpu() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) (void)cudaGetLastError();
  return cuda::why_no_device(status);
}

std::string cublaslt_loaded() { return cuda::LtMatmul::library_version(); }

LaunchTiming time_launches(Session& net, int rounds) {
  constexpr int kWarmUp = 5, kInARow = 20;
  const cuda::Stream stream = cuda::make_stream();
  const cuda::Event begin = cuda::make_event(true), end = cuda::make_event(true);
  for (int i = 0; i < kWarmUp; ++i) net.launch(stream.get());
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
  std::vector<double> host, device;
  for (int round = 0; round < rounds; ++round) {
    const auto before = std::chrono::steady_clock::now();
    net.launch(stream.get());
    host.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - before).count());
    CUDA_CHECK(cudaStreamSynchronize(stream.get()));

    CUDA_CHECK(cudaEventRecord(begin.get(), stream.get()));
    for (int i = 0; i < kInARow; ++i) net.launch(stream.get());
    CUDA_CHECK(cudaEventRecord(end.get(), stream.get()));
    CUDA_CHECK(cudaEventSynchronize(end.get()));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()));
    device.push_back(1000.0 * static_cast<double>(ms) / kInARow);
  }
  return {median(host), median(device)};
}

}  // namespace frieze::tools
