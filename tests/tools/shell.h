#pragma once
/// Shell command lines, for what needs redirections, limits and signals.
#include <string>

#include "tools/command.h"

namespace frieze::test {

inline std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

/// Runs `command`; what it writes to stdout and stderr, where it does not redirect them itself, goes to files outside of any limit that it
/// sets.
inline Outcome shell(const std::string& command) {
  TempFolder folder;
  const std::string line = "( " + command + " ) >" + quoted(folder.file("out")) + " 2>" + quoted(folder.file("err")) + " </dev/null";
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(folder.file("out")), slurp(folder.file("err"))};
}

}  // namespace frieze::test
