#include <frieze/graph/memory_plan.h>

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include <frieze/core/error.h>
#include <frieze/graph/repeat.h>

namespace frieze {
namespace {

constexpr std::int64_t kAlign = 256;  // what cudaMalloc promises, and what vector loads and cuBLASLt like

std::vector<Placement> lifetimes(const Plan& plan, const std::vector<std::int64_t>& workspace_bytes, bool keep_values) {
  // Of each storage, the first step that writes it and the last that uses it: what nobody reads still lives while it is written.
  std::vector<int> first_use(plan.storages.size(), -1), last_use(plan.storages.size(), -1);
  const auto storage_of = [&](int id) { return static_cast<std::size_t>(plan.values[static_cast<std::size_t>(id)].storage); };
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    for (const int id : plan.steps[i].inputs) last_use[storage_of(id)] = static_cast<int>(i);
    for (const int id : plan.steps[i].outputs) {
      last_use[storage_of(id)] = static_cast<int>(i);
      if (first_use[storage_of(id)] < 0) first_use[storage_of(id)] = static_cast<int>(i);
    }
  }
  const int last_step = static_cast<int>(plan.steps.size()) - 1;
  const auto aligned = [](std::int64_t bytes) { return checked_add(bytes, kAlign - 1, "arena") / kAlign * kAlign; };
  std::vector<Placement> all;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const int step = static_cast<int>(i);
    for (const int value : plan.steps[i].outputs) {
      const Storage& storage = plan.storages[storage_of(value)];
      int& first = first_use[storage_of(value)];
      if (storage.where != Storage::Where::arena || first != step) continue;
      all.push_back(
          {storage.owner, 0, aligned(storage.bytes), keep_values ? 0 : step, keep_values ? last_step : last_use[storage_of(value)]});
      first = -1;  // of its other views, none again
    }
    if (i >= workspace_bytes.size() || workspace_bytes[i] == 0) continue;
    const bool keep = keep_values && loop_of(plan.steps[i]) != nullptr;  // the body's values lie in there
    all.push_back({-1, 0, aligned(workspace_bytes[i]), step, keep ? last_step : step});
  }
  return all;
}

// Placements that are alive in steps, to be asked for those that meet a span of steps: a segment tree over the steps holds each in the
// nodes that make up its life. Placing and asking take a time of log(steps), and of what is found.
class Lives {
 public:
  explicit Lives(std::size_t steps) : leaves_(std::bit_ceil(std::max<std::size_t>(steps, 1))), nodes_(2 * leaves_) {}

  void add(const Placement& p, std::size_t index) {
    std::size_t first = static_cast<std::size_t>(p.first_step) + leaves_, last = static_cast<std::size_t>(p.last_step) + leaves_;
    begins_.emplace(p.first_step, index);
    for (; first <= last; first /= 2, last /= 2) {
      if (first % 2 == 1) nodes_[first++].push_back(index);
      if (last % 2 == 0) nodes_[last--].push_back(index);
    }
  }

  // Appends all that are alive when `p` begins, and all that begin later in its life; stops behind `most`.
  void find(const Placement& p, std::size_t most, std::vector<std::size_t>& found) const {
    for (std::size_t node = static_cast<std::size_t>(p.first_step) + leaves_; node > 0; node /= 2) {
      found.insert(found.end(), nodes_[node].begin(), nodes_[node].end());
      if (found.size() > most) return;
    }
    for (auto at = begins_.upper_bound({p.first_step, kLast}); at != begins_.end() && at->first <= p.last_step; ++at) {
      if (found.size() > most) return;
      found.push_back(at->second);
    }
  }

 private:
  static constexpr std::size_t kLast = static_cast<std::size_t>(-1);
  std::size_t leaves_;
  std::vector<std::vector<std::size_t>> nodes_;   // children of i: 2i and 2i + 1; leaves from leaves_ on
  std::set<std::pair<int, std::size_t>> begins_;  // first step, index
};

