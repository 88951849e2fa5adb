#include <frieze/core/nearest.h>

#include <algorithm>
#include <numeric>

namespace frieze {

std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t limit) {
  if (std::max(a.size(), b.size()) - std::min(a.size(), b.size()) >= limit) return limit;
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0], least = row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
      least = std::min(least, row[j]);
    }
    if (least >= limit) return limit;
  }
  return std::min(row.back(), limit);
}

NearestName::NearestName(std::string_view wanted)
    : wanted_(wanted.substr(0, 256)), best_((wanted_.size() + 1) / 2), work_left_(20'000'000) {}

void NearestName::offer(std::string_view name, std::size_t handicap) {
  const std::size_t cells = wanted_.size() * name.size();
  if (handicap >= best_ || cells > work_left_) return;
  const std::size_t limit = best_ - handicap, distance = edit_distance(wanted_, name, limit);
  const bool looked = std::max(wanted_.size(), name.size()) - std::min(wanted_.size(), name.size()) < limit;
  if (looked) work_left_ -= cells;
  if (distance >= limit) return;
  best_ = distance + handicap;
  found_ = name;
}

}  // namespace frieze
