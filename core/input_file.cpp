#include <frieze/core/input_file.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <frieze/core/error.h>

namespace frieze {

InputFile::InputFile(const std::filesystem::path& path) : name_(printable(path.string())) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer before it could be refused.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd_ < 0) throw IoError(concat_text(name_, ": cannot be opened: ", std::strerror(errno)));
  const auto fail = [&](const auto&... why) {
    const std::string message = concat_text(name_, ": ", why...);
    ::close(fd_);
    throw IoError(message);
  };
  struct stat status = {};
  if (::fstat(fd_, &status) != 0) fail("cannot be examined: ", std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail("expected a regular file, got ", S_ISDIR(status.st_mode) ? "a folder" : "a device, pipe or socket");
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(fd_); }

void InputFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  struct stat status = {};
  if (::fstat(fd_, &status) != 0) throw IoError(concat_text(name_, ": cannot be examined: ", std::strerror(errno)));
  check<IoError>(static_cast<std::uint64_t>(status.st_size) == size_, name_, ": changed size while in use, from ", size_, " to ",
                 status.st_size, " bytes");
  constexpr std::size_t kChunk = std::size_t{1} << 30;  // Linux moves at most 2 GiB a call
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), std::min(out.size(), kChunk), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    check<IoError>(got >= 0, name_, ": cannot be read: ", std::strerror(errno));
    check<IoError>(got > 0, name_, ": ended at byte ", offset, " while ", out.size(), " more bytes were expected");
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t limit) {
  const InputFile file(path);
  check<IoError>(file.size() <= limit, file.name(), ": longer than the ", limit, " bytes that are accepted");
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size()));
  file.read(0, bytes);
  return bytes;
}

}  // namespace frieze
