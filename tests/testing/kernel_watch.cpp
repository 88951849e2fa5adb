#include "testing/kernel_watch.h"

#include <algorithm>
#include <cstdlib>
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

}  // namespace

bool each_kernel_once() {
  static const bool once = [] {
    const char* value = std::getenv("FRIEZE_EACH_KERNEL_ONCE");
    return value != nullptr && std::string_view(value) == "1";
  }();
  return once;
}

std::vector<std::string> launched_kernels() {
  const std::lock_guard lock(launched().mutex);
  return {launched().kernels.begin(), launched().kernels.end()};
}

std::size_t launched_paths() {
  const std::lock_guard lock(launched().mutex);
  return launched().paths.size();
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
