#pragma once
/// Memory plan: lifetimes to offsets in one arena.
#include <cstdint>
#include <vector>

#include <frieze/graph/plan.h>

namespace frieze FRIEZE_API {

/// One tensor or workspace in the arena, alive in steps [first_step, last_step]; offset is a multiple of 256 bytes.
struct Placement {
  int value = -1;  ///< the plan value that owns the storage, or -1 for the workspace of step first_step
  std::int64_t offset = 0, bytes = 0;
  int first_step = 0, last_step = 0;
};

struct MemoryPlan {
  std::vector<Placement> placements;
  std::int64_t arena_bytes = 0;
  /// Least any plan can need: the largest sum of bytes that are alive at one step.
  std::int64_t lower_bound = 0;

  /// Of the storage that a value is a view of; nullptr for ports.
  const Placement* of_value(int value) const;
  const Placement* workspace_of(int step) const;
  /// To be called when `placements` were changed by hand.
  void index(const Plan& plan);
  /// Throws Error if two placements that are alive at one step share memory. Takes n log n.
  void validate() const;

 private:
  std::vector<int> of_value_, of_step_;  // indices of placements, -1: none
};

/// Places every storage that a step writes (ports excepted: those have buffers of their own) and `workspace_bytes[i]` for
/// step i. A storage lives from the first step that writes any of its views to the last that uses any; in a plan that is not placed every
/// value is a storage. Each goes to the lowest gap that is free during its life, in two orders, largest first and largest bytes x steps
/// first, of which the smaller result is kept; where too many are alive together for that, one step after
/// the other, each in the smallest gap that holds it. Takes n log n in the number of storages. `keep_values`: everything stays alive.
/// Throws Error if two live tensors share memory: checked in every build.
MemoryPlan plan_memory(const Plan& plan, const std::vector<std::int64_t>& workspace_bytes, bool keep_values = false);

/// What a session holds, known before the first launch. Bytes.
struct MemoryBill {
  std::int64_t weights = 0;      ///< parameters in their packed form; on a GPU sessions that have them in common hold them once
  std::int64_t arena = 0;        ///< intermediate values and workspaces
  std::int64_t arena_least = 0;  ///< what is alive at one step at most: no plan of the arena needs less
  std::int64_t workspace = 0;    ///< the part of the arena that is the largest workspace
  std::int64_t ports = 0;        ///< buffers of the model's inputs and outputs
  std::int64_t graph = 0;        ///< the driver's memory for the executable graph, as measured around instantiation
  std::int64_t total() const { return weights + arena + ports + graph; }
};

}  // namespace FRIEZE_API
