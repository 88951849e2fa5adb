#pragma once
/// Warnings: to the hook of the session that they belong to, else to stderr. Internal; users set CompileOptions::on_warning.
#include <functional>
#include <string_view>

namespace frieze {

using WarningHook = std::function<void(std::string_view text)>;

/// Hands one line to the hook of this thread's innermost WarningScope, or prints "frieze: warning: <text>" on stderr if there is none. One
/// call at a time in the whole process; what a hook throws is dropped.
void warn(std::string_view text) noexcept;

/// The hook of this thread's innermost scope, for threads that it starts; nullptr if there is none.
const WarningHook* current_warning_hook() noexcept;

/// While it lives, warnings of this thread go to `hook`, which must outlive it; nullptr or an empty function: stderr.
class WarningScope {
 public:
  explicit WarningScope(const WarningHook* hook) noexcept;
  WarningScope(const WarningScope&) = delete;
  WarningScope& operator=(const WarningScope&) = delete;
  ~WarningScope();

 private:
  const WarningHook* before_;
};

}  // namespace frieze