// In the order in which they come, each at the lowest offset at which it meets nothing that is alive at the same time. Packs best, but
// looks at every pair that is alive together: false, and nothing is promised of the offsets, if those are more than `pairs`.
bool place_by_size(std::vector<Placement>& largest_first, std::size_t steps, std::size_t pairs) {
  Lives lives(steps);
  std::vector<std::size_t> rivals;
  for (std::size_t i = 0; i < largest_first.size(); ++i) {
    Placement& p = largest_first[i];
    rivals.clear();
    lives.find(p, pairs, rivals);
    if (rivals.size() > pairs) return false;
    pairs -= rivals.size();
    std::sort(rivals.begin(), rivals.end(),
              [&](std::size_t a, std::size_t b) { return largest_first[a].offset < largest_first[b].offset; });
    for (const std::size_t r : rivals) {
      const Placement& rival = largest_first[r];
      if (rival.offset - p.offset >= p.bytes) break;
      p.offset = std::max(p.offset, rival.offset + rival.bytes);
    }
    lives.add(p, i);
  }
  return true;
}

// Free memory between what is alive at one step: the smallest piece that is large enough is taken first, the lowest of these.
class FreeList {
 public:
  std::int64_t take(std::int64_t bytes) {
    const auto fit = by_size_.lower_bound({bytes, 0});
    if (fit == by_size_.end()) {
      // The arena grows, from a free piece at its end if there is one.
      std::int64_t offset = end_;
      if (!by_offset_.empty() && by_offset_.rbegin()->first + by_offset_.rbegin()->second == end_) {
        offset = by_offset_.rbegin()->first;
        erase(by_offset_.rbegin()->first);
      }
      end_ = checked_add(offset, bytes, "arena");
      return offset;
    }
    const auto [size, offset] = *fit;
    erase(offset);
    if (size > bytes) insert(offset + bytes, size - bytes);
    return offset;
  }

  void give(std::int64_t offset, std::int64_t bytes) {
    auto after = by_offset_.lower_bound(offset);
    if (after != by_offset_.end() && offset + bytes == after->first) {
      bytes += after->second;
      erase(after->first);
    }
    after = by_offset_.lower_bound(offset);
    if (after != by_offset_.begin() && std::prev(after)->first + std::prev(after)->second == offset) {
      offset = std::prev(after)->first;
      bytes += std::prev(after)->second;
      erase(offset);
    }
    insert(offset, bytes);
  }

 private:
  void insert(std::int64_t offset, std::int64_t bytes) {
    by_offset_.emplace(offset, bytes);
    by_size_.emplace(bytes, offset);
  }
  void erase(std::int64_t offset) {
    const auto found = by_offset_.find(offset);
    by_size_.erase({found->second, offset});
    by_offset_.erase(found);
  }

  std::map<std::int64_t, std::int64_t> by_offset_;           // to its bytes
  std::set<std::pair<std::int64_t, std::int64_t>> by_size_;  // bytes, offset
  std::int64_t end_ = 0;
};

// Indices of the placements by the step in which they begin, and by that in which they end; larger ones first.
struct LifeEvents {
  std::vector<std::size_t> begins, ends;
  explicit LifeEvents(const std::vector<Placement>& all) : begins(all.size()), ends(all.size()) {
    std::iota(begins.begin(), begins.end(), std::size_t{0});
    ends = begins;
    std::stable_sort(begins.begin(), begins.end(), [&](auto a, auto b) { return all[a].first_step < all[b].first_step; });
    std::stable_sort(ends.begin(), ends.end(), [&](auto a, auto b) { return all[a].last_step < all[b].last_step; });
  }
};

// Calls `begin` for each placement in the order of time, and `end` for each before the first that begins later.
template <class Begin, class End>
void sweep(const std::vector<Placement>& all, const Begin& begin, const End& end) {
  const LifeEvents events(all);
  std::size_t ended = 0;
  for (const std::size_t i : events.begins) {
    for (; all[events.ends[ended]].last_step < all[i].first_step; ++ended) end(events.ends[ended]);
    begin(i);
  }
}

// One step after the other, as an allocator would at run time.
void place_by_time(std::vector<Placement>& largest_first) {
  FreeList free;
  sweep(
      largest_first, [&](std::size_t i) { largest_first[i].offset = free.take(largest_first[i].bytes); },
      [&](std::size_t i) { free.give(largest_first[i].offset, largest_first[i].bytes); });
}

