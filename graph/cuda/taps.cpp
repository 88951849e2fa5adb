#include <frieze/graph/cuda/taps.h>

#include <algorithm>
#include <cstring>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/driver.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/graph/cuda/strided_copy.h>

namespace frieze::cuda {

Taps::Taps(const std::vector<Tapped>& tapped, cudaStream_t stream) {
  for (const Tapped& what : tapped) {
    const auto made =
        taps_.emplace(what.target, Tap{what.from, what.spec, DeviceBuffer(static_cast<std::size_t>(what.spec.bytes()))}).first;
    if (what.target.loop < 0) {
      of_step_[what.step].push_back(what.target);
    } else {
      of_loop_[what.step].push_back({what.target.value, what.target.iteration, TensorView(made->second.memory.data(), what.spec)});
    }
  }
  preload_strided_copy();
  poison(stream);
}

void Taps::capture(const CaptureSource& source, cudaStream_t stream) {
  // The copy stands in the chain, not beside it: what comes next may overwrite the arena's bytes that it reads.
  const CaptureSource tapped{source.steps,
                             [&](std::size_t i, cudaStream_t s) {
                               source.enqueue(i, s);
                               enqueue(i, s);
                             },
                             source.path, source.builds_nodes};
  CapturedGraph fresh = capture_steps(stream, tapped);
  exec_ = instantiate(fresh, stream, tapped).exec;
  captured_ = std::move(fresh);
}

void Taps::moved(const std::function<TensorView(int)>& from) {
  for (auto& [target, tap] : taps_) {
    if (target.loop < 0) tap.from = from(target.value);
  }
}

std::span<const BodyTap> Taps::inside(std::size_t step) const {
  const auto found = of_loop_.find(step);
  return found == of_loop_.end() ? std::span<const BodyTap>() : found->second;
}

std::size_t Taps::copies_behind(std::size_t step) const {
  const auto found = of_step_.find(step);
  return found == of_step_.end() ? 0 : found->second.size();
}

void Taps::enqueue(std::size_t step, cudaStream_t stream) const {
  const auto found = of_step_.find(step);
  if (found == of_step_.end()) return;
  for (const TapTarget& target : found->second) {
    const Tap& tap = taps_.at(target);
    if (tap.from.is_contiguous(tap.spec.format)) {
      enqueue_copy(tap.memory.data(), tap.from.data, tap.memory.bytes(), stream);
    } else {
      launch_strided_copy(tap.from, TensorView(tap.memory.data(), tap.spec), stream);
    }
  }
}

void Taps::poison(cudaStream_t stream) const {
  for (const auto& [target, tap] : taps_) CUDA_CHECK(cudaMemsetAsync(tap.memory.data(), 0xFF, tap.memory.bytes(), stream));
}

bool KernelFacts::same_launch(const KernelFacts& other) const {
  return function == other.function && std::equal(grid, grid + 3, other.grid) && std::equal(block, block + 3, other.block) &&
         shared_bytes == other.shared_bytes;
}

KernelFacts kernel_facts(cudaGraphNode_t node) {
  using GetParams = CUresult (*)(CUgraphNode, CUDA_KERNEL_NODE_PARAMS_v2*);
  using FuncParam = CUresult (*)(CUfunction, std::size_t, std::size_t*, std::size_t*);
  using KernelParam = CUresult (*)(CUkernel, std::size_t, std::size_t*, std::size_t*);
  static const auto get_params = driver_entry<GetParams>("cuGraphKernelNodeGetParams", 12000);
  static const auto func_param = driver_entry<FuncParam>("cuFuncGetParamInfo", 12040);
  static const auto kernel_param = driver_entry<KernelParam>("cuKernelGetParamInfo", 12040);
  CUDA_KERNEL_NODE_PARAMS_v2 params{};
  check<CudaError>(get_params != nullptr && get_params(node, &params) == CUDA_SUCCESS, "the driver does not tell what a kernel node is");
  KernelFacts facts;
  facts.function = params.func != nullptr ? static_cast<const void*>(params.func) : static_cast<const void*>(params.kern);
  const unsigned grid[] = {params.gridDimX, params.gridDimY, params.gridDimZ},
                 block[] = {params.blockDimX, params.blockDimY, params.blockDimZ};
  std::copy(grid, grid + 3, facts.grid);
  std::copy(block, block + 3, facts.block);
  facts.shared_bytes = params.sharedMemBytes;
  if (params.kernelParams == nullptr) return facts;
  for (std::size_t i = 0;; ++i) {
    std::size_t offset = 0, bytes = 0;
    const bool func = params.func != nullptr;
    if (func ? func_param == nullptr : kernel_param == nullptr) break;
    if ((func ? func_param(params.func, i, &offset, &bytes) : kernel_param(params.kern, i, &offset, &bytes)) != CUDA_SUCCESS) break;
    const auto* from = static_cast<const std::byte*>(params.kernelParams[i]);
    facts.parameters.insert(facts.parameters.end(), from, from + bytes);
  }
  return facts;
}

namespace {

bool same_node(cudaGraphNode_t a, cudaGraphNode_t b) {
  cudaGraphNodeType of_a{}, of_b{};
  CUDA_CHECK(cudaGraphNodeGetType(a, &of_a));
  CUDA_CHECK(cudaGraphNodeGetType(b, &of_b));
  return of_a == of_b && (of_a != cudaGraphNodeTypeKernel || kernel_facts(a).same_launch(kernel_facts(b)));
}

bool is_loop(cudaGraphNode_t node) {
  cudaGraphNodeType type{};
  CUDA_CHECK(cudaGraphNodeGetType(node, &type));
  return type == cudaGraphNodeTypeConditional;
}

}  // namespace

void check_only_copies_added(const CapturedGraph& production, const Taps& taps, const CaptureSource& source) {
  const CapturedGraph& tapped = taps.graph();
  for (std::size_t i = 0; i < production.nodes.size(); ++i) {
    const auto &before = production.nodes[i], &after = tapped.nodes[i];
    // The copies of a loop node stand in its body.
    const std::size_t between = std::any_of(before.begin(), before.end(), is_loop) ? 0 : taps.inside(i).size();
    const std::size_t copies = taps.copies_behind(i) + between;
    check<CaptureError>(after.size() == before.size() + copies, source.path(i), ": captured as ", before.size(), " nodes, with ", copies,
                        " taps as ", after.size());
    std::size_t at = 0;
    for (std::size_t n = 0; n < before.size(); ++n, ++at) {
      while (at - n < between && !same_node(before[n], after[at])) ++at;
      check<CaptureError>(same_node(before[n], after[at]), source.path(i), ": node ", n,
                          " of this step is another one in the graph with taps");
    }
  }
}

}  // namespace frieze::cuda
