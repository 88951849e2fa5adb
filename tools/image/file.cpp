#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <frieze/core/error.h>

#include "tools/image/image.h"

namespace frieze::tools {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* action, int error) {
  throw IoError(concat_text(path.string(), ": cannot ", action, ": ", std::strerror(error)));
}

// Closes, and on the way out of a failure also removes what was begun.
struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Where the bytes go in the end: what a link points to, so that writing to it does not replace the link.
fs::path destination(const fs::path& path) {
  check<IoError>(!path.empty(), "the name of the output file is empty");
  std::error_code error;
  fs::path target = path;
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    const fs::path resolved = fs::weakly_canonical(path, error);
    if (!error && !resolved.empty()) target = resolved;
  }
  const fs::file_status status = fs::status(target, error);
  check<IoError>(!fs::is_directory(status), path.string(), ": cannot write: it is a folder");
  check<IoError>(!fs::exists(status) || fs::is_regular_file(status), path.string(), ": cannot write: it is not a regular file");
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  check<IoError>(fs::is_directory(folder, error), path.string(), ": cannot write: there is no folder ", folder.string());
  return target;
}

// A new file beside `target`, made by mkostemp so that no two runs share one.
std::string make_temporary(const fs::path& path, const fs::path& target, Descriptor& file) {
  std::string name = target.string() + ".XXXXXX.tmp";
  file.fd = ::mkostemps(name.data(), 4, O_CLOEXEC);
  if (file.fd < 0) fail(path, "write", errno);
  return name;
}

}  // namespace

void write_file(const fs::path& path, std::span<const std::byte> bytes) {
  const fs::path target = destination(path);
  Descriptor file;
  const std::string temporary = make_temporary(path, target, file);
  const auto give_up = [&](int error) {
    ::unlink(temporary.c_str());
    fail(path, "write", error);
  };
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t wrote = ::write(file.fd, bytes.data() + done, bytes.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) give_up(errno);
    done += static_cast<std::size_t>(wrote);
  }
  // mkostemp makes private files: give this one what open() would have given, or what the file it replaces had.
  struct stat old {};
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const mode_t mode = ::stat(target.c_str(), &old) == 0 ? (old.st_mode & 07777) : (0666 & ~mask);
  if (::fchmod(file.fd, mode) != 0 || ::fsync(file.fd) != 0) give_up(errno);
  if (::close(std::exchange(file.fd, -1)) != 0) give_up(errno);
  if (::rename(temporary.c_str(), target.c_str()) != 0) give_up(errno);
}

void check_writable(const fs::path& path) {
  const fs::path target = destination(path);
  Descriptor file;
  ::unlink(make_temporary(path, target, file).c_str());
}

}  // namespace frieze::tools