// The planner's one law.
void check_apart(const std::vector<Placement>& all) {
  std::map<std::int64_t, std::size_t> live;  // by offset
  sweep(
      all,
      [&](std::size_t i) {
        const auto fail = [&](std::size_t j) {
          throw Error(concat_text("memory plan: two live tensors share memory (steps ", all[i].first_step, "-", all[i].last_step, " and ",
                                  all[j].first_step, "-", all[j].last_step, ")"));
        };
        const auto [at, alone] = live.emplace(all[i].offset, i);
        if (!alone) fail(at->second);
        if (at != live.begin()) {
          const Placement& below = all[std::prev(at)->second];
          if (below.offset + below.bytes > all[i].offset) fail(std::prev(at)->second);
        }
        if (std::next(at) != live.end() && all[i].offset + all[i].bytes > std::next(at)->first) fail(std::next(at)->second);
      },
      [&](std::size_t i) { live.erase(all[i].offset); });
}

std::int64_t end_of(const std::vector<Placement>& all) {
  std::int64_t end = 0;
  for (const Placement& p : all) end = std::max(end, checked_add(p.offset, p.bytes, "arena"));
  return end;
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
  const auto i = static_cast<std::size_t>(value);
  return value < 0 || i >= of_value_.size() || of_value_[i] < 0 ? nullptr : &placements[static_cast<std::size_t>(of_value_[i])];
}

const Placement* MemoryPlan::workspace_of(int step) const {
  const auto i = static_cast<std::size_t>(step);
  return step < 0 || i >= of_step_.size() || of_step_[i] < 0 ? nullptr : &placements[static_cast<std::size_t>(of_step_[i])];
}

void MemoryPlan::validate() const { check_apart(placements); }

void MemoryPlan::index(const Plan& plan) {
  std::vector<int> of_owner(plan.values.size(), -1);
  of_step_.assign(plan.steps.size(), -1);
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const Placement& p = placements[i];
    (p.value >= 0 ? of_owner[static_cast<std::size_t>(p.value)] : of_step_[static_cast<std::size_t>(p.first_step)]) = static_cast<int>(i);
  }
  of_value_.clear();
  for (std::size_t id = 0; id < plan.values.size(); ++id) {
    const int storage = plan.values[id].storage;
    of_value_.push_back(of_owner[storage < 0 ? id : static_cast<std::size_t>(plan.storages[static_cast<std::size_t>(storage)].owner)]);
  }
}

namespace {

constexpr std::size_t kPairs = 4'000'000;

// In one of two orders, none of which is the best for all plans: the smaller arena, or none if too many are alive together.
std::optional<std::vector<Placement>> place_by_gaps(const std::vector<Placement>& all, std::size_t steps) {
  const auto area = [](const Placement& p) { return static_cast<double>(p.bytes) * (p.last_step - p.first_step + 1); };
  const auto larger = [](const Placement& a, const Placement& b) { return a.bytes > b.bytes; };
  const auto longer = [&](const Placement& a, const Placement& b) { return area(a) > area(b); };
  std::vector<Placement> by_size = all, by_area = all;
  std::stable_sort(by_size.begin(), by_size.end(), larger);
  if (!place_by_size(by_size, steps, kPairs)) return std::nullopt;
  std::stable_sort(by_area.begin(), by_area.end(), longer);
  if (!place_by_size(by_area, steps, kPairs)) return by_size;
  return end_of(by_area) < end_of(by_size) ? by_area : by_size;
}

}  // namespace

MemoryPlan plan_memory(const Plan& plan, const std::vector<std::int64_t>& workspace_bytes, bool keep_values) {
  if (!plan.placed()) return plan_memory(place(plan), workspace_bytes, keep_values);
  MemoryPlan out;
  std::vector<Placement> all = lifetimes(plan, workspace_bytes, keep_values);
  out.lower_bound = largest_live_sum(all, plan.steps.size());
  if (auto placed = place_by_gaps(all, plan.steps.size())) {
    all = std::move(*placed);
  } else {
    std::stable_sort(all.begin(), all.end(), [](const Placement& a, const Placement& b) { return a.bytes > b.bytes; });
    place_by_time(all);
  }
  out.arena_bytes = end_of(all);
  out.placements = std::move(all);
  out.validate();
  out.index(plan);
  return out;
}

}  // namespace frieze
