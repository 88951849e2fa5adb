#pragma once
/// A folder of its own for each test, and safetensors files made by hand.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include <frieze/core/weights.h>

#include "support/temp_folder.h"

namespace frieze::test {

namespace fs = std::filesystem;

inline std::string with_length(std::uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<const char*>(&length), 8) + rest;
}
inline std::string file_of(const std::string& header, std::size_t data_bytes = 0) {
  return with_length(header.size(), header + std::string(data_bytes, '\0'));
}

// A folder of its own for each test, removed at the end.
class Files : public testing::Test {
 protected:
  fs::path put(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  static std::string bytes_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::size_t file_count() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), {})); }

  // What opening `path` (or another action) throws, and that it is one line.
  template <class E, class Action>
  static std::string message_of(Action&& action) {
    try {
      action();
    } catch (const E& e) {
      const std::string message = e.what();
      for (const char c : message) EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20) << message;
      return message;
    } catch (const std::exception& e) {
      ADD_FAILURE() << "another type of error: " << e.what();
      return {};
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
  }
  template <class E>
  static std::string refused(const fs::path& path) {
    return message_of<E>([&] { (void)Weights::open(path); });
  }

  TempFolder temporary_;
  fs::path folder_ = temporary_.path();
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

}  // namespace frieze::test
