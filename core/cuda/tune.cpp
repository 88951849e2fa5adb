#include <frieze/core/cuda/tune.h>

#include <algorithm>
#include <array>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/version.h>

namespace frieze::cuda {
namespace {

constexpr std::size_t kRounds = 5;
constexpr double kRoundMs = 0.2;  // what one candidate runs for in one round: far above the resolution of events
constexpr int kMaxRepeats = 20;

}  // namespace

std::string tuned_machine(const DeviceInfo& device, std::string_view library) {
  return concat_text(device.name, ", ", device.sm_count, " SMs, driver ", device.driver_version, ", runtime ", device.runtime_version,
                     ", frieze ", version(), library.empty() ? "" : ", ", library);
}

std::size_t fastest(cudaStream_t stream, std::span<const std::function<void()>> candidates) {
  check<CudaError>(!candidates.empty(), "nothing to choose from");
  if (candidates.size() == 1) return 0;
  const Event start = make_event(true), stop = make_event(true);
  const auto time = [&](const std::function<void()>& candidate, int repeats) {
    CUDA_CHECK(cudaEventRecord(start.get(), stream));
    for (int i = 0; i < repeats; ++i) candidate();
    CUDA_CHECK(cudaEventRecord(stop.get(), stream));
    CUDA_CHECK(cudaEventSynchronize(stop.get()));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, start.get(), stop.get()));
    return static_cast<double>(ms) / repeats;
  };
  std::vector<int> repeats;
  for (const auto& candidate : candidates) {
    candidate();  // the first run loads modules
    const double ms = std::max(time(candidate, 1), 1e-3);
    repeats.push_back(std::clamp(static_cast<int>(kRoundMs / ms), 1, kMaxRepeats));
  }
  std::vector<std::array<double, kRounds>> times(candidates.size());
  for (std::size_t round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < candidates.size(); ++i) times[i][round] = time(candidates[i], repeats[i]);
  }
  std::size_t best = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    std::nth_element(times[i].begin(), times[i].begin() + kRounds / 2, times[i].end());
    if (times[i][kRounds / 2] < 0.98 * times[best][kRounds / 2]) best = i;
  }
  return best;
}

}  // namespace frieze::cuda
