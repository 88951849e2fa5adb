#include <frieze/core/version.h>
#include <frieze/graph/report/text_table.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/gpu.h"
#include "tools/frieze/json.h"

namespace frieze::tools {

int devices_command(bool json, std::ostream& out) {
  const std::vector<GpuFacts> found = gpus();
  if (json) {
    std::string list;
    for (const GpuFacts& g : found) {
      list += (list.empty() ? "" : ",\n  ") + JsonObject()
                                                  .add("device", "cuda:" + std::to_string(g.index))
                                                  .add("name", g.name)
                                                  .add("compute_capability", g.compute_capability)
                                                  .add("sm_count", g.sm_count)
                                                  .add("memory_gib", g.memory_gib)
                                                  .add("l2_mib", g.l2_mib)
                                                  .add("driver_cuda", g.driver)
                                                  .add("runtime_cuda", g.runtime)
                                                  .text();
    }
    out << JsonObject().raw("cpu", "true").raw("cuda", "[" + list + "]").text() << '\n';
    return kExitOk;
  }
  out << "cpu     the Eigen reference, always there\n";
  if (found.empty()) out << "cuda    none: " << why_no_gpu() << '\n';
  for (const GpuFacts& g : found) {
    out << "cuda:" << g.index << "  " << g.name << ", sm_" << g.compute_capability << ", " << g.sm_count << " SMs, "
        << fixed(g.memory_gib, 1) << " GiB, L2 " << fixed(g.l2_mib, 0) << " MiB, driver for CUDA " << g.driver << ", built with "
        << g.runtime << '\n';
  }
  if (!found.empty()) {
    const std::string version = cublaslt_loaded();
    out << "cuBLASLt " << (version.empty() ? "none: matrix products use own kernels" : version) << '\n';
  }
  return kExitOk;
}

std::string version_text() {
  std::string text = "frieze " + std::string(version()) + " (commit " + std::string(commit()) + ")\n";
  text += onednn_version().empty() ? "oneDNN: not in this build; convolutions on the CPU run the reference\n"
                                   : "oneDNN: " + std::string(onednn_version()) + '\n';
  if (cuda_toolkit_version().empty()) return text + "CUDA: none, this is a CPU-only build";
  const auto library = [](std::string_view headers, const char* without) {
    return headers.empty() ? std::string("not in this build; ") + without : std::string(headers) + " headers; loaded when first needed";
  };
  text += "CUDA toolkit: " + std::string(cuda_toolkit_version()) + '\n';
  text += "cuBLASLt: " + library(cublas_version(), "matrix products use own kernels") + '\n';
  text += "cuDNN: " + library(cudnn_version(), "convolutions use own kernels");
  return text;
}

}  // namespace frieze::tools
