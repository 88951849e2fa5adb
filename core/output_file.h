#pragma once
/// The one writer of files: a file is complete under its name, or its name is as it was.
#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace frieze {

/// Which file a path means, whatever it is called: device and inode; of a file that does not exist yet, those of its folder and its name.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  std::string new_name;  ///< empty if the file exists
  auto operator<=>(const FileId&) const = default;
};

/// The file that writing to `path` would make or replace. Symbolic links are followed to their end, also where that does not exist yet.
/// Throws IoError as OutputFile does, but creates nothing.
FileId output_id(const std::filesystem::path& path);

/// A file being written: a temporary beside the place where it belongs, which commit() renames. The destructor removes a temporary that
/// was not committed. Links are followed and stay; only regular files are replaced. A new file has the mode that the umask leaves; one that
/// is replaced keeps its mode, without setuid, setgid and sticky bits, and its owner where the process may set it. Other hard links of a
/// file that is replaced keep the old content.
/// Every function throws IoError "<path>: cannot be written: <why>" and leaves nothing behind: an empty name, a folder, a device, pipe or
/// socket, links in a circle, a link to an open descriptor (/dev/stdout), a file or folder that may not be written, no space.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  void write(std::span<const std::byte> bytes);
  /// Flushes to the disk and closes: what can fail for lack of space has then failed. commit() calls it.
  void finish();
  /// Renames into place.
  void commit();
  /// The path as it was given, fit for a one-line message.
  const std::string& name() const;

 private:
  friend class OutputSet;
  struct State;
  std::unique_ptr<State> state_;
};

/// Files that appear together.
class OutputSet {
 public:
  /// One more file; the reference stays valid. Throws IoError also if a file of the set is the same one.
  OutputFile& open(const std::filesystem::path& path);
  bool empty() const { return files_.empty(); }
  /// OutputFile::finish() of all.
  void finish();
  /// Finishes all, then renames all; if one cannot be renamed, those before it are taken back, where the file
  /// system can exchange two names, and IoError is thrown. The set is then empty.
  void commit();

 private:
  std::vector<std::unique_ptr<OutputFile>> files_;
};

/// Writes one whole file.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
/// Throws the IoError that an OutputFile there would throw; leaves nothing.
void check_writable(const std::filesystem::path& path);

/// Removes every temporary of this process. Safe in a signal handler, after which the process must end.
void remove_temporaries() noexcept;

}  // namespace frieze
