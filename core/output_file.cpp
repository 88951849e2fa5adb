#include <frieze/core/output_file.h>

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include <frieze/core/error.h>

namespace frieze {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as many as Linux follows

template <class... Parts>
[[noreturn]] void fail(const std::string& name, const Parts&... why) {
  throw IoError(concat_text(name, ": cannot be written: ", why...));
}

struct Descriptor {
  int fd = -1;
  explicit Descriptor(int fd = -1) : fd(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// A folder, held open so that it stays the same one whatever is renamed meanwhile, and a name in it that is no link.
struct Place {
  Descriptor folder;
  std::string file;
  bool exists = false;
  struct stat status = {};
};

std::string link_target(const std::string& name, int folder, const std::string& link) {
  std::array<char, PATH_MAX> text{};
  const ssize_t length = ::readlinkat(folder, link.c_str(), text.data(), text.size());
  if (length < 0) fail(name, "its link cannot be read: ", std::strerror(errno));
  return {text.data(), static_cast<std::size_t>(length)};
}

Place find_place(const fs::path& path, const std::string& name) {
  check<IoError>(!path.empty(), "the name of the output file is empty");
  Place place;
  int from = AT_FDCWD;
  fs::path at = path;
  for (int links = 0;; ++links) {
    const fs::path parent = at.has_parent_path() ? at.parent_path() : fs::path(".");
    Descriptor folder(::openat(from, parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (folder.fd < 0 && errno == ENOENT) fail(name, "No such file or directory: there is no folder ", printable(parent.string()));
    if (folder.fd < 0) fail(name, std::strerror(errno));
    place.folder = std::move(folder);
    place.file = at.filename().string();
    if (place.file.empty()) fail(name, "it is a folder");
    const int looked = ::fstatat(place.folder.fd, place.file.c_str(), &place.status, AT_SYMLINK_NOFOLLOW);
    if (looked != 0 && errno != ENOENT) fail(name, std::strerror(errno));
    place.exists = looked == 0;
    if (!place.exists || !S_ISLNK(place.status.st_mode)) break;

    // The kernel answers first: it knows circles, and links in shared folders that it does not follow for others.
    struct stat end = {};
    if (::fstatat(place.folder.fd, place.file.c_str(), &end, 0) != 0 && errno != ENOENT) {
      fail(name, errno == ELOOP ? "its links lead in a circle" : std::strerror(errno));
    }
    if (links == kMostLinks) fail(name, "its links lead in a circle");
    // A link of /proc stands for an open descriptor, and its text is no path: "pipe:[123]", "/tmp/x (deleted)".
    struct statfs system = {};
    if (::fstatfs(place.folder.fd, &system) == 0 && system.f_type == PROC_SUPER_MAGIC) {
      fail(name, "it stands for an open descriptor, and a file's own name is needed");
    }
    at = link_target(name, place.folder.fd, place.file);
    from = place.folder.fd;
  }
  if (place.exists) {
    if (S_ISDIR(place.status.st_mode)) fail(name, "it is a folder");
    if (!S_ISREG(place.status.st_mode)) fail(name, "it is a device, pipe or socket, not a regular file");
    if (::faccessat(place.folder.fd, place.file.c_str(), W_OK, AT_EACCESS) != 0) fail(name, std::strerror(errno));
  }
  return place;
}

FileId id_of(const Place& place, const std::string& name) {
  if (place.exists) return {place.status.st_dev, place.status.st_ino, {}};
  struct stat folder = {};
  if (::fstat(place.folder.fd, &folder) != 0) fail(name, std::strerror(errno));
  return {folder.st_dev, folder.st_ino, place.file};
}

// The temporaries that there are, for remove_temporaries(): a list that only grows, whose nodes are used again.
struct Temporary {
  enum : int { free, taken, live };
  std::atomic<int> state{taken};
  pid_t process = 0;  // a child that was forked owns none of them
  int folder = -1;
  std::array<char, 64> file{};
  Temporary* next = nullptr;
};
std::atomic<Temporary*> temporaries{nullptr};

Temporary& claim_temporary() {
  for (Temporary* t = temporaries.load(); t != nullptr; t = t->next) {
    int expected = Temporary::free;
    if (t->state.compare_exchange_strong(expected, Temporary::taken)) return *t;
  }
  auto* added = new Temporary;  // kept: a signal may come at any time
  added->next = temporaries.load();
  while (!temporaries.compare_exchange_weak(added->next, added)) {
  }
  return *added;
}

}  // namespace

struct OutputFile::State {
  std::string name;
  Place place;
  Descriptor file;
  Temporary* temporary = nullptr;

  ~State() {
    if (temporary == nullptr) return;
    if (temporary->state == Temporary::live) ::unlinkat(place.folder.fd, temporary->file.data(), 0);
    temporary->state = Temporary::free;
  }
  const char* temporary_name() const { return temporary->file.data(); }
  void forget_temporary() { std::exchange(temporary, nullptr)->state = Temporary::free; }
};

OutputFile::OutputFile(const fs::path& path) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.name = printable(path.string());
  s.place = find_place(path, s.name);
  s.temporary = &claim_temporary();
  s.temporary->process = ::getpid();
  s.temporary->folder = s.place.folder.fd;
  static std::atomic<unsigned> counter{0};
  do {
    const std::string file = concat_text(".frieze-", ::getpid(), '-', counter++, ".tmp");  // short, however long the file's own name is
    std::copy_n(file.c_str(), file.size() + 1, s.temporary->file.data());
    // Live before it exists, so that no signal falls between: removing what is not there does no harm.
    struct stat taken = {};
    if (::fstatat(s.place.folder.fd, file.c_str(), &taken, AT_SYMLINK_NOFOLLOW) == 0) {
      errno = EEXIST;
      continue;
    }
    s.temporary->state = Temporary::live;
    s.file = Descriptor(::openat(s.place.folder.fd, file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (s.file.fd < 0) s.temporary->state = Temporary::taken;
  } while (s.file.fd < 0 && errno == EEXIST);
  if (s.file.fd < 0) fail(s.name, std::strerror(errno));
  if (s.place.exists) {  // as the file that it replaces; no promise where the file system has no owners or modes
    struct stat made = {};
    const struct stat& old = s.place.status;
    if (::fstat(s.file.fd, &made) == 0 && (made.st_uid != old.st_uid || made.st_gid != old.st_gid)) {
      if (::fchown(s.file.fd, old.st_uid, old.st_gid) != 0) (void)!::fchown(s.file.fd, static_cast<uid_t>(-1), old.st_gid);
    }
    (void)!::fchmod(s.file.fd, old.st_mode & 0777);
  }
}

OutputFile::OutputFile(OutputFile&& other) noexcept = default;
OutputFile::~OutputFile() = default;
const std::string& OutputFile::name() const { return state_->name; }

void OutputFile::write(std::span<const std::byte> bytes) {
  constexpr std::size_t kChunk = std::size_t{1} << 30;  // Linux moves at most 2 GiB a call
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(state_->file.fd, bytes.data(), std::min(bytes.size(), kChunk));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) fail(state_->name, std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
}

void OutputFile::finish() {
  if (state_->file.fd < 0) return;
  if (::fsync(state_->file.fd) != 0) fail(state_->name, std::strerror(errno));
  if (::close(std::exchange(state_->file.fd, -1)) != 0) fail(state_->name, std::strerror(errno));
}

namespace {

// The rename is on the disk once its folder is. The file is complete either way, so a refusal is no error.
void flush_folder(int folder) {
  const Descriptor readable(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (readable.fd >= 0) ::fsync(readable.fd);
}

}  // namespace

void OutputFile::commit() {
  finish();
  State& s = *state_;
  const int folder = s.place.folder.fd;
  if (::renameat(folder, s.temporary_name(), folder, s.place.file.c_str()) != 0) fail(s.name, std::strerror(errno));
  s.forget_temporary();
  flush_folder(folder);
}

OutputFile& OutputSet::open(const fs::path& path) {
  auto file = std::make_unique<OutputFile>(path);
  const FileId id = id_of(file->state_->place, file->name());
  for (const auto& other : files_) {
    check<IoError>(id != id_of(other->state_->place, other->name()), file->name(), ": cannot be written: it is the same file as ",
                   other->name());
  }
  files_.push_back(std::move(file));
  return *files_.back();
}

void OutputSet::finish() {
  for (const auto& file : files_) file->finish();
}

void OutputSet::commit() {
  finish();
  const std::vector<std::unique_ptr<OutputFile>> files = std::exchange(files_, {});
  if (files.size() == 1) return files.front()->commit();
  // Exchanged, an old file lies under the temporary's name until all are in place, and can go back.
  std::vector<OutputFile::State*> placed;
  const auto swap = [](const OutputFile::State& s, unsigned flags) {
    const int folder = s.place.folder.fd;
    return ::renameat2(folder, s.temporary_name(), folder, s.place.file.c_str(), flags) == 0;
  };
  for (const auto& file : files) {
    OutputFile::State& s = *file->state_;
    bool ok = s.place.exists && swap(s, RENAME_EXCHANGE);
    if (!ok && s.place.exists && (errno == EINVAL || errno == ENOSYS || errno == ENOENT))
      ok = swap(s, 0);  // no exchange here, or none left
    if (!ok && !s.place.exists) ok = swap(s, 0);
    if (ok) {
      placed.push_back(&s);
      continue;
    }
    const std::string why = std::strerror(errno);
    for (OutputFile::State* before : placed) {
      if (!before->place.exists) ::unlinkat(before->place.folder.fd, before->place.file.c_str(), 0);
      if (before->place.exists) (void)!swap(*before, 0);
    }
    fail(s.name, why);
  }
  for (const OutputFile::State* s : placed) flush_folder(s->place.folder.fd);
}  // the temporaries, which hold the old files now, go with their OutputFiles

FileId output_id(const fs::path& path) {
  const std::string name = printable(path.string());
  return id_of(find_place(path, name), name);
}

void write_file(const fs::path& path, std::span<const std::byte> bytes) {
  OutputFile file(path);
  file.write(bytes);
  file.commit();
}

void check_writable(const fs::path& path) { const OutputFile file(path); }

void remove_temporaries() noexcept {
  const int error = errno;
  for (const Temporary* t = temporaries.load(); t != nullptr; t = t->next) {
    if (t->state == Temporary::live && t->process == ::getpid()) ::unlinkat(t->folder, t->file.data(), 0);
  }
  errno = error;
}

}  // namespace frieze
