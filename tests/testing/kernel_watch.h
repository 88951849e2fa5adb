#pragma once
/// Which kernels the tests launch, and tests under a tool that watches every access of every kernel.
///
/// compute-sanitizer makes a case of a parity test ten times as slow, and tells the same of the hundredth shape of a kernel as of the
/// first. With FRIEZE_EACH_KERNEL_ONCE=1 in the environment the grids of the tests stay as they are, but a case launches only what no case
/// before it has launched: another kernel, or the same one on another path, see `first_time`. It is launched once, on tensors without
/// fences, in memory that ends where they end and that holds nothing but the inputs, so that the tool sees what lies outside and what
/// nobody wrote. Nothing is compared: that is what the same tests do without the variable.
///
/// With FRIEZE_RESULTS_DIR set, kernels_<program>.txt in that folder lists the kernels that were launched, by mangled name, with "shared"
/// behind those that use shared memory. tools/gpu_results.py holds the list of a run under a tool against all kernels that there are.
#include <string>
#include <vector>

#if FRIEZE_WITH_CUDA
#include <functional>

#include <cuda_runtime_api.h>

#include <frieze/core/cuda/handles.h>
#endif

namespace frieze::test {

/// True with FRIEZE_EACH_KERNEL_ONCE=1 in the environment.
bool each_kernel_once();

/// True for a kernel of this project, by its mangled name; others are a library's.
bool is_own_kernel(const std::string& mangled);

/// Adds to the program's list of kernels that were launched.
void note_launched(const std::vector<std::string>& kernels);

/// That list, sorted, and on how many paths they were first launched.
std::vector<std::string> launched_kernels();
std::size_t launched_paths();

/// True if no call before had one of these kernels together with `path`, which tells what else the code depends on.
bool first_time(const std::vector<std::string>& kernels, const std::string& path);

#if FRIEZE_WITH_CUDA
/// What `enqueue` puts on `stream`, which is idle; nothing of it runs. Rethrows what `enqueue` throws, the stream usable.
cuda::Graph captured(cudaStream_t stream, const std::function<void()>& enqueue);

/// The mangled names of the graph's kernels, "unknown" for one that the driver does not name; " shared" behind one that uses shared memory.
std::vector<std::string> kernels_of(cudaGraph_t graph);
#endif

}  // namespace frieze::test
