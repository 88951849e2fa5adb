#pragma once
/// The memory of a session as text and JSON: the bill, and who holds which bytes of the arena when.
#include <string>

#include <frieze/graph/memory_plan.h>

namespace frieze {

/// The arena over time: a letter for each holder, steps from left to right in at most 96 columns, offsets from the top in 16 rows, "."
/// where nothing is held; below it the bytes that are alive at each step, and the letters' holders. A column shows all its steps' holders,
/// the larger ones first where they do not fit. Empty if the arena is.
std::string memory_picture(const Plan& plan, const MemoryPlan& memory);

/// The bill, then the arena: one line a placement, lowest offset first, with offset, bytes, holder, steps, and a bar that
/// shows its life, 48 columns for the whole run; then the arena's size against the least that any plan needs.
std::string memory_text(const Plan& plan, const MemoryPlan& memory, const MemoryBill& bill);
/// {"bill": {…}, "arena": {"bytes", "lower_bound", "placements": [{"holder", "kind", "offset", "bytes", "first_step", "last_step"}]}}.
/// Sizes in bytes.
std::string memory_json(const Plan& plan, const MemoryPlan& memory, const MemoryBill& bill);

/// "conv1", or "workspace of conv1".
std::string holder(const Plan& plan, const Placement& placement);

}  // namespace frieze
