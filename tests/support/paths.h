#pragma once
/// Where tests find what they read and run, also when programs and tree were copied to another machine.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

namespace frieze::test {

/// A file of the source tree: under FRIEZE_SOURCE_DIR of the environment, else where the tree lay when this was built.
inline std::string source_path(std::string_view relative) {
  const char* moved = std::getenv("FRIEZE_SOURCE_DIR");
  return ((moved != nullptr && *moved != '\0' ? std::filesystem::path(moved) : std::filesystem::path(FRIEZE_SOURCE_DIR)) / relative)
      .string();
}

/// The frieze program: FRIEZE_PROGRAM of the environment, else that of the build which this test program lies in.
inline std::string frieze_program() {
  if (const char* other = std::getenv("FRIEZE_PROGRAM"); other != nullptr) return other;
  std::error_code unreadable;
  const auto beside = std::filesystem::read_symlink("/proc/self/exe", unreadable).parent_path().parent_path() / "bin" / "frieze";
  return std::filesystem::exists(beside) ? beside.string() : FRIEZE_BINARY_DIR "/bin/frieze";
}

}  // namespace frieze::test
