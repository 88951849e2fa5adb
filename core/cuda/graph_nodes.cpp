#include <frieze/core/cuda/graph_nodes.h>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/fault.h>
#include <frieze/core/cuda/kernel.h>

namespace frieze::cuda {
namespace {

thread_local GraphNodes* recording = nullptr;

// With edge data, whose place in the signature changed with CUDA 13.
cudaError_t add_node(cudaGraphNode_t* node, cudaGraph_t graph, std::span<const cudaGraphNode_t> after, const cudaGraphEdgeData* edges,
                     cudaGraphNodeParams* params) {
#if CUDART_VERSION >= 13000
  return cudaGraphAddNode(node, graph, after.data(), edges, after.size(), params);
#else
  return cudaGraphAddNode_v2(node, graph, after.data(), edges, after.size(), params);
#endif
}

bool is_kernel(cudaGraphNode_t node) {
  cudaGraphNodeType type{};
  CUDA_CHECK(cudaGraphNodeGetType(node, &type));
  return type == cudaGraphNodeTypeKernel;
}

}  // namespace

void GraphNodes::added(cudaGraphNode_t node) {
  after_.assign(1, node);
  added_.push_back(node);
}

void GraphNodes::add_kernel(const void* kernel_function, const LaunchShape& shape, void** arguments) {
  cudaGraphNodeParams params{};
  params.type = cudaGraphNodeTypeKernel;
  params.kernel.func = const_cast<void*>(kernel_function);
  params.kernel.gridDim = shape.grid;
  params.kernel.blockDim = shape.block;
  params.kernel.sharedMemBytes = static_cast<unsigned>(shape.shared_bytes);
  params.kernel.kernelParams = arguments;
  cudaGraphEdgeData early{};
  early.type = cudaGraphDependencyTypeProgrammatic;
  early.from_port = cudaGraphKernelNodePortProgrammatic;
  const bool dependent = shape.dependent && after_.size() == 1 && is_kernel(after_.front()) && waits_on_device(kernel_function);
  cudaGraphNode_t node = nullptr;
  CUDA_CHECK_AT("cudaGraphAddNode", add_node(&node, graph_, after_, dependent ? &early : nullptr, &params));
  if (shape.cluster > 1) {
    cudaLaunchAttributeValue value{};
    value.clusterDim.x = static_cast<unsigned>(shape.cluster);
    value.clusterDim.y = value.clusterDim.z = 1;
    CUDA_CHECK(cudaGraphKernelNodeSetAttribute(node, cudaLaunchAttributeClusterDimension, &value));
  }
  added(node);
}

void GraphNodes::add_copy(void* to, const void* from, std::size_t bytes) {
  cudaGraphNode_t node = nullptr;
  CUDA_CHECK_AT("cudaGraphAddNode",
                cudaGraphAddMemcpyNode1D(&node, graph_, after_.data(), after_.size(), to, from, bytes, cudaMemcpyDeviceToDevice));
  added(node);
}

GraphNodes::Loop GraphNodes::add_loop() {
  Loop loop{};
  CUDA_CHECK_AT("cudaGraphConditionalHandleCreate",
                cudaGraphConditionalHandleCreate(&loop.condition, graph_, 1, cudaGraphCondAssignDefault));
  cudaGraphNodeParams params{};
  params.type = cudaGraphNodeTypeConditional;
  params.conditional.handle = loop.condition;
  params.conditional.type = cudaGraphCondTypeWhile;
  params.conditional.size = 1;
  cudaGraphNode_t node = nullptr;
  CUDA_CHECK_AT("cudaGraphAddNode", add_node(&node, graph_, after_, nullptr, &params));
  loop.body = params.conditional.phGraph_out[0];
  added(node);
  return loop;
}

RecordNodes::RecordNodes(GraphNodes& nodes) noexcept : before_(std::exchange(recording, &nodes)) {}
RecordNodes::~RecordNodes() { recording = before_; }

GraphNodes* recorded_nodes() noexcept { return recording; }

void enqueue_copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
  if (recording != nullptr) return recording->add_copy(to, from, bytes);
  CUDA_CHECK_AT("cudaMemcpyAsync", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}

}  // namespace frieze::cuda
