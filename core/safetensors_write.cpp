#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include <frieze/core/error.h>
#include <frieze/core/safetensors.h>
#include <frieze/core/weights.h>

namespace frieze {
namespace {

namespace fs = std::filesystem;
using Item = const std::pair<const std::string, HostTensor>*;

// A file being written. Until commit() it is a temporary beside the target, removed by the destructor; a target that is a
// device or a pipe is written to as it is.
class OutputFile {
 public:
  explicit OutputFile(const fs::path& path) : name_(printable(path.string())) {
    std::error_code error;
    target_ = path;
    if (fs::is_symlink(path, error)) {
      target_ = fs::weakly_canonical(path, error);  // replaces the file, not the link to it
      if (error) fail("cannot be resolved: ", error.message());
    }
    struct stat status = {};
    const bool exists = ::stat(target_.c_str(), &status) == 0;
    if (exists && S_ISDIR(status.st_mode)) fail("cannot be written: it is a folder");
    in_place_ = exists && !S_ISREG(status.st_mode);
    if (in_place_) {
      fd_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
    } else {
      static std::atomic<unsigned> counter{0};
      do {
        temporary_ = target_.parent_path() / concat_text(".frieze-", ::getpid(), '-', counter++, ".tmp");
        fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      } while (fd_ < 0 && errno == EEXIST);
      if (fd_ >= 0 && exists) (void)!::fchmod(fd_, status.st_mode & 0777);  // as the file that it replaces; no promise
    }
    if (fd_ < 0) {
      temporary_.clear();  // not ours
      fail("cannot be written: ", std::strerror(errno));
    }
  }
  ~OutputFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes) {
    constexpr std::size_t kChunk = std::size_t{1} << 30;
    while (!bytes.empty()) {
      const ssize_t wrote = ::write(fd_, bytes.data(), std::min(bytes.size(), kChunk));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) fail("cannot be written: ", std::strerror(errno));
      bytes = bytes.subspan(static_cast<std::size_t>(wrote));
    }
  }

  void commit() {
    // A device or pipe has nothing to flush, and says EINVAL.
    if (::fsync(fd_) != 0 && !(in_place_ && (errno == EINVAL || errno == EROFS))) fail("cannot be written: ", std::strerror(errno));
    if (::close(std::exchange(fd_, -1)) != 0) fail("cannot be written: ", std::strerror(errno));
    if (in_place_) return;
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot be renamed into place: ", std::strerror(errno));
    temporary_.clear();
    // The rename itself is on the disk once the folder is. The file is complete either way, so a refusal is no error.
    const fs::path folder = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    const int folder_fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) return;
    ::fsync(folder_fd);
    ::close(folder_fd);
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw IoError(concat_text(name_, ": ", parts...));
  }

  std::string name_;
  fs::path target_, temporary_;
  bool in_place_ = false;
  int fd_ = -1;
};

std::string quoted(const std::string& text, const std::string& file) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw WeightsError(concat_text(file, ": '", printable(text, 80), "' is not UTF-8, which a safetensors header must be"));
  }
}

std::string_view file_dtype(DType t) { return t == DType::f32 ? "F32" : t == DType::f16 ? "F16" : "BF16"; }

// The header, padded with spaces so that the data begins at a multiple of 8 bytes.
std::string header_text(const std::vector<Item>& order, const std::map<std::string, std::string>& metadata, const std::string& file) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += R"("__metadata__":{)";
    for (const auto& [key, value] : metadata) text += quoted(key, file) + ":" + quoted(value, file) + ",";
    text.back() = '}';
    text += ',';
  }
  std::int64_t offset = 0;
  for (const Item item : order) {
    const auto& [name, tensor] = *item;
    check<WeightsError>(name != "__metadata__" && name.size() <= kMaxTensorName, file, ": '", printable(name, 80),
                        "' cannot be a tensor's name: reserved, or longer than ", kMaxTensorName, " bytes");
    const TensorSpec& spec = tensor.spec();
    check<WeightsError>(static_cast<std::int64_t>(tensor.bytes()) == spec.bytes(), file, ": tensor '", printable(name), "' holds no data");
    const std::int64_t end = checked_add(offset, spec.bytes(), "file size");
    text += concat_text(quoted(name, file), R"(:{"dtype":")", file_dtype(spec.dtype), R"(","shape":)", spec.shape, R"(,"data_offsets":[)",
                        offset, ',', end, "]},");
    offset = end;
  }
  if (text.size() > 1) text.pop_back();
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check<WeightsError>(text.size() <= kMaxHeaderBytes && order.size() <= kMaxTensors, file, ": a header of ", text.size(), " bytes for ",
                      order.size(), " tensors, expected at most ", kMaxHeaderBytes, " for ", kMaxTensors);
  return text;
}

}  // namespace

void save_safetensors(const fs::path& path, const std::map<std::string, HostTensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<Item> order;
  order.reserve(tensors.size());
  for (const auto& item : tensors) order.push_back(&item);
  // Wide elements first: with no gaps between them, all are aligned.
  std::stable_sort(order.begin(), order.end(),
                   [](Item a, Item b) { return size_of(a->second.spec().dtype) > size_of(b->second.spec().dtype); });
  const std::string header = header_text(order, metadata, printable(path.string()));
  const std::uint64_t length = header.size();

  OutputFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const Item item : order) {
    const HostTensor& tensor = item->second;
    const auto write = [&](const HostTensor& t) { file.write({static_cast<const std::byte*>(t.data()), t.bytes()}); };
    if (tensor.spec().format == Format::nchw || same_layout(tensor.spec().shape)) {
      write(tensor);
    } else {
      write(tensor.converted(tensor.spec().dtype, Format::nchw));
    }
  }
  file.commit();
}

}  // namespace frieze
