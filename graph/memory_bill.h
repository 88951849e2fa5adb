#pragma once
/// The memory bill in one sentence, and its limit. Internal to graph/.
#include <string>

#include <frieze/graph/memory_plan.h>

namespace frieze {

/// "1.50 MiB".
std::string mebibytes(std::int64_t bytes);

/// "memory 12.00 MiB: weights 8.00 MiB, arena 3.00 MiB (2.0 % above what is alive at once, largest workspace 1.00 MiB), ports 0.50 MiB,
/// graph 0.50 MiB", without the gap where there is none.
std::string bill_text(const MemoryBill& bill);

/// Throws MemoryError with the bill if it exceeds `max_memory` bytes; 0: no limit.
void check_bill(const MemoryBill& bill, std::int64_t max_memory);

}  // namespace frieze
