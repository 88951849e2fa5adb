#pragma once
/// Where NVIDIA's libraries are that a program loads when it first wants them. Internal.
#include <string>
#include <vector>

namespace frieze::cuda {

struct LibraryName {
  const char* name;        ///< for people, e.g. "cuBLASLt"
  const char* soname;      ///< e.g. "libcublasLt.so.13"
  const char* variable;    ///< the environment variable that names a file, e.g. "FRIEZE_CUBLASLT_FILE"
  const char* built_with;  ///< the file of the toolkit that this was built with, or ""
  const char* package;     ///< its folder in pip's packages, e.g. "cublas" of nvidia/cublas/lib
};

/// What dlopen() is asked for, in order. If the environment variable names a file, that one only. Else: the soname alone (what is loaded
/// already, the program's RUNPATH, LD_LIBRARY_PATH, the loader's cache), the toolkit of the build, $CUDA_HOME and $CUDA_PATH, the
/// default folder of a toolkit, and pip's nvidia packages in $VIRTUAL_ENV, $CONDA_PREFIX, $HOME/.local and beside the folders of $PATH.
/// Files that do not exist are left out.
std::vector<std::string> library_places(const LibraryName& library);

/// The library, never unloaded, or nullptr; then `why_not` says in one line what was tried. Throws CudaError if the environment variable
/// names a file that cannot be loaded.
void* load_library(const LibraryName& library, std::string& why_not);

/// A function of the library; false if it lacks it.
bool find_function(void* library, const char* name, void** function);
template <class F>
bool find_function(void* library, const char* name, F& function) {
  return find_function(library, name, reinterpret_cast<void**>(&function));
}

}  // namespace frieze::cuda
