#include <frieze/graph/memory_text.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/graph/text_table.h>

namespace frieze {
namespace {

// The life of a placement on a time axis of at most 48 columns; every step it is alive in shows.
std::string life_bar(const Placement& p, std::size_t steps) {
  const std::size_t columns = std::min<std::size_t>(steps, 48);
  const auto column = [&](int step) { return static_cast<std::size_t>(step) * columns / steps; };
  std::string bar(columns, '.');
  for (std::size_t c = column(p.first_step); c <= column(p.last_step); ++c) bar[c] = '#';
  return bar;
}

}  // namespace

std::string holder(const Plan& plan, const Placement& placement) {
  if (placement.value >= 0) return plan.values[static_cast<std::size_t>(placement.value)].name;
  return "workspace of " + plan.steps[static_cast<std::size_t>(placement.first_step)].path;
}

std::string bill_text(const MemoryBill& bill) {
  return concat_text("memory ", mebibytes(bill.total()), ": weights ", mebibytes(bill.weights), ", arena ", mebibytes(bill.arena),
                     " (largest workspace ", mebibytes(bill.workspace), "), ports ", mebibytes(bill.ports), ", graph ",
                     mebibytes(bill.graph));
}

std::string memory_text(const Plan& plan, const MemoryPlan& memory, const MemoryBill& bill) {
  std::vector<Placement> sorted = memory.placements;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Placement& a, const Placement& b) {
    return std::pair(a.offset, a.first_step) < std::pair(b.offset, b.first_step);
  });
  std::string text = bill_text(bill) + "\n";
  if (sorted.empty()) return text + "the arena is empty: every value is an input or an output\n";
  TextTable table({{"offset", Align::right}, {"bytes", Align::right}, {"holder"}, {"steps"}, {"life"}});
  for (const Placement& p : sorted) {
    table.row({std::to_string(p.offset), std::to_string(p.bytes), holder(plan, p), concat_text(p.first_step, "-", p.last_step),
               life_bar(p, plan.steps.size())});
  }
  const double excess = 100.0 * static_cast<double>(memory.arena_bytes - memory.lower_bound) / static_cast<double>(memory.lower_bound);
  return text + table.text() +
         concat_text("arena ", memory.arena_bytes, " bytes, ", fixed(excess, 1), " % above the ", memory.lower_bound,
                     " that are alive at once\n");
}

}  // namespace frieze
