#include <frieze/core/tuning_cache.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include <nlohmann/json.hpp>

#include <frieze/core/error.h>
#include <frieze/core/mapped_file.h>
#include <frieze/core/output_file.h>
#include <frieze/core/warning.h>

namespace frieze {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Entries = std::map<std::string, std::map<std::string, std::string>>;

constexpr int kFormat = 1;
constexpr int kDeepest = 3;  // the file, its machines, one machine
constexpr std::size_t kMostBytes = std::size_t{4} << 20;
constexpr const char* kAbout = "Kernel configurations that Frieze found fastest. Safe to delete.";

std::string read_text(const fs::path& path) {
  const MappedFile file(path);
  check<IoError>(file.size() <= kMostBytes, "has ", file.size(), " bytes, expected at most ", kMostBytes);
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

// A file of a Frieze to come, whose choices must not be lost.
class LaterFormat : public IoError {
  using IoError::IoError;
};

// Strictly what write() makes. Throws IoError.
Entries parse(const std::string& text) {
  json root;
  try {
    root = json::parse(text, [](int depth, json::parse_event_t, const json&) {
      check<IoError>(depth <= kDeepest, "is nested too deeply");
      return true;
    });
  } catch (const json::exception&) {
    throw IoError("is not JSON");
  }
  check<IoError>(root.is_object() && root.contains("format") && root["format"].is_number_integer() && root.contains("machines"),
                 "is not a file of Frieze's");
  check<LaterFormat>(root["format"] <= kFormat, "is of format ", root["format"].dump(), ", expected ", kFormat);
  check<IoError>(root["format"] == kFormat, "is of format ", root["format"].dump(), ", expected ", kFormat);
  check<IoError>(root["machines"].is_object(), "has no list of machines");
  Entries entries;
  for (const auto& [machine, choices] : root["machines"].items()) {
    check<IoError>(choices.is_object(), "has a machine without choices");
    for (const auto& [key, value] : choices.items()) {
      check<IoError>(value.is_string(), "has a choice that is no text");
      entries[machine][key] = value.get<std::string>();
    }
  }
  return entries;
}

std::string text_of(const Entries& entries) {
  const json root = {{"about", kAbout}, {"format", kFormat}, {"machines", entries}};
  return root.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
}

// What every file begins with that text_of() makes: the mark by which a damaged one is known as Frieze's own.
std::string mark() { return concat_text("{\n  \"about\": \"", kAbout, '"'); }

// Held while a process reads, merges and replaces the file. The lock is on the folder, so that no lock file lies beside it.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    check<IoError>(fd_ >= 0, "cannot be written: ", std::strerror(errno));
    constexpr int kTries = 1000, kWaitUs = 10'000;  // ten seconds: a process that was stopped must not stop all others
    for (int i = 0; ::flock(fd_, LOCK_EX | LOCK_NB) != 0; ++i) {
      const int error = errno;
      if ((error == EWOULDBLOCK || error == EINTR) && i < kTries) {
        ::usleep(kWaitUs);
        continue;
      }
      ::close(fd_);
      throw IoError(concat_text("cannot be locked: ", std::strerror(error)));
    }
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

}  // namespace

void TuningCache::warn(const std::string& text) {
  if (!std::exchange(warned_, true)) warning_ = "tuning cache " + text;
}

// A hook may use this very cache: it is called without the lock.
template <class Body>
auto TuningCache::locked(Body&& body) {
  std::unique_lock lock(mutex_);
  auto result = body();
  const std::string warning = std::exchange(warning_, {});
  lock.unlock();
  if (!warning.empty()) frieze::warn(warning);
  return result;
}

// Adds what the file knows and this process does not.
TuningCache::State TuningCache::merge_file() {
  std::error_code error;
  if (file_.empty() || !fs::exists(file_, error)) return State::usable;
  std::string begin;
  try {
    const MappedFile file(file_);
    if (file.size() == 0) return State::usable;
    begin.resize(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), mark().size())));
    file.read(0, std::as_writable_bytes(std::span(begin)));
    for (auto& [machine, choices] : parse(read_text(file_))) entries_[machine].merge(choices);
    return State::usable;
  } catch (const LaterFormat& e) {
    warn(concat_text(printable(file_.string()), " left as it is: ", e.what()));
    return State::foreign;
  } catch (const Error& e) {
    const bool own = mark().starts_with(begin) && begin.size() > 2;
    warn(concat_text(printable(file_.string()), own ? " ignored: " : " left as it is: ", e.what()));
    return own ? State::usable : State::foreign;
  }
}

// Under the lock: what other processes stored since is read, and nothing of it is lost.
void TuningCache::write() {
  std::error_code error;
  const fs::path folder = file_.has_parent_path() ? file_.parent_path() : fs::path(".");
  fs::create_directories(folder, error);
  check<IoError>(!error, "cannot be written: ", error.message());
  OutputFile file(file_);  // which follows links: the lock belongs to the folder where the file lies in the end
  const fs::path target = fs::weakly_canonical(file_, error);
  const FolderLock lock(error || !target.has_parent_path() ? folder : target.parent_path());
  if (merge_file() == State::foreign) return;
  std::string text = text_of(entries_);
  if (text.size() > kMostBytes) {  // a file that grew for years starts again, with the latest choice
    entries_ = {{latest_.first, {{latest_.second, entries_[latest_.first][latest_.second]}}}};
    text = text_of(entries_);
  }
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

std::optional<std::string> TuningCache::find(const std::string& machine, const std::string& key) {
  return locked([&]() -> std::optional<std::string> {
    if (!std::exchange(loaded_, true)) merge_file();
    const auto choices = entries_.find(machine);
    if (choices == entries_.end()) return std::nullopt;
    const auto found = choices->second.find(key);
    return found != choices->second.end() ? std::optional(found->second) : std::nullopt;
  });
}

void TuningCache::store(const std::string& machine, const std::string& key, const std::string& value) {
  (void)locked([&] {
    entries_[machine][key] = value;
    if (file_.empty()) return false;
    loaded_ = true;
    latest_ = {machine, key};
    try {
      write();
      return true;
    } catch (const Error& e) {
      warn(concat_text(printable(file_.string()), ' ', e.what()));
      return false;
    }
  });
}

fs::path default_tuning_cache_file() {
  if (const char* own = environment("FRIEZE_TUNING_CACHE")) return std::string_view(own) == "off" ? fs::path() : fs::path(own);
  if (const char* cache = environment("XDG_CACHE_HOME"); cache != nullptr && fs::path(cache).is_absolute()) {
    return fs::path(cache) / "frieze" / "tuning.json";
  }
  if (const char* home = environment("HOME"); home != nullptr && fs::path(home).is_absolute()) {
    return fs::path(home) / ".cache" / "frieze" / "tuning.json";
  }
  return {};
}

namespace {

TuningCache& cache_of(const fs::path& file) {
  static std::mutex mutex;
  static std::map<fs::path, std::unique_ptr<TuningCache>> caches;
  const std::lock_guard lock(mutex);
  std::unique_ptr<TuningCache>& cache = caches[file];
  if (cache == nullptr) cache = std::make_unique<TuningCache>(file);
  return *cache;
}

thread_local TuningCache* current = nullptr;

}  // namespace

TuningCache& tuning_cache() { return current != nullptr ? *current : cache_of({}); }

// Absolute, so that the file stays the same one when the process changes its folder.
TuningCacheScope::TuningCacheScope(const fs::path& file)
    : before_(std::exchange(current, &cache_of(file.empty() ? file : fs::absolute(file)))) {}
TuningCacheScope::~TuningCacheScope() { current = before_; }

}  // namespace frieze
