#include <frieze/core/parallel.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <frieze/core/error.h>
#include <frieze/core/warning.h>

namespace frieze {
namespace {

constexpr int kMaxThreads = 1024;

thread_local bool inside_body = false;

// Marks this thread as busy with a body, also when the body throws.
struct InsideBody {
  InsideBody() { inside_body = true; }
  ~InsideBody() { inside_body = false; }
};

}  // namespace

int thread_count() {
  if (const char* text = std::getenv("FRIEZE_THREADS")) {
    int count = 0;
    const char* end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, count);
    check<OptionError>(error == std::errc() && stop == end && count >= 1 && count <= kMaxThreads,
                       "FRIEZE_THREADS expects a whole number from 1 to ", kMaxThreads, ", got '", text, "'");
    return count;
  }
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

void parallel_for(std::int64_t count, const std::function<void(std::int64_t first, std::int64_t last)>& body, std::int64_t grain) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t threads = inside_body ? 1 : std::min<std::int64_t>(thread_count(), (count - 1) / grain + 1);
  if (threads <= 1) {
    body(0, count);
    return;
  }
  // Four ranges a thread: enough to even out a busy machine, few enough to cost nothing.
  const std::int64_t range = std::max(grain, (count - 1) / (threads * 4) + 1);
  const std::int64_t ranges = (count - 1) / range + 1;
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&, hook = current_warning_hook()] {
    const InsideBody scope;
    const WarningScope warnings(hook);
    for (std::int64_t i = next++; i < ranges; i = next++) {
      try {
        body(i * range, std::min(count, (i + 1) * range));
      } catch (...) {
        const std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        next = ranges;
        return;
      }
    }
  };
  std::vector<std::jthread> helpers;  // joined on every way out, also when a thread cannot be started
  helpers.reserve(static_cast<std::size_t>(threads - 1));
  try {
    for (std::int64_t t = 1; t < threads; ++t) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // The system has no thread left: those that run, and this one, do the work.
  }
  work();
  helpers.clear();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace frieze
