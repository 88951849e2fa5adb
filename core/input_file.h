#pragma once
/// The one way in which this project opens a file to read it.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

/// A regular file, open for reading as long as the object lives. Its size is taken once, at opening.
class InputFile {
 public:
  /// Follows symbolic links and never waits: what the path names is checked after it was opened. Throws IoError if it cannot be opened,
  /// or is a folder, a device, a pipe or a socket.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// The path, fit for a one-line message.
  const std::string& name() const { return name_; }
  std::uint64_t size() const { return size_; }
  int descriptor() const { return fd_; }
  /// Copies out.size() bytes from `offset`. Throws IoError if the file no longer has the size that it was opened with, or
  /// ends before that many bytes.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string name_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

/// All bytes of a regular file. Throws IoError as InputFile does, and if it is longer than `limit` bytes, before any of it is read.
/// Exported for the library of models.
FRIEZE_API std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t limit);

}  // namespace FRIEZE_API
