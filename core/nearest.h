#pragma once
/// Finds the known name that a misspelt one is closest to.
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace frieze {

/// Levenshtein distance: how many characters must be inserted, deleted or replaced to turn `a` into `b`; never more than `limit`.
std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t limit);

/// Finds the name nearest to `wanted` among those that differ in less than half of its characters. The work is bounded, however many and
/// however long the names are; beyond the bound, names are ignored.
class NearestName {
 public:
  explicit NearestName(std::string_view wanted);
  /// `handicap` is added to this name's distance.
  void offer(std::string_view name, std::size_t handicap = 0);
  /// Empty if no name is near.
  const std::string& found() const { return found_; }

 private:
  std::string wanted_, found_;
  std::size_t best_;       // a nearer name has a smaller distance
  std::size_t work_left_;  // in cells of the table of distances
};

}  // namespace frieze
