#include <frieze/core/overlap.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include <frieze/core/integers.h>

namespace frieze {
namespace {

// Bytes from `first` to before `last`, relative to the view's data.
struct Range {
  std::int64_t first = 0, last = 0;
};

Range range_of(const TensorView& view) {
  const auto size = static_cast<std::int64_t>(size_of(view.dtype));
  Range range{0, size};
  for (int axis = 0; axis < view.shape.rank(); ++axis) {
    const std::int64_t reach = (view.shape[axis] - 1) * view.stride(axis) * size;
    (reach < 0 ? range.first : range.last) += reach;
  }
  return range;
}

// A sum of terms, step * k with 0 <= k <= most and step > 0.
struct Term {
  std::int64_t step, most;
};

// Does some choice of the k's give `target`? Terms by falling step; `reach[i]` is the largest sum of the terms from i on.
bool can_reach(const std::vector<Term>& terms, const std::vector<std::int64_t>& reach, std::size_t i, std::int64_t target,
               int& steps_left) {
  if (target == 0 || --steps_left < 0) return true;
  if (i == terms.size() || target < 0 || target > reach[i]) return false;
  const auto [step, most] = terms[i];
  const std::int64_t rest = reach[i + 1], low = target > rest ? ceil_div(target - rest, step) : 0;
  for (std::int64_t k = std::min(most, target / step); k >= low; --k) {
    if (can_reach(terms, reach, i + 1, target - k * step, steps_left)) return true;
  }
  return false;
}

}  // namespace

ByteRange byte_range(const TensorView& view) {
  const Range range = range_of(view);
  return {view.as<std::byte>() + range.first, range.last - range.first};
}

bool share_memory(const TensorView& a, const TensorView& b) {
  if (a.shape.elements() == 0 || b.shape.elements() == 0) return false;
  const Range ra = range_of(a), rb = range_of(b);
  // Differences of addresses that may belong to two allocations, so in integers.
  const auto apart = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(b.data) - reinterpret_cast<std::uintptr_t>(a.data));
  if (ra.last <= apart + rb.first || apart + rb.last <= ra.first) return false;
  // Each element of a has an address first_a + sum of k * |stride|; of b, likewise. They meet if a's sum, plus a byte within its element,
  // equals b's. With k counted backwards for b every term is added: a's + b's = what b's first element lies behind, plus all of b's reach.
  std::vector<Term> terms;
  std::int64_t target = apart + rb.first - ra.first;
  for (const TensorView* view : {&a, &b}) {
    const auto size = static_cast<std::int64_t>(size_of(view->dtype));
    for (int axis = 0; axis < view->shape.rank(); ++axis) {
      const std::int64_t step = std::abs(view->stride(axis)) * size, most = view->shape[axis] - 1;
      if (step == 0 || most == 0) continue;
      terms.push_back({step, most});
      if (view == &b) target += step * most;
    }
    terms.push_back({1, size - 1});
    if (view == &b) target += size - 1;
  }
  std::sort(terms.begin(), terms.end(), [](const Term& p, const Term& q) { return p.step > q.step; });
  std::size_t last = 0;  // terms of one step are one term
  for (std::size_t i = 1; i < terms.size(); ++i) {
    if (terms[i].step == terms[last].step) {
      terms[last].most += terms[i].most;
    } else {
      terms[++last] = terms[i];
    }
  }
  terms.resize(last + 1);
  std::vector<std::int64_t> reach(terms.size() + 1, 0);
  for (std::size_t i = terms.size(); i > 0; --i) reach[i - 1] = reach[i] + terms[i - 1].step * terms[i - 1].most;
  int steps_left = 100000;
  return can_reach(terms, reach, 0, target, steps_left);
}

bool same_elements(const TensorView& a, const TensorView& b) {
  if (a.data != b.data || a.dtype != b.dtype || a.shape != b.shape) return false;
  for (int axis = 0; axis < a.shape.rank(); ++axis) {
    if (a.shape[axis] > 1 && a.stride(axis) != b.stride(axis)) return false;
  }
  return true;
}

}  // namespace frieze
