#include <frieze/core/host_copy.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/parallel.h>

namespace frieze {
namespace {

struct Axis {
  std::int64_t extent, from, to;
};
struct Axes {
  std::array<Axis, Shape::kMaxRank> axis{};
  std::size_t rank = 0;
};

// Axes longer than 1, fastest in `to` first; neighbours that are one run of memory in both are one.
Axes axes_of(const TensorView& from, const TensorView& to) {
  std::array<int, Shape::kMaxRank> order{};
  std::size_t rank = 0;
  for (int axis = to.shape.rank() - 1; axis >= 0; --axis) {
    if (to.shape[axis] == 1) continue;
    std::size_t at = rank++;  // insertion: a copy allocates nothing
    for (; at > 0 && std::abs(to.stride(order[at - 1])) > std::abs(to.stride(axis)); --at) order[at] = order[at - 1];
    order[at] = axis;
  }
  Axes axes;
  for (std::size_t i = 0; i < rank; ++i) {
    const Axis next{to.shape[order[i]], from.stride(order[i]), to.stride(order[i])};
    if (axes.rank > 0) {
      Axis& last = axes.axis[axes.rank - 1];
      if (next.from == last.from * last.extent && next.to == last.to * last.extent) {
        last.extent *= next.extent;
        continue;
      }
    }
    axes.axis[axes.rank++] = next;
  }
  return axes;
}

constexpr std::int64_t kTile = 32;  // elements along each side of a tile

template <class Word>
class Copy {
 public:
  Copy(const TensorView& from, const TensorView& to)
      : from_(from.as<const std::byte>()), to_(to.as<std::byte>()), axes_(axes_of(from, to)) {
    if (axes_.rank == 0) axes_.axis[axes_.rank++] = {1, 1, 1};
    // The axis that `from` runs along, if that is another one than that of `to`.
    for (std::size_t i = 1; i < axes_.rank; ++i) {
      if (axes_.axis[i].from == 1 && axes_.axis[0].from != 1) across_ = i;
    }
    outer_ = 1;
    for (std::size_t i = 1; i < axes_.rank; ++i) outer_ *= i == across_ ? ceil_div(axes_.axis[i].extent, kTile) : axes_.axis[i].extent;
  }

  // One row of axis 0, or kTile rows side by side along the axis across. A single long row is cut for the threads.
  void run() const {
    const Axis& row = axes_.axis[0];
    const std::int64_t elements = row.extent * (across_ > 0 ? kTile : 1);
    if (outer_ == 1 && across_ == 0) {
      in_parallel(row.extent, 1, [&](std::int64_t first, std::int64_t last) { copy_row(first * row.from, first * row.to, last - first); });
    } else {
      in_parallel(outer_, elements, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) copy_outer(i);
      });
    }
  }

 private:
  static constexpr std::int64_t kGrain = 1 << 16;  // elements that are worth a thread

  // body(first, last) over [0, count), of so many elements each.
  template <class Body>
  static void in_parallel(std::int64_t count, std::int64_t elements, const Body& body) {
    if (count <= kGrain / elements) return body(0, count);
    parallel_for(count, body, std::max<std::int64_t>(1, kGrain / elements));
  }

  // Memory of files may lie at any address, so that elements are moved as bytes.
  void copy(std::int64_t from, std::int64_t to, std::int64_t count = 1) const {
    constexpr auto kBytes = static_cast<std::int64_t>(sizeof(Word));
    std::memcpy(to_ + to * kBytes, from_ + from * kBytes, static_cast<std::size_t>(count) * sizeof(Word));
  }

  void copy_row(std::int64_t from, std::int64_t to, std::int64_t count) const {
    const Axis& row = axes_.axis[0];
    if (row.from == 1 && row.to == 1) return copy(from, to, count);
    for (std::int64_t i = 0; i < count; ++i) copy(from + i * row.from, to + i * row.to);
  }

  void copy_outer(std::int64_t index) const {
    std::int64_t from = 0, to = 0, tile = 0;
    for (std::size_t i = 1; i < axes_.rank; ++i) {
      const Axis& a = axes_.axis[i];
      const std::int64_t extent = i == across_ ? ceil_div(a.extent, kTile) : a.extent, at = index % extent;
      index /= extent;
      if (i == across_) {
        tile = at * kTile;
      } else {
        from += at * a.from;
        to += at * a.to;
      }
    }
    if (across_ == 0) return copy_row(from, to, axes_.axis[0].extent);
    const Axis &row = axes_.axis[0], &across = axes_.axis[across_];
    const std::int64_t end = std::min(across.extent, tile + kTile);
    for (std::int64_t first = 0; first < row.extent; first += kTile) {
      const std::int64_t last = std::min(row.extent, first + kTile);
      for (std::int64_t j = tile; j < end; ++j) {
        for (std::int64_t i = first; i < last; ++i) copy(from + j + i * row.from, to + j * across.to + i * row.to);
      }
    }
  }

  const std::byte* from_;
  std::byte* to_;
  Axes axes_;
  std::size_t across_ = 0;  // 0: none
  std::int64_t outer_ = 1;
};

}  // namespace

void copy_elements(const TensorView& from, const TensorView& to) {
  check<Error>(from.shape == to.shape && from.dtype == to.dtype, "a copy of ", from.shape, ' ', from.dtype, " to ", to.shape, ' ',
               to.dtype);
  if (from.shape.elements() == 0) return;
  check<ShapeError>(from.data != nullptr && to.data != nullptr, "a tensor of shape ", from.shape, " has no memory");
  switch (size_of(from.dtype)) {
    case 2: return Copy<std::uint16_t>(from, to).run();
    case 4: return Copy<std::uint32_t>(from, to).run();
    default: return Copy<std::uint64_t>(from, to).run();
  }
}

}  // namespace frieze
