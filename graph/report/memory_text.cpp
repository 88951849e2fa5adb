#include <frieze/graph/report/memory_text.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/graph/memory_bill.h>
#include <frieze/graph/report/text_table.h>

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

std::string memory_picture(const Plan& plan, const MemoryPlan& memory) {
  if (memory.placements.empty()) return {};
  constexpr std::size_t kRows = 16, kColumns = 96;
  const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  const std::size_t steps = plan.steps.size(), columns = std::min(steps, kColumns);
  const auto row = [&](std::int64_t offset) {
    return static_cast<std::size_t>(static_cast<double>(offset) / static_cast<double>(memory.arena_bytes) * kRows);
  };
  std::vector<std::string> cells(kRows, std::string(columns, '.'));
  std::vector<std::int64_t> live(columns, 0);
  std::vector<std::int64_t> change(steps + 1, 0);
  // Smaller ones first, so that where a cell is too coarse the larger holder shows.
  std::vector<std::size_t> order(memory.placements.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return memory.placements[a].bytes < memory.placements[b].bytes; });
  for (const std::size_t i : order) {
    const Placement& p = memory.placements[i];
    const auto first = static_cast<std::size_t>(p.first_step), last = static_cast<std::size_t>(p.last_step);
    change[first] += p.bytes;
    change[last + 1] -= p.bytes;
    for (std::size_t column = first * columns / steps; column <= last * columns / steps; ++column) {
      for (std::size_t r = row(p.offset); r <= std::min(kRows - 1, row(p.offset + p.bytes - 1)); ++r)
        cells[r][column] = letters[i % letters.size()];
    }
  }
  std::int64_t at_step = 0;
  for (std::size_t s = 0; s < steps; ++s) {
    at_step += change[s];
    live[s * columns / steps] = std::max(live[s * columns / steps], at_step);
  }
  std::string text = concat_text("the arena of ", mebibytes(memory.arena_bytes), " over ",
                                 counted(static_cast<std::int64_t>(steps), "step"), ", offset 0 at the top\n");
  for (const std::string& line : cells) text += "  |" + line + "|\n";
  text += "   ";
  for (const std::int64_t bytes : live) {  // tenths of the arena that are alive, "X" for all of it
    const auto tenth = static_cast<std::size_t>(10 * static_cast<double>(bytes) / static_cast<double>(memory.arena_bytes));
    text += "0123456789X"[std::min<std::size_t>(tenth, 10)];
  }
  text += "   tenths of the arena in use\n";
  for (std::size_t i = 0; i < std::min(memory.placements.size(), letters.size()); ++i) {
    const Placement& p = memory.placements[i];
    text += concat_text("  ", letters[i], "  ", mebibytes(p.bytes), "  ", holder(plan, p), "\n");
  }
  if (memory.placements.size() > letters.size())
    text += concat_text("  and ", memory.placements.size() - letters.size(), " smaller ones, whose letters repeat\n");
  return text;
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
