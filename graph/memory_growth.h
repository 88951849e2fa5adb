#pragma once
/// How much memory a piece of work leaves behind, where other programs use the same device. Internal to graph/.
#include <cstdint>

namespace frieze {

/// Bytes by which used() grew over work(); 0 if they did not grow. What is used is counted for a whole device, so other programs grow it
/// too: the work is done again, up to `attempts` times in all, until it grew nothing, or until it returns false. A leak grows each time.
template <class Used, class Work>
std::int64_t memory_growth(const Used& used, const Work& work, int attempts = 20) {
  std::int64_t grown = 0;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    const std::int64_t before = used();
    const bool goes_on = work();
    grown = used() - before;
    if (grown <= 0 || !goes_on) break;
  }
  return grown > 0 ? grown : 0;
}

}  // namespace frieze
