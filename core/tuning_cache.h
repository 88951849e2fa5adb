#pragma once
/// What tuning found out, remembered: in this process, and in a file for the next one.
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace frieze {

/// Choices by machine (device, driver, versions) and key (what was tuned). Callers must validate a value and tune again if it is not one of
/// their choices: users may edit the file.
/// The file is JSON for people to read; deleting it is safe. store() locks the file's folder, reads the file again, adds its choice and
/// replaces the file in one step: several processes keep each other's choices. A file that Frieze did not write, or of a later format, is
/// left as it is, and the choices of this process stay in it. An empty file, and one of Frieze's that is damaged or too large, is written
/// anew. What is wrong costs one warning (core/warning.h). Safe to use from several threads; nothing throws but for lack of memory.
class TuningCache {
 public:
  /// An empty path: this process only.
  explicit TuningCache(std::filesystem::path file = {}) : file_(std::move(file)) {}

  std::optional<std::string> find(const std::string& machine, const std::string& key);
  void store(const std::string& machine, const std::string& key, const std::string& value);
  const std::filesystem::path& file() const { return file_; }

 private:
  using Entries = std::map<std::string, std::map<std::string, std::string>>;
  enum class State { usable, foreign };
  State merge_file();
  void write();
  void warn(const std::string& text);
  template <class Body>
  auto locked(Body&& body);

  std::filesystem::path file_;
  std::mutex mutex_;
  Entries entries_;
  std::string warning_;                         // to be given when the lock is
  std::pair<std::string, std::string> latest_;  // machine and key of the last store()
  bool loaded_ = false, warned_ = false;
};

/// Where programs that keep a cache for their user have it: $FRIEZE_TUNING_CACHE ("off" for none), else $XDG_CACHE_HOME/frieze/tuning.json,
/// else $HOME/.cache/frieze/tuning.json; the last two only if they are absolute. Empty: no file. The library does not ask this by itself:
/// see CompileOptions::tuning_cache.
std::filesystem::path default_tuning_cache_file();

/// The cache that kernels are tuned with on this thread: that of the innermost TuningCacheScope, else one that has no file. The same file
/// gives the same cache in all of the process.
TuningCache& tuning_cache();

/// While one lives, tuning_cache() on this thread is the cache of `file`; empty: the one without a file.
class TuningCacheScope {
 public:
  explicit TuningCacheScope(const std::filesystem::path& file);
  ~TuningCacheScope();
  TuningCacheScope(const TuningCacheScope&) = delete;
  TuningCacheScope& operator=(const TuningCacheScope&) = delete;

 private:
  TuningCache* before_;
};

}  // namespace frieze
