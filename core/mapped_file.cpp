#include <frieze/core/mapped_file.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <frieze/core/error.h>

namespace frieze {

MappedFile::MappedFile(const std::filesystem::path& path) : name_(printable(path.string())) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer before it could be refused.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
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
  if (size_ == 0) return;  // an empty mapping is not allowed, nor needed
  data_ = ::mmap(nullptr, static_cast<std::size_t>(size_), PROT_READ, MAP_PRIVATE, fd_, 0);
  if (data_ == MAP_FAILED) fail("cannot be mapped: ", std::strerror(errno));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(size_));
  ::close(fd_);
}

void MappedFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  struct stat status = {};
  check<IoError>(::fstat(fd_, &status) == 0, name_, ": cannot be examined: ", std::strerror(errno));
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

}  // namespace frieze
