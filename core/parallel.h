#pragma once
/// Data-parallel loops for the CPU reference.
#include <cstdint>
#include <functional>

namespace frieze {

/// How many threads parallel_for uses: the environment's FRIEZE_THREADS, else the machine's hardware threads; at least 1.
/// Throws OptionError if FRIEZE_THREADS is set to anything but a whole number from 1 to 1024.
int thread_count();

/// Calls body(first, last) for disjoint ranges that together cover [0, count), from up to thread_count() threads. Ranges hold
/// at least `grain` indices where count allows it. Which thread gets which range is unspecified, so bodies must not depend
/// on it; results that are independent per index are therefore the same for every thread count.
/// A call from inside a body runs serially. The first exception of a body is rethrown here after every thread has ended;
/// ranges not begun by then are skipped.
void parallel_for(std::int64_t count, const std::function<void(std::int64_t first, std::int64_t last)>& body, std::int64_t grain = 1);

}  // namespace frieze
