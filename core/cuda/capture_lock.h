#pragma once
/// One capture of ours at a time in this process, and none while a session's memory is freed.
#include <mutex>

namespace frieze::cuda {

/// Held around each attempt at a capture (see capture_window.h) and around the freeing of what a session held. Recursive.
std::unique_lock<std::recursive_mutex> lock_captures();

}  // namespace frieze::cuda
