/// Names and launch shapes of captured nodes, for the receipt. Library kernels are known to the driver only, so the driver
/// is asked, through entry points that the runtime finds: nothing links against libcuda.
#include <cxxabi.h>

#include <cstdlib>
#include <memory>

#include <frieze/core/cuda/driver.h>
#include <frieze/graph/cuda/capture.h>

namespace frieze::cuda {
namespace {

std::string readable(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> plain(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  std::string name = status == 0 ? plain.get() : mangled;
  // "void frieze::cuda::(anonymous namespace)::kernel<float>(float const*, …)" -> "kernel<float>"
  const std::string anonymous = "(anonymous namespace)::";
  for (std::size_t at; (at = name.find(anonymous)) != std::string::npos;) name.erase(at, anonymous.size());
  const std::size_t parameters = name.find('(');
  if (parameters != std::string::npos) name.resize(parameters);
  if (name.rfind("void ", 0) == 0) name.erase(0, 5);
  const std::string scope = "frieze::cuda::";
  for (std::size_t at; (at = name.find(scope)) != std::string::npos;) name.erase(at, scope.size());
  return name;
}

void describe_kernel(cudaGraphNode_t node, ReceiptNode& out) {
  using GetParams = CUresult (*)(CUgraphNode, CUDA_KERNEL_NODE_PARAMS_v2*);
  using FuncName = CUresult (*)(const char**, CUfunction);
  using KernelName = CUresult (*)(const char**, CUkernel);
  using FunctionOf = CUresult (*)(CUfunction*, CUkernel);
  using Attribute = CUresult (*)(int*, CUfunction_attribute, CUfunction);
  static const auto function_of = driver_entry<FunctionOf>("cuKernelGetFunction", 12000);
  static const auto attribute = driver_entry<Attribute>("cuFuncGetAttribute", 12000);
  static const auto get_params = driver_entry<GetParams>("cuGraphKernelNodeGetParams", 12000);
  static const auto func_name = driver_entry<FuncName>("cuFuncGetName", 12030);
  static const auto kernel_name = driver_entry<KernelName>("cuKernelGetName", 12030);
  CUDA_KERNEL_NODE_PARAMS_v2 params{};
  if (get_params == nullptr || get_params(node, &params) != CUDA_SUCCESS) return;
  const unsigned grid[] = {params.gridDimX, params.gridDimY, params.gridDimZ},
                 block[] = {params.blockDimX, params.blockDimY, params.blockDimZ};
  for (int i = 0; i < 3; ++i) {
    out.grid[i] = grid[i];
    out.block[i] = block[i];
  }
  out.shared_bytes = params.sharedMemBytes;
  CUfunction function = params.func;
  if (function == nullptr && params.kern != nullptr && function_of != nullptr) (void)function_of(&function, params.kern);
  int value = 0;
  if (function != nullptr && attribute != nullptr) {
    if (attribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, function) == CUDA_SUCCESS) out.registers = value;
    if (attribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function) == CUDA_SUCCESS) out.shared_bytes += static_cast<unsigned>(value);
  }
  const char* name = nullptr;
  if (params.func != nullptr && func_name != nullptr && func_name(&name, params.func) == CUDA_SUCCESS)
    out.function = readable(name);
  else if (params.kern != nullptr && kernel_name != nullptr && kernel_name(&name, params.kern) == CUDA_SUCCESS)
    out.function = readable(name);
}

}  // namespace

std::vector<ReceiptNode> describe_nodes(const std::string& path, const std::vector<cudaGraphNode_t>& nodes) {
  std::vector<ReceiptNode> out;
  for (const cudaGraphNode_t node : nodes) {
    ReceiptNode info;
    info.path = path;
    cudaGraphNodeType type{};
    if (cudaGraphNodeGetType(node, &type) != cudaSuccess) (void)cudaGetLastError();
    info.kind = type == cudaGraphNodeTypeMemset        ? "memset"
                : type == cudaGraphNodeTypeMemcpy      ? "memcpy"
                : type == cudaGraphNodeTypeConditional ? "loop"
                                                       : "kernel";
    if (type == cudaGraphNodeTypeKernel) describe_kernel(node, info);
    out.push_back(std::move(info));
  }
  return out;
}

}  // namespace frieze::cuda
