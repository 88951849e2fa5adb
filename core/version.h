#pragma once
/// What this library was built from and with.
#include <string_view>

namespace frieze {

/// Semantic version, e.g. "0.1.0"; set in one place, project() of CMakeLists.txt.
std::string_view version();
/// Abbreviated commit, or "unknown" outside a repository.
std::string_view commit();
/// CUDA toolkit of the build, e.g. "13.0.88", or "" in a CPU-only build.
std::string_view cuda_toolkit_version();

}  // namespace frieze
