// GCC 12 with AddressSanitizer is wrong about std::regex: gcc.gnu.org/PR105562.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "tree/rules.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace frieze::test {
namespace {

constexpr int kMaxLines = 500;

bool matches(std::string_view text, const char* pattern) { return std::regex_search(text.begin(), text.end(), std::regex(pattern)); }

std::string top_folder(std::string_view path) { return std::string(path.substr(0, path.find('/'))); }

// "layers/conv2d" of "layers/conv2d/cuda/conv2d_kernels.h"; empty for what lies in no folder of layers/.
std::string layer_folder(std::string_view path) {
  if (!path.starts_with("layers/")) return {};
  const std::size_t end = path.find('/', 7);
  return end == std::string_view::npos ? std::string() : std::string(path.substr(0, end));
}

// What is wrong with `path` including `header`, within the rooms of layers/ and graph/; empty if nothing is.
std::string room_violation(std::string_view path, const std::string& header) {
  const std::string from = layer_folder(path), to = layer_folder(header);
  if (from == "layers/shared" && !to.empty() && to != from) return from + " serves every layer and must not include " + header;
  if (!from.empty() && to != from && matches(header, R"(^layers/(?!shared/)[^/]+/(cuda|cudnn)/)"))
    return header + " is for " + to + " alone, not for " + from;
  if (path.starts_with("graph/") && !path.starts_with("graph/report/") && header.starts_with("graph/report/"))
    return "what runs a model must not include " + header;
  if (!path.starts_with("tests/") && matches(header, "^cudnn") && !matches(path, "^layers/[^/]+/cudnn/"))
    return header + " is for layers/<name>/cudnn alone";
  return {};
}

// Calls body(line number, line) for every line.
template <class Body>
void for_lines(std::string_view text, Body&& body) {
  std::istringstream in{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(in, line);) body(++number, line);
}

std::string at(std::string_view path, int line, const std::string& what) {
  return std::string(path) + ":" + std::to_string(line) + ": " + what;
}

}  // namespace

bool is_source(std::string_view path) { return matches(path, R"(\.(h|cuh|cpp|cu)$)"); }

bool may_include_cuda(std::string_view path) {
  return matches(
      path, R"(^(core|graph)/cuda/|^layers/[^/]+/([^/]+\.cu$|cuda/|cudnn/)|^tests/|^tools/([^/]+/)*[^/]+(\.cu|_cuda\.cpp|_kernels\.h)$)");
}

std::vector<std::string> include_violations(std::string_view path, std::string_view text) {
  static const std::map<std::string, std::set<std::string>> allowed = {
      {"core", {"core"}},
      {"layers", {"core", "layers"}},
      {"graph", {"core", "graph"}},
      {"models", {"core", "layers", "graph", "models"}},
      {"tools", {"core", "layers", "graph", "models", "tools"}},
      {"tests", {"core", "layers", "graph", "models", "tools", "tests"}},
  };
  static const std::regex include(R"re(^\s*#\s*include\s*[<"](frieze/)?([^>"]+)[>"])re");
  static const std::regex cuda_header(
      R"(^(cuda|cublas|cudnn|curand|cusparse|cusolver|nvrtc|nvml|nvtx|cub/|cute/|cutlass/|thrust/)|^(mma|cooperative_groups|vector_types|device_launch_parameters)(\.h|/))");
  static const std::regex our_cuda_header(R"(^((core|graph)/cuda/|layers/[^/]+/(cuda|cudnn)/|tools/.*_kernels\.h$|.*\.cuh$))");
  const std::string from = top_folder(path);
  std::vector<std::string> found;
  if (!is_source(path) || !allowed.contains(from)) return found;
  for_lines(text, [&](int number, const std::string& line) {
    std::smatch m;
    if (!std::regex_search(line, m, include)) return;
    const std::string header = m[2], to = top_folder(header);
    if (allowed.contains(to) && header.find('/') != std::string::npos && !allowed.at(from).contains(to)) {
      found.push_back(at(path, number, from + " must not include " + header));
    }
    if (std::string wrong = room_violation(path, header); !wrong.empty()) found.push_back(at(path, number, wrong));
    const bool ours = allowed.contains(to) && header.find('/') != std::string::npos;
    if ((ours ? std::regex_search(header, our_cuda_header) : std::regex_search(header, cuda_header)) && !may_include_cuda(path)) {
      found.push_back(at(path, number, "CUDA's " + header + " is not for CPU code and users' headers"));
    }
  });
  return found;
}

std::vector<std::string> shape_violations(std::string_view path, std::string_view text) {
  std::vector<std::string> found;
  const auto lines = std::count(text.begin(), text.end(), '\n');
  const bool measured = path.rfind("tools/results/", 0) == 0;  // what a machine wrote for programs to read
  if (lines > kMaxLines && !measured)
    found.push_back(at(path, kMaxLines + 1, std::to_string(lines) + " lines, at most 500 fit a reader's head"));
  if (matches(path, R"(\.(h|cuh)$)") && !text.starts_with("#pragma once\n///")) {
    found.push_back(at(path, 1, "a header begins with #pragma once and a docstring"));
  }
  return found;
}

std::vector<std::string> text_violations(std::string_view path, std::string_view text) {
  // [h]ome and the like match home, but not themselves here. NVIDIA's own default folders are everybody's.
  static const std::regex machine(
      R"re((^|[\s"'=:(])/(([h]ome|[r]oot|[w]ork|[U]sers|[m]nt)/|[o]pt/(?!nvidia/)|[u]sr/local/(?!cuda/))|\b[A-Z]:\\\\?Users)re");
  static const std::regex marker("^(<{7} |>{7} |={7}$)");
  static const std::regex note(R"(\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b)");
  std::vector<std::string> found;
  for_lines(text, [&](int number, const std::string& line) {
    if (std::regex_search(line, machine)) found.push_back(at(path, number, "a path of one machine: " + line));
    if (std::regex_search(line, marker)) found.push_back(at(path, number, "a conflict marker"));
    if (std::regex_search(line, note)) found.push_back(at(path, number, "an unfinished note: " + line));
  });
  return found;
}

std::vector<std::string> top_level_violations(const std::vector<std::string>& paths) {
  static const std::set<std::string> expected = {
      "core",           "layers", "graph",   "models",        "tools",     "tests", "CMakeLists.txt", "README.md", "CMakePresets.json",
      "pyproject.toml", ".ci",    "LICENSE", ".clang-format", ".gitignore"};
  std::set<std::string> unknown;
  for (const std::string& path : paths) {
    if (!expected.contains(top_folder(path))) unknown.insert(top_folder(path));
  }
  std::vector<std::string> found;
  for (const std::string& name : unknown) found.push_back(name + ": not in the design's top level");
  return found;
}

}  // namespace frieze::test
