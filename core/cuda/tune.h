#pragma once
/// Timing of candidates while a plan is prepared.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include <frieze/core/cuda/kernel.h>

namespace frieze::cuda {

/// The name of this device, its driver and the versions that a tuned choice holds for, in the tuning cache; with that of a library whose
/// kernels are among the choices.
std::string tuned_machine(const DeviceInfo& device, std::string_view library = {});

/// The candidate that ran fastest on `stream`, by the median of a few rounds in which all are visited in turn: a GPU under load slows
/// down within milliseconds, and who is timed first would win. An earlier candidate wins against a later one that is less than 2 %
/// faster, so put those first that need less memory. A candidate enqueues its work once. Not inside a capture. Throws CudaError, also
/// if there is no candidate; a single one is not run.
std::size_t fastest(cudaStream_t stream, std::span<const std::function<void()>> candidates);

}  // namespace frieze::cuda
