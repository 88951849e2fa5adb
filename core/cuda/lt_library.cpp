#include <frieze/core/cuda/lt_library.h>

#include <atomic>

#include <frieze/core/cuda/library_file.h>
#include <frieze/core/error.h>
#include <frieze/core/warning.h>

#define FRIEZE_TEXT(x) #x
#define FRIEZE_SONAME(major) "libcublasLt.so." FRIEZE_TEXT(major)

namespace frieze::cuda {
namespace {

bool load(LtLibrary& lt, std::string& why_not) {
  constexpr LibraryName kName{"cuBLASLt", FRIEZE_SONAME(CUBLAS_VER_MAJOR), "FRIEZE_CUBLASLT_FILE", FRIEZE_CUBLASLT_LIBRARY, "cublas"};
  void* const library = load_library(kName, why_not);
  if (library == nullptr) return false;
  const bool whole =
      find_function(library, "cublasLtGetVersion", lt.version) && find_function(library, "cublasLtGetStatusString", lt.status_string) &&
      find_function(library, "cublasLtGetStatusName", lt.status_name) && find_function(library, "cublasLtCreate", lt.create) &&
      find_function(library, "cublasLtDestroy", lt.destroy) && find_function(library, "cublasLtMatmul", lt.matmul) &&
      find_function(library, "cublasLtMatmulDescCreate", lt.create_op) &&
      find_function(library, "cublasLtMatmulDescDestroy", lt.destroy_op) &&
      find_function(library, "cublasLtMatmulDescSetAttribute", lt.set_op) &&
      find_function(library, "cublasLtMatrixLayoutCreate", lt.create_layout) &&
      find_function(library, "cublasLtMatrixLayoutSetAttribute", lt.set_layout) &&
      find_function(library, "cublasLtMatrixLayoutDestroy", lt.destroy_layout) &&
      find_function(library, "cublasLtMatmulPreferenceCreate", lt.create_preference) &&
      find_function(library, "cublasLtMatmulPreferenceDestroy", lt.destroy_preference) &&
      find_function(library, "cublasLtMatmulPreferenceSetAttribute", lt.set_preference) &&
      find_function(library, "cublasLtMatmulAlgoGetHeuristic", lt.heuristic) &&
      find_function(library, "cublasLtMatmulAlgoCheck", lt.check_algorithm) &&
      find_function(library, "cublasLtMatmulAlgoConfigGetAttribute", lt.get_algorithm);
  if (!whole) why_not = concat_text(kName.soname, " lacks a function");
  if (whole && lt.version() / 10000 != CUBLAS_VER_MAJOR) {
    why_not = concat_text("version ", lt.version(), " is not of ", CUBLAS_VER_MAJOR);
    return false;
  }
  return whole;
}

}  // namespace

const LtLibrary* lt_library() {
  static std::string why_not;
  static const LtLibrary* const library = []() -> const LtLibrary* {
    static LtLibrary functions;
    return load(functions, why_not) ? &functions : nullptr;
  }();
  static std::atomic<bool> warned{false};  // later than the library, as a hook may ask for it
  if (library == nullptr && !warned.exchange(true)) warn("matrix products use own kernels, which are slower: " + why_not);
  return library;
}

}  // namespace frieze::cuda
