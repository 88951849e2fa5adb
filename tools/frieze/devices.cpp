#include <frieze/core/version.h>
#include <frieze/graph/text_table.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/gpu.h"
#include "tools/frieze/json.h"

namespace frieze::tools {

int devices_command(bool json, std::ostream& out) {
  const std::vector<GpuFacts> found = gpus();
  const char* none =
      cuda_toolkit_version().empty() ? "none: this is a CPU-only build" : "none: no CUDA driver, or no device that it can use";
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
  if (found.empty()) out << "cuda    " << none << '\n';
  for (const GpuFacts& g : found) {
    out << "cuda:" << g.index << "  " << g.name << ", sm_" << g.compute_capability << ", " << g.sm_count << " SMs, "
        << fixed(g.memory_gib, 1) << " GiB, L2 " << fixed(g.l2_mib, 0) << " MiB, driver for CUDA " << g.driver << ", built with "
        << g.runtime << '\n';
  }
  return kExitOk;
}

std::string version_text() {
  const auto or_none = [](std::string_view version, const char* none) {
    return version.empty() ? std::string(none) : std::string(version);
  };
  std::string text = "frieze " + std::string(version()) + " (commit " + std::string(commit()) + ")\n";
  text += "CUDA toolkit: " + or_none(cuda_toolkit_version(), "none, CPU-only build") + '\n';
  text += "cuBLAS: " + or_none(cublas_version(), "none") + '\n';
  text += "cuDNN: " + (cudnn_version().empty() ? std::string("not in this build; convolutions use own kernels and cuBLASLt")
                                               : std::string(cudnn_version()) + " headers; loaded when a convolution wants it");
  return text;
}

}  // namespace frieze::tools
