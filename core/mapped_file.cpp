#include <frieze/core/mapped_file.h>

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include <frieze/core/error.h>

namespace frieze {

MappedFile::MappedFile(const std::filesystem::path& path) : file_(path) {
  if (size() == 0) return;  // an empty mapping is not allowed, nor needed
  data_ = ::mmap(nullptr, static_cast<std::size_t>(size()), PROT_READ, MAP_PRIVATE, file_.descriptor(), 0);
  check<IoError>(data_ != MAP_FAILED, name(), ": cannot be mapped: ", std::strerror(errno));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(size()));
}

}  // namespace frieze
