#pragma once
/// What tuning found out, remembered: in this process, and in a file for the next one.
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace frieze {

/// Choices by machine (device, driver, versions) and key (what was tuned). Who asks must recognise a value as one of its own choices
/// and tune again otherwise: the file is anybody's to edit.
/// The file is JSON for people to read; deleting it is safe. A file that is corrupt, foreign, too large or of another format is ignored
/// with one warning (core/warning.h) and written anew by the next store(). It is replaced in one step; of several processes that write at
/// once the last one wins. A file that cannot be written costs one warning. Safe to use from several threads; nothing throws but for lack
/// of memory.
class TuningCache {
 public:
  /// An empty path: this process only.
  explicit TuningCache(std::filesystem::path file = {}) : file_(std::move(file)) {}

  std::optional<std::string> find(const std::string& machine, const std::string& key);
  void store(const std::string& machine, const std::string& key, const std::string& value);
  const std::filesystem::path& file() const { return file_; }

 private:
  using Entries = std::map<std::string, std::map<std::string, std::string>>;
  void merge_file();
  void write() const;
  void warn(const std::string& text);
  template <class Body>
  auto locked(Body&& body);

  std::filesystem::path file_;
  std::mutex mutex_;
  Entries entries_;
  std::string warning_;  // to be given when the lock is
  bool loaded_ = false, warned_ = false;
};

/// Where the file is: $FRIEZE_TUNING_CACHE ("off" for none), else $XDG_CACHE_HOME/frieze/tuning.json, else
/// $HOME/.cache/frieze/tuning.json; the last two only if they are absolute. Empty: no file.
std::filesystem::path tuning_cache_file();

/// The process's cache for the file that the environment names now.
TuningCache& tuning_cache();

}  // namespace frieze
