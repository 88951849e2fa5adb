#pragma once
/// Size2d: what a kernel, a stride, a picture or a tile measures along its two axes.
#include <iosfwd>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

/// A height and a width, in this order; one number means both.
struct Size2d {
  int h = 0, w = 0;
  constexpr Size2d(int both) : h(both), w(both) {}  // NOLINT: implicit on purpose, so that options read `.stride = 2`
  constexpr Size2d(int h, int w) : h(h), w(w) {}
  friend constexpr bool operator==(const Size2d&, const Size2d&) = default;
};
std::ostream& operator<<(std::ostream& out, const Size2d& size);  ///< "3" or "3x5"

}  // namespace FRIEZE_API
