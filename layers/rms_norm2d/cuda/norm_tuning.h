#pragma once
/// Internal to layers/rms_norm2d: which configuration a problem gets when a plan is prepared.
#include <string>

#include <frieze/layers/rms_norm2d/cuda/norm_call.h>

namespace frieze::cuda {

struct NormChoice {
  NormConfig config;
  std::string why;  ///< "default", "tuned: fastest of 12", "tuned, from the cache", "default: …"
};

/// The configuration that the tuning cache has for this machine and class of problems or, if it has none that is a candidate, the fastest
/// of norm_candidates(): launches captured over rotating buffers of normal data, cold, on `stream`. The default wins unless another is at
/// least 0.5 % faster. What was found goes into the cache. Candidates that cannot be launched here are left out with a warning.
/// Without tuning, and where the buffers need more than half of the free memory, the default. `call` needs no pointers but those of weight
/// and bias. Throws CudaError.
NormChoice choose_norm(const NormCall& call, bool tune, const DeviceInfo& device, cudaStream_t stream);

/// Every field of a configuration: its name in the cache.
std::string norm_config_text(const NormConfig& config);
/// The class of problems that share a choice: type, format, channels, images and pixels up to the next power of two, alignment, features.
std::string norm_class_text(const NormCall& call);

}  // namespace frieze::cuda
