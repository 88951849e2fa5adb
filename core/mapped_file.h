#pragma once
/// A file seen two ways: mapped read-only, and read with explicit bounds.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include <frieze/core/api.h>
#include <frieze/core/input_file.h>

namespace frieze FRIEZE_API {

/// A regular file, open and mapped as long as the object lives. Its size is taken once, at opening.
class MappedFile {
 public:
  /// Throws IoError if the file cannot be opened, is not a regular file (a symbolic link is followed), or cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// The path, fit for a one-line message.
  const std::string& name() const { return file_.name(); }
  std::uint64_t size() const { return file_.size(); }
  /// The whole file. If another process shortens the file meanwhile, the kernel answers a touch with SIGBUS: use read()
  /// wherever that must be an error.
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), static_cast<std::size_t>(size())}; }
  /// Copies out.size() bytes from `offset`. Throws IoError if the file no longer has the size that it was opened with, or
  /// ends before that many bytes.
  void read(std::uint64_t offset, std::span<std::byte> out) const { file_.read(offset, out); }

 private:
  InputFile file_;
  void* data_ = nullptr;
};

}  // namespace FRIEZE_API
