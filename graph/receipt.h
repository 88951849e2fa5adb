#pragma once
/// Receipt: what was captured, and the proof that a run is one launch.
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/graph/memory_plan.h>

namespace frieze FRIEZE_API {

/// One node of the captured graph.
struct ReceiptNode {
  std::string path;      ///< module path of the step that enqueued it
  std::string kind;      ///< "kernel", "memset", "memcpy" or "loop", whose body is not counted
  std::string function;  ///< the kernel's name, if the driver tells
  unsigned grid[3] = {0, 0, 0}, block[3] = {0, 0, 0};
  unsigned shared_bytes = 0;  ///< of a block: what the launch asked for and what the kernel declares
  int registers = 0;          ///< of a thread; 0 if the driver does not tell
};

/// `to` waits for `from`; indices of Receipt::nodes.
struct ReceiptEdge {
  int from = 0, to = 0;
  bool programmatic = false;  ///< a dependent launch: `to` may begin before `from` has ended
};

/// The algorithm of a step that runs the double-precision reference.
inline constexpr std::string_view kReferenceAlgorithm = "reference";

/// One step as it was prepared.
struct ReceiptStep {
  std::string path, layer, algorithm;
  int nodes = 0;
  std::int64_t workspace_bytes = 0;
  std::string note = {};  ///< why it copies what others only look at, or empty
};

/// What was traced and is no step: views of memory.
struct ReceiptView {
  std::string path, layer;
  std::string of;  ///< whose memory it is
};

struct Receipt {
  std::string device;        ///< "NVIDIA H100 80GB HBM3 (cuda:0)" or "cpu"
  bool captured = false;     ///< false on the CPU and in eager sessions
  int launches_per_run = 0;  ///< 1 for a captured session
  std::vector<ReceiptNode> nodes;
  std::vector<ReceiptStep> steps;
  std::vector<ReceiptView> views;
  std::vector<ReceiptEdge> edge_list;
  int edges = 0, dependent_launches = 0, capture_attempts = 0;
  int streams = 0;  ///< how many the graph keeps busy at most: chains that cover its nodes
  double prepare_ms = 0, capture_ms = 0, instantiate_ms = 0, upload_ms = 0;
  bool tf32 = false;
  MemoryBill memory;

  int count(std::string_view kind) const;
  std::string text() const;
  std::string json() const;
  /// The captured graph for Graphviz: a node for each of its nodes, grouped by step; dependent launches dashed.
  std::string dot() const;
};
std::ostream& operator<<(std::ostream& out, const Receipt& receipt);

/// The number of chains, each node behind one that it waits for, into which the graph falls when nodes are taken in order.
int chains_of(std::size_t nodes, const std::vector<ReceiptEdge>& edges);

}  // namespace FRIEZE_API
