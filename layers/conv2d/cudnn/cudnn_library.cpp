#include <frieze/layers/conv2d/cudnn/cudnn_library.h>

#include <array>
#include <atomic>

#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/library_file.h>

namespace frieze::cuda {
namespace {

bool load(CudnnLibrary& c, std::string& why_not) {
  void* const library = load_library({"cuDNN", "libcudnn.so.9", "FRIEZE_CUDNN_FILE", FRIEZE_CUDNN_LIBRARY, "cudnn"}, why_not);
  if (library == nullptr) return false;
  const bool whole =
      find_function(library, "cudnnGetVersion", c.version) && find_function(library, "cudnnGetErrorString", c.error_string) &&
      find_function(library, "cudnnGetLastErrorString", c.last_error) && find_function(library, "cudnnCreate", c.create) &&
      find_function(library, "cudnnDestroy", c.destroy) && find_function(library, "cudnnSetStream", c.set_stream) &&
      find_function(library, "cudnnBackendCreateDescriptor", c.create_descriptor) &&
      find_function(library, "cudnnBackendDestroyDescriptor", c.destroy_descriptor) &&
      find_function(library, "cudnnBackendFinalize", c.finalize) && find_function(library, "cudnnBackendSetAttribute", c.set_attribute) &&
      find_function(library, "cudnnBackendGetAttribute", c.get_attribute) && find_function(library, "cudnnBackendExecute", c.execute);
  if (!whole) {
    why_not = "libcudnn.so.9 lacks a function";
    return false;
  }
  const std::size_t version = c.version();
  if (version / 10000 == 9) return true;
  why_not = concat_text("version ", version, " is not of 9");
  return false;
}

}  // namespace

const CudnnLibrary* cudnn_library() {
  static std::string why_not;
  static const CudnnLibrary* const library = []() -> const CudnnLibrary* {
    static CudnnLibrary functions;
    return load(functions, why_not) ? &functions : nullptr;
  }();
  static std::atomic<bool> warned{false};  // later than the library, as a hook may ask for it
  if (library == nullptr && !warned.exchange(true)) log_warning(("cuDNN is not used: " + why_not).c_str());
  return library;
}

void check_cudnn(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> words{};
  cudnn_library()->last_error(words.data(), words.size());
  words.back() = '\0';
  throw CudaError(concat_text(what, ": ", cudnn_library()->error_string(status), ": ", words.data()));
}

CudnnHandle::~CudnnHandle() {
  if (handle_ != nullptr && cudnn_library()->destroy(handle_) != CUDNN_STATUS_SUCCESS) log_warning("a cuDNN handle could not be destroyed");
}

CudnnDescriptor::~CudnnDescriptor() {
  if (descriptor_ != nullptr && cudnn_library()->destroy_descriptor(descriptor_) != CUDNN_STATUS_SUCCESS)
    log_warning("a cuDNN descriptor could not be destroyed");
}

std::int64_t CudnnDescriptor::count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
  return get(name, type, 0, nullptr);
}

}  // namespace frieze::cuda
