#pragma once
/// The rules that keep the tree readable, as functions of a file's path and text, so that tests can break them on purpose.
#include <string>
#include <string_view>
#include <vector>

namespace frieze::test {

/// Whether a file is C++ or CUDA source by its name.
bool is_source(std::string_view path);
/// Whether a file may include CUDA headers: core/cuda, graph/cuda, layers/<name>/*.cu, layers/<name>/cuda,
/// layers/<name>/cudnn, tools' *.cu, *_cuda.cpp and *_kernels.h, and tests. Everything else is the CPU library or a header that users
/// include.
bool may_include_cuda(std::string_view path);

/// One line for each broken rule, "path:line: what is wrong"; empty if all is well.
///   core includes core alone; layers: core, layers; graph: core, graph; models: core, layers, graph, models; tools: no tests
///   layers/shared includes no other folder of layers; layers/<name>/cuda and layers/<name>/cudnn are for that layer, tools and tests
///   graph/report is for itself, tools and tests: what runs a model does not include it
///   cuDNN's headers only in layers/<name>/cudnn and tests
///   CUDA's headers, and ours that include them, only where may_include_cuda()
std::vector<std::string> include_violations(std::string_view path, std::string_view text);
/// At most 500 lines, but for results that were measured (tools/results); a header begins with #pragma once and a docstring.
std::vector<std::string> shape_violations(std::string_view path, std::string_view text);
/// No path of somebody's machine (home folders, /usr/local and /opt but for NVIDIA's, drive letters), no conflict markers, no to-do notes.
std::vector<std::string> text_violations(std::string_view path, std::string_view text);
/// Top-level entries that the design does not know.
std::vector<std::string> top_level_violations(const std::vector<std::string>& paths);

}  // namespace frieze::test
