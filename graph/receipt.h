#pragma once
/// Receipt: what was captured, and the proof that a run is one launch.
#include <iosfwd>
#include <string>
#include <vector>

#include <frieze/graph/memory_plan.h>

namespace frieze {

/// One node of the captured graph.
struct ReceiptNode {
  std::string path;      ///< module path of the step that enqueued it
  std::string kind;      ///< "kernel", "memset" or "memcpy"
  std::string function;  ///< the kernel's name, if the driver tells
  unsigned grid[3] = {0, 0, 0}, block[3] = {0, 0, 0};
  unsigned shared_bytes = 0;
};

/// One step as it was prepared.
struct ReceiptStep {
  std::string path, layer, algorithm;
  int nodes = 0;
  std::int64_t workspace_bytes = 0;
};

struct Receipt {
  std::string device;        ///< "NVIDIA H100 80GB HBM3 (cuda:0)" or "cpu"
  bool captured = false;     ///< false on the CPU and in eager sessions
  int launches_per_run = 0;  ///< 1 for a captured session
  std::vector<ReceiptNode> nodes;
  std::vector<ReceiptStep> steps;
  int edges = 0, dependent_launches = 0, capture_attempts = 0;
  double prepare_ms = 0, capture_ms = 0, instantiate_ms = 0;
  bool tf32 = false;
  MemoryBill memory;

  int count(std::string_view kind) const;
  std::string text() const;
  std::string json() const;
};
std::ostream& operator<<(std::ostream& out, const Receipt& receipt);

}  // namespace frieze
