#include <frieze/core/warning.h>

#include <cstdio>
#include <mutex>
#include <utility>

namespace frieze {
namespace {

thread_local const WarningHook* hook_of_thread = nullptr;

// Recursive, as a hook may use sessions of its own, which may warn. Never destroyed: threads may warn while the process ends.
std::recursive_mutex& one_at_a_time() {
  static auto& mutex = *new std::recursive_mutex;
  return mutex;
}

}  // namespace

void warn(std::string_view text) noexcept {
  try {
    const std::lock_guard lock(one_at_a_time());
    if (hook_of_thread != nullptr && *hook_of_thread) return (*hook_of_thread)(text);
    std::fprintf(stderr, "frieze: warning: %.*s\n", static_cast<int>(text.size()), text.data());
  } catch (...) {
    // A warning must not turn into a failure.
  }
}

const WarningHook* current_warning_hook() noexcept { return hook_of_thread; }

WarningScope::WarningScope(const WarningHook* hook) noexcept : before_(std::exchange(hook_of_thread, hook)) {}
WarningScope::~WarningScope() { hook_of_thread = before_; }

}  // namespace frieze
