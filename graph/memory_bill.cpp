#include <frieze/graph/memory_bill.h>

#include <cstdio>

#include <frieze/core/error.h>

namespace frieze {

std::string mebibytes(std::int64_t bytes) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.2f MiB", static_cast<double>(bytes) / (1 << 20));
  return buffer;
}

namespace {

// "2.0 % above what is alive at once, " where there is such a gap.
std::string percent_above(const MemoryBill& bill) {
  if (bill.arena <= bill.arena_least) return {};
  char buffer[64];
  const double gap = 100.0 * static_cast<double>(bill.arena - bill.arena_least) / static_cast<double>(bill.arena_least);
  std::snprintf(buffer, sizeof buffer, "%.1f %% above what is alive at once, ", gap);
  return buffer;
}

}  // namespace

std::string bill_text(const MemoryBill& bill) {
  return concat_text("memory ", mebibytes(bill.total()), ": weights ", mebibytes(bill.weights), ", arena ", mebibytes(bill.arena), " (",
                     percent_above(bill), "largest workspace ", mebibytes(bill.workspace), "), ports ", mebibytes(bill.ports), ", graph ",
                     mebibytes(bill.graph));
}

void check_bill(const MemoryBill& bill, std::int64_t max_memory) {
  check<MemoryError>(max_memory <= 0 || bill.total() <= max_memory, "the model would hold more than the ", mebibytes(max_memory),
                     " allowed: ", bill_text(bill));
}

}  // namespace frieze
