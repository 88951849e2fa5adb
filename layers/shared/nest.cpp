#include <frieze/layers/shared/nest.h>

#include <algorithm>
#include <bit>

#include <frieze/core/error.h>

namespace frieze {

std::int64_t Nest::elements() const {
  std::int64_t product = 1;
  for (int i = 0; i < rank; ++i) product *= axes[static_cast<std::size_t>(i)].extent;
  return product;
}

Nest collapse(std::span<const TensorView> views, std::size_t order) {
  check<ShapeError>(!views.empty() && views.size() <= kNestOperands, "loops go over 1 to ", kNestOperands, " tensors, got ", views.size());
  const Shape& shape = views.front().shape;
  std::array<NestAxis, Shape::kMaxRank> axes{};
  std::size_t count = 0;
  for (const TensorView& view : views) {
    check<ShapeError>(view.shape == shape, "loops go over tensors of one shape, got ", shape, " and ", view.shape);
  }
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    if (shape[axis] == 1) continue;
    NestAxis& loop = axes[count++];
    loop.extent = shape[axis];
    for (std::size_t k = 0; k < views.size(); ++k) {
      loop.stride[k] = views[k].stride(axis);
      check<ShapeError>(loop.stride[k] >= 0, "loops take no negative strides, got ", loop.stride[k], " at axis ", axis, " of ", shape);
    }
  }
  std::stable_sort(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(count),
                   [order](const NestAxis& a, const NestAxis& b) { return a.stride[order] < b.stride[order]; });
  Nest nest;
  nest.rank = 0;
  for (std::size_t i = 0; i < count; ++i) {
    NestAxis* last = nest.rank > 0 ? &nest.axes[static_cast<std::size_t>(nest.rank) - 1] : nullptr;
    bool continues = last != nullptr;
    for (std::size_t k = 0; continues && k < views.size(); ++k) continues = axes[i].stride[k] == last->stride[k] * last->extent;
    if (continues) {
      last->extent *= axes[i].extent;
    } else {
      nest.axes[static_cast<std::size_t>(nest.rank++)] = axes[i];
    }
  }
  if (nest.rank == 0) {  // one element
    nest.rank = 1;
    nest.axes[0].stride.fill(1);
  }
  return nest;
}

std::int64_t pack_size(const Nest& nest, std::span<const std::uintptr_t> data, std::size_t element_bytes, bool repeats) {
  std::uint64_t bits = 16;  // a bit set of everything that the pack's bytes must divide
  for (std::size_t k = 0; k < data.size(); ++k) {
    const std::int64_t inner = nest.axes[0].stride[k];
    if (repeats && k > 0 && inner == 0) continue;  // one element for the whole pack
    if (inner != 1) return 1;
    bits |= data[k];
    for (int i = 1; i < nest.rank; ++i)
      bits |= static_cast<std::uint64_t>(nest.axes[static_cast<std::size_t>(i)].stride[k]) * element_bytes;
  }
  const auto bytes = std::uint64_t{1} << std::countr_zero(bits);
  const std::int64_t pack = std::max<std::int64_t>(1, static_cast<std::int64_t>(bytes / element_bytes));
  return std::min(pack, static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(nest.axes[0].extent))));
}

Interleave find_interleave(const Nest& nest, std::size_t woven, std::span<const std::uintptr_t> data, std::size_t element_bytes) {
  const std::size_t plain = 1 - woven;
  const std::int64_t pack = static_cast<std::int64_t>(16 / element_bytes);
  Interleave found;
  std::int64_t run = 1;
  int axis = 0;
  for (; axis < std::min(nest.rank, 3); ++axis) {
    const NestAxis& loop = nest.axes[static_cast<std::size_t>(axis)];
    if (loop.stride[woven] != run) return {};
    if (axis > 0 && loop.stride[plain] == 1) break;
    if (axis == 2 || !std::has_single_bit(static_cast<std::uint64_t>(loop.extent))) return {};
    (axis == 0 ? found.near : found.far) = loop.stride[plain];
    run *= loop.extent;
    if (axis == 0) found.shift = std::countr_zero(static_cast<std::uint64_t>(run));
  }
  if (axis == std::min(nest.rank, 3) || (run != 2 && run != 4 && run != 16)) return {};
  found.rest = nest;
  found.rest.rank = nest.rank - axis;
  std::copy(nest.axes.begin() + axis, nest.axes.end(), found.rest.axes.begin());
  const auto whole = [&](std::int64_t stride) { return stride % pack == 0; };
  bool fits = whole(found.rest.axes[0].extent) && whole(found.near) && whole(found.far) && (data[0] | data[1]) % 16 == 0;
  for (int i = 1; i < found.rest.rank; ++i) {
    const NestAxis& loop = found.rest.axes[static_cast<std::size_t>(i)];
    fits = fits && whole(loop.stride[0]) && whole(loop.stride[1]);
  }
  if (!fits) return {};
  found.streams = static_cast<int>(run);
  return found;
}

}  // namespace frieze
