#include "support/kernel_watch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string_view>

#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/driver.h>
#endif

namespace frieze::test {
namespace {

struct Launched {
  std::mutex mutex;
  std::set<std::string> kernels, paths;
};

Launched& launched() {
  static Launched all;
  return all;
}

class KernelList final : public ::testing::Environment {
 public:
  void TearDown() override {
    const std::lock_guard lock(launched().mutex);
    if (each_kernel_once()) std::printf("%zu kernels, on %zu paths\n", launched().kernels.size(), launched().paths.size());
    const char* folder = std::getenv("FRIEZE_RESULTS_DIR");
    if (folder == nullptr || *folder == '\0') return;
    const std::string program = std::filesystem::read_symlink("/proc/self/exe").filename().string();
    std::ofstream out(std::filesystem::path(folder) / ("kernels_" + program + ".txt"));
    for (const std::string& kernel : launched().kernels) out << kernel << '\n';
    out.close();
    if (!out) ADD_FAILURE() << "cannot write the list of kernels into " << folder;
  }
};

// GoogleTest owns and deletes it.
[[maybe_unused]] const ::testing::Environment* const kKernelList = ::testing::AddGlobalTestEnvironment(new KernelList);

}  // namespace

bool each_kernel_once() {
  static const bool once = [] {
    const char* value = std::getenv("FRIEZE_EACH_KERNEL_ONCE");
    return value != nullptr && std::string_view(value) == "1";
  }();
  return once;
}

bool is_own_kernel(const std::string& mangled) { return mangled.find("6frieze") != std::string::npos; }

void note_launched(const std::vector<std::string>& kernels) {
  const std::lock_guard lock(launched().mutex);
  launched().kernels.insert(kernels.begin(), kernels.end());
}

bool first_time(const std::vector<std::string>& kernels, const std::string& path) {
  const std::lock_guard lock(launched().mutex);
  return std::count_if(kernels.begin(), kernels.end(),
                       [&](const std::string& kernel) { return launched().paths.insert(kernel + ' ' + path).second; }) > 0;
}

#if FRIEZE_WITH_CUDA

cuda::Graph captured(cudaStream_t stream, const std::function<void()>& enqueue) {
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);
    const cuda::Graph drop(graph);
    (void)cudaGetLastError();
    throw;
  }
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  return cuda::Graph(graph);
}

std::vector<std::string> kernels_of(cudaGraph_t graph) {
  using GetParams = CUresult (*)(CUgraphNode, CUDA_KERNEL_NODE_PARAMS_v2*);
  using FuncName = CUresult (*)(const char**, CUfunction);
  using KernelName = CUresult (*)(const char**, CUkernel);
  using FunctionOf = CUresult (*)(CUfunction*, CUkernel);
  using Attribute = CUresult (*)(int*, CUfunction_attribute, CUfunction);
  static const auto get_params = cuda::driver_entry<GetParams>("cuGraphKernelNodeGetParams", 12000);
  static const auto func_name = cuda::driver_entry<FuncName>("cuFuncGetName", 12030);
  static const auto kernel_name = cuda::driver_entry<KernelName>("cuKernelGetName", 12030);
  static const auto function_of = cuda::driver_entry<FunctionOf>("cuKernelGetFunction", 12000);
  static const auto attribute = cuda::driver_entry<Attribute>("cuFuncGetAttribute", 12000);
  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &count));
  std::vector<cudaGraphNode_t> nodes(count);
  CUDA_CHECK(cudaGraphGetNodes(graph, nodes.data(), &count));
  std::vector<std::string> names;
  for (const cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    CUDA_CHECK(cudaGraphNodeGetType(node, &type));
    if (type != cudaGraphNodeTypeKernel) continue;
    CUDA_KERNEL_NODE_PARAMS_v2 params{};
    const char* name = nullptr;
    int own_shared = 0;  // besides what the launch adds
    if (get_params != nullptr && get_params(node, &params) == CUDA_SUCCESS) {
      CUfunction function = params.func;
      if (function != nullptr && func_name != nullptr) {
        (void)func_name(&name, function);
      } else if (params.kern != nullptr && kernel_name != nullptr) {
        (void)kernel_name(&name, params.kern);
        if (function_of != nullptr) (void)function_of(&function, params.kern);
      }
      if (function != nullptr && attribute != nullptr) (void)attribute(&own_shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function);
    }
    names.emplace_back(name != nullptr ? name : "unknown");
    if (params.sharedMemBytes + static_cast<unsigned>(own_shared) > 0) names.back() += " shared";
  }
  return names;
}

#endif

}  // namespace frieze::test
