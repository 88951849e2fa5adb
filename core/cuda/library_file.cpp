#include <frieze/core/cuda/library_file.h>

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <frieze/core/error.h>

namespace frieze::cuda {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

class Places {
 public:
  explicit Places(const LibraryName& library) : library_(library) {}

  void add_file(const fs::path& file) {
    std::error_code ignored;
    if (file.is_absolute() && fs::exists(file, ignored) && std::find(found_.begin(), found_.end(), file) == found_.end())
      found_.push_back(file.string());
  }
  void add_toolkit(const fs::path& toolkit) {
    if (toolkit.empty()) return;
    for (const char* folder : {"lib64", "lib"}) add_file(toolkit / folder / library_.soname);
  }
  // "nvidia/cublas/lib" is the folder up to CUDA 12, "nvidia/cu13/lib" from 13 on.
  void add_python(const fs::path& prefix) {
    if (!prefix.is_absolute()) return;
    std::vector<fs::path> versions;
    std::error_code ignored;
    for (fs::directory_iterator at(prefix / "lib", ignored), end; !ignored && at != end; at.increment(ignored)) {
      if (at->path().filename().string().starts_with("python3")) versions.push_back(at->path());
    }
    std::sort(versions.begin(), versions.end());
    for (const fs::path& version : versions) {
      for (const char* packages : {"site-packages", "dist-packages"}) {
        const fs::path nvidia = version / packages / "nvidia";
        for (const std::string& folder : {std::string(library_.package), std::string("cu13")})
          add_file(nvidia / folder / "lib" / library_.soname);
      }
    }
  }
  std::vector<std::string> take() { return std::move(found_); }

 private:
  const LibraryName& library_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> library_places(const LibraryName& library) {
  if (const std::string named = variable(library.variable); !named.empty()) return {named};
  Places places(library);
  places.add_file(library.built_with);
  places.add_toolkit(variable("CUDA_HOME"));
  places.add_toolkit(variable("CUDA_PATH"));
  places.add_toolkit("/usr/local/cuda/");
  places.add_python(variable("VIRTUAL_ENV"));
  places.add_python(variable("CONDA_PREFIX"));
  if (const std::string home = variable("HOME"); !home.empty()) places.add_python(home + "/.local");
  std::istringstream path(variable("PATH"));
  for (std::string folder; std::getline(path, folder, ':');) places.add_python(fs::path(folder).parent_path());
  std::vector<std::string> all{library.soname};
  for (std::string& file : places.take()) all.push_back(std::move(file));
  return all;
}

void* load_library(const LibraryName& library, std::string& why_not) {
  const bool named = !variable(library.variable).empty();
  std::string tried;
  for (const std::string& place : library_places(library)) {
    if (void* handle = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* error = ::dlerror();
    tried += concat_text(tried.empty() ? "" : "; ", printable(error != nullptr ? error : place.c_str()));
  }
  why_not = concat_text(library.name, " cannot be loaded (", tried,
                        "): install it, add its folder to LD_LIBRARY_PATH, or name its file in ", library.variable);
  if (named) throw CudaError(concat_text(library.variable, " names a file that cannot be loaded as ", library.name, ": ", tried));
  return nullptr;
}

bool find_function(void* library, const char* name, void** function) {
  *function = ::dlsym(library, name);
  return *function != nullptr;
}

}  // namespace frieze::cuda
