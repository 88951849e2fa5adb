#include <frieze/graph/memory_plan.h>

#include <algorithm>
#include <numeric>

#include <frieze/core/error.h>

namespace frieze {
namespace {

constexpr std::int64_t kAlign = 256;  // what cudaMalloc promises, and what vector loads and cuBLASLt like

bool overlap_in_time(const Placement& a, const Placement& b) { return a.first_step <= b.last_step && b.first_step <= a.last_step; }
bool overlap_in_memory(const Placement& a, const Placement& b) { return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes; }

std::vector<Placement> lifetimes(const Plan& plan, const std::vector<std::int64_t>& workspace_bytes, bool keep_values) {
  std::vector<char> is_port(plan.values.size(), 0);
  for (const PlanPort& port : plan.inputs) is_port[static_cast<std::size_t>(port.value)] = 1;
  for (const PlanPort& port : plan.outputs) is_port[static_cast<std::size_t>(port.value)] = 1;
  std::vector<int> last_use(plan.values.size(), -1);
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    for (const int id : plan.steps[i].inputs) last_use[static_cast<std::size_t>(id)] = static_cast<int>(i);
  }
  const int last_step = static_cast<int>(plan.steps.size()) - 1;
  const auto aligned = [](std::int64_t bytes) { return checked_add(bytes, kAlign - 1, "arena") / kAlign * kAlign; };
  std::vector<Placement> all;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const int step = static_cast<int>(i), value = plan.steps[i].output;
    if (!is_port[static_cast<std::size_t>(value)]) {
      // A value that nobody uses still lives while it is written.
      const int last = keep_values ? last_step : std::max(step, last_use[static_cast<std::size_t>(value)]);
      all.push_back({value, 0, aligned(plan.spec(value).bytes()), keep_values ? 0 : step, last});
    }
    if (i < workspace_bytes.size() && workspace_bytes[i] > 0) all.push_back({-1, 0, aligned(workspace_bytes[i]), step, step});
  }
  return all;
}

// Lowest offset at which `p` meets nothing that is alive at the same time. `placed` is any order.
std::int64_t lowest_gap(const Placement& p, const std::vector<Placement>& placed) {
  std::vector<const Placement*> rivals;
  for (const Placement& q : placed) {
    if (overlap_in_time(p, q)) rivals.push_back(&q);
  }
  std::sort(rivals.begin(), rivals.end(), [](const Placement* a, const Placement* b) { return a->offset < b->offset; });
  std::int64_t offset = 0;
  for (const Placement* q : rivals) {
    if (q->offset - offset >= p.bytes) break;
    offset = std::max(offset, q->offset + q->bytes);
  }
  return offset;
}

std::int64_t largest_live_sum(const std::vector<Placement>& all, std::size_t steps) {
  std::vector<std::int64_t> change(steps + 1, 0);
  for (const Placement& p : all) {
    std::int64_t& begins = change[static_cast<std::size_t>(p.first_step)];
    begins = begins > 0 ? checked_add(begins, p.bytes, "bytes of a step") : begins + p.bytes;
    change[static_cast<std::size_t>(p.last_step) + 1] -= p.bytes;
  }
  std::int64_t live = 0, largest = 0;
  for (const std::int64_t c : change) {
    live = c > 0 ? checked_add(live, c, "bytes of a step") : live + c;
    largest = std::max(largest, live);
  }
  return largest;
}

}  // namespace

const Placement* MemoryPlan::of_value(int value) const {
  const auto found = std::find_if(placements.begin(), placements.end(), [&](const Placement& p) { return p.value == value; });
  return value < 0 || found == placements.end() ? nullptr : &*found;
}

const Placement* MemoryPlan::workspace_of(int step) const {
  const auto found =
      std::find_if(placements.begin(), placements.end(), [&](const Placement& p) { return p.value < 0 && p.first_step == step; });
  return found == placements.end() ? nullptr : &*found;
}

MemoryPlan plan_memory(const Plan& plan, const std::vector<std::int64_t>& workspace_bytes, bool keep_values) {
  MemoryPlan out;
  std::vector<Placement> waiting = lifetimes(plan, workspace_bytes, keep_values);
  out.lower_bound = largest_live_sum(waiting, plan.steps.size());
  std::stable_sort(waiting.begin(), waiting.end(), [](const Placement& a, const Placement& b) { return a.bytes > b.bytes; });
  for (Placement& p : waiting) {
    p.offset = lowest_gap(p, out.placements);
    out.placements.push_back(p);
    out.arena_bytes = std::max(out.arena_bytes, checked_add(p.offset, p.bytes, "arena"));
  }
  // The planner's one law.
  for (std::size_t i = 0; i < out.placements.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const Placement &a = out.placements[i], &b = out.placements[j];
      check<Error>(!overlap_in_time(a, b) || !overlap_in_memory(a, b), "memory plan: two live tensors share memory (steps ", a.first_step,
                   "-", a.last_step, " and ", b.first_step, "-", b.last_step, ")");
    }
  }
  return out;
}

}  // namespace frieze
