#pragma once
/// What this library was built from and with.
#include <string_view>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

/// Semantic version, e.g. "0.1.0"; set in one place, project() of CMakeLists.txt.
std::string_view version();
/// Abbreviated commit, or "unknown" outside a repository.
std::string_view commit();
/// CUDA toolkit of the build, e.g. "13.0.88", or "" in a CPU-only build.
std::string_view cuda_toolkit_version();
/// cuBLASLt headers of the build, e.g. "13.1.0.3", or "" in a build without. The library is loaded at run time and may be another version.
std::string_view cublas_version();
/// cuDNN headers that were found when this was configured, e.g. "9.8.0", or "". The library is loaded at run time and may be another 9.x.
std::string_view cudnn_version();
/// oneDNN that this build is linked with, e.g. "2.6.3", or "" in a build without.
std::string_view onednn_version();

}  // namespace FRIEZE_API
