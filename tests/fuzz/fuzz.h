#pragma once
/// What every fuzz target asks for beside "no crash".
#include <cstdlib>
#include <iostream>
#include <string>

namespace frieze::fuzz {

/// Ends the process, which libFuzzer takes for a finding, unless `ok`.
inline void require(bool ok, const char* what, const std::string& detail = {}) {
  if (ok) return;
  std::cerr << "violated: " << what << ' ' << detail << '\n';
  std::abort();
}

/// A refusal is one short line that begins with the file, without control characters.
inline void check_message(const std::string& message, const std::string& file) {
  require(message.starts_with(file + ": "), "a message begins with the file", message);
  require(message.size() < 2000, "a message is short");
  for (const char c : message) require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, "a message is one clean line", message);
}

}  // namespace frieze::fuzz
