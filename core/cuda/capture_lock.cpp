#include <frieze/core/cuda/capture_lock.h>

namespace frieze::cuda {

std::unique_lock<std::recursive_mutex> lock_captures() {
  static std::recursive_mutex mutex;
  return std::unique_lock(mutex);
}

}  // namespace frieze::cuda
