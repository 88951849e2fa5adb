#include <frieze/core/tuning_cache.h>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
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

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    check<IoError>(wrote >= 0, "cannot be written: ", std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

// Replaces `target` in one step. A power cut may leave an empty file, which is ignored like any corrupt one; hence no fsync.
void replace_file(const fs::path& target, const std::string& text) {
  static std::atomic<unsigned> counter{0};
  fs::path temporary;
  int fd = -1;
  do {
    temporary = target.parent_path() / concat_text(".frieze-", ::getpid(), '-', counter++, ".tmp");
    fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EEXIST);
  check<IoError>(fd >= 0, "cannot be written: ", std::strerror(errno));
  try {
    write_all(fd, text);
    check<IoError>(::close(std::exchange(fd, -1)) == 0, "cannot be written: ", std::strerror(errno));
    check<IoError>(::rename(temporary.c_str(), target.c_str()) == 0, "cannot be renamed into place: ", std::strerror(errno));
  } catch (...) {
    if (fd >= 0) ::close(fd);
    ::unlink(temporary.c_str());
    throw;
  }
}

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
void TuningCache::merge_file() {
  std::error_code error;
  if (file_.empty() || !fs::exists(file_, error)) return;
  try {
    for (auto& [machine, choices] : parse(read_text(file_))) entries_[machine].merge(choices);
  } catch (const Error& e) {
    warn(concat_text(printable(file_.string()), " ignored: ", e.what()));
  }
}

void TuningCache::write() const {
  std::error_code error;
  const fs::path target = fs::exists(file_, error) ? fs::canonical(file_, error) : fs::absolute(file_, error);
  check<IoError>(!error, "cannot be resolved: ", error.message());
  check<IoError>(!fs::exists(target, error) || fs::is_regular_file(target, error), "cannot be written: it is not a regular file");
  fs::create_directories(target.parent_path(), error);
  check<IoError>(!error, "cannot be written: ", error.message());
  replace_file(target, text_of(entries_));
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
    merge_file();                                                                       // what other processes stored since
    if (text_of(entries_).size() > kMostBytes) entries_ = {{machine, {{key, value}}}};  // a file that grew for years starts again
    try {
      write();
      return true;
    } catch (const Error& e) {
      warn(concat_text(printable(file_.string()), ' ', e.what()));
      return false;
    }
  });
}

fs::path tuning_cache_file() {
  if (const char* own = environment("FRIEZE_TUNING_CACHE")) return std::string_view(own) == "off" ? fs::path() : fs::path(own);
  if (const char* cache = environment("XDG_CACHE_HOME"); cache != nullptr && fs::path(cache).is_absolute()) {
    return fs::path(cache) / "frieze" / "tuning.json";
  }
  if (const char* home = environment("HOME"); home != nullptr && fs::path(home).is_absolute()) {
    return fs::path(home) / ".cache" / "frieze" / "tuning.json";
  }
  return {};
}

TuningCache& tuning_cache() {
  static std::mutex mutex;
  static std::map<fs::path, std::unique_ptr<TuningCache>> caches;
  const fs::path file = tuning_cache_file();
  const std::lock_guard lock(mutex);
  std::unique_ptr<TuningCache>& cache = caches[file];
  if (cache == nullptr) cache = std::make_unique<TuningCache>(file);
  return *cache;
}

}  // namespace frieze
