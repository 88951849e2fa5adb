#pragma once
/// One capture at a time in this process, and no device-wide synchronisation of ours while one is open.
#include <mutex>

namespace frieze::cuda {

/// Held around every capture, and around the few cudaDeviceSynchronize calls that this library makes: CUDA invalidates
/// every open capture, in every mode, when any thread synchronises the device. Recursive: a compile may tune inside.
std::unique_lock<std::recursive_mutex> lock_captures();

}  // namespace frieze::cuda
