#include <frieze/core/tensor.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <ostream>
#include <string>

#include <frieze/core/error.h>
#include <frieze/core/host_copy.h>
#include <frieze/core/host_memory.h>
#include <frieze/core/overlap.h>
#include <frieze/core/parallel.h>

namespace frieze {

std::string_view name(Format f) { return f == Format::nchw ? "nchw" : "nhwc"; }

Format parse_format(std::string_view text) {
  if (text == "nchw") return Format::nchw;
  if (text == "nhwc") return Format::nhwc;
  throw OptionError("unknown format '" + printable(text, 80) + "': expected nchw or nhwc");
}

std::ostream& operator<<(std::ostream& out, Format f) { return out << name(f); }

std::ostream& operator<<(std::ostream& out, const TensorSpec& spec) {
  out << spec.shape << ' ' << spec.dtype;
  return spec.shape.rank() == 4 ? out << ' ' << spec.format : out;
}

Strides contiguous_strides(const Shape& shape, Format format) {
  Strides strides{};
  std::int64_t step = 1;
  const auto place = [&](int axis) {
    strides[static_cast<std::size_t>(axis)] = step;
    step *= std::max<std::int64_t>(shape[axis], 1);
  };
  if (shape.rank() == 4 && format == Format::nhwc) {
    for (const int axis : {1, 3, 2, 0}) place(axis);
  } else {
    for (int axis = shape.rank() - 1; axis >= 0; --axis) place(axis);
  }
  return strides;
}

bool same_layout(const Shape& shape) { return shape.rank() != 4 || shape.c() == 1 || (shape.h() == 1 && shape.w() == 1); }

bool TensorView::is_contiguous(Format format) const {
  if (shape.elements() == 0) return true;
  const Strides expected = contiguous_strides(shape, format);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] > 1 && stride(axis) != expected[static_cast<std::size_t>(axis)]) return false;
  }
  return true;
}

namespace {

// Elements that are worth a thread of their own.
constexpr std::int64_t kGrain = 1 << 16;

// Calls visit(row-major index, element offset) for every element, without a division per element; large tensors from several threads.
template <class Visit>
void for_each_element(const TensorView& view, const Visit& visit) {
  const std::int64_t count = view.shape.elements();
  if (count == 0) return;
  check<ShapeError>(view.data != nullptr, "a tensor of shape ", view.shape, " has no memory");
  const auto range = [&](std::int64_t first, std::int64_t last) {
    const int rank = view.shape.rank();
    std::array<std::int64_t, Shape::kMaxRank> at{};
    std::int64_t offset = 0, rest = first;
    for (int axis = rank - 1; axis >= 0; --axis) {
      at[static_cast<std::size_t>(axis)] = rest % view.shape[axis];
      offset += rest % view.shape[axis] * view.stride(axis);
      rest /= view.shape[axis];
    }
    for (std::int64_t i = first; i < last; ++i) {
      visit(static_cast<std::size_t>(i), static_cast<std::size_t>(offset));
      for (int axis = rank - 1; axis >= 0; --axis) {
        auto& position = at[static_cast<std::size_t>(axis)];
        offset += view.stride(axis);
        if (++position < view.shape[axis]) break;
        offset -= position * view.stride(axis);
        position = 0;
      }
    }
  };
  if (count <= kGrain) return range(0, count);
  parallel_for(count, range, kGrain);
}

template <class V>
void write_all(std::span<const V> values, const TensorView& view) {
  check<ShapeError>(static_cast<std::int64_t>(values.size()) == view.shape.elements(), "writing ", values.size(),
                    " values into a tensor of shape ", view.shape);
  for_each_element(
      view, [&](std::size_t i, std::size_t offset) { store_element(view.dtype, view.data, offset, static_cast<double>(values[i])); });
}

}  // namespace

std::vector<float> to_floats(const TensorView& view) {
  std::vector<float> values(static_cast<std::size_t>(view.shape.elements()));
  if (view.dtype == DType::f32) {
    copy_elements(view, TensorView(values.data(), {view.shape, DType::f32}));
    return values;
  }
  for_each_element(view, [&](std::size_t i, std::size_t offset) { values[i] = load_element(view.dtype, view.data, offset); });
  return values;
}

std::vector<std::int64_t> to_integers(const TensorView& view) {
  check<DTypeError>(is_integer(view.dtype), "expected integers, got a tensor of ", view.dtype);
  std::vector<std::int64_t> values(static_cast<std::size_t>(view.shape.elements()));
  for_each_element(view, [&](std::size_t i, std::size_t offset) { values[i] = load_integer(view.dtype, view.data, offset); });
  return values;
}

void from_integers(std::span<const std::int64_t> values, const TensorView& view) {
  check<DTypeError>(is_integer(view.dtype), "integers cannot fill a tensor of ", view.dtype);
  check<ShapeError>(static_cast<std::int64_t>(values.size()) == view.shape.elements(), "writing ", values.size(),
                    " values into a tensor of shape ", view.shape);
  for_each_element(view, [&](std::size_t i, std::size_t offset) { store_integer(view.dtype, view.data, offset, values[i]); });
}

void convert(const TensorView& from, const TensorView& to) {
  check<ShapeError>(from.shape == to.shape, "converting a tensor of shape ", from.shape, " into one of ", to.shape);
  if (from.dtype != to.dtype && is_integer(from.dtype) && is_integer(to.dtype)) return from_integers(to_integers(from), to);
  if (from.dtype != to.dtype) return from_floats(to_floats(from), to);
  // Bits: a signalling NaN stays one.
  if (from.shape.elements() == 0 || same_elements(from, to)) return;
  if (!share_memory(from, to)) return copy_elements(from, to);
  HostTensor between({from.shape, from.dtype});
  copy_elements(from, between.view());
  copy_elements(between.view(), to);
}

void from_doubles(std::span<const double> values, const TensorView& view) { write_all(values, view); }
void from_floats(std::span<const float> values, const TensorView& view) {
  if (view.dtype != DType::f32 || static_cast<std::int64_t>(values.size()) != view.shape.elements()) return write_all(values, view);
  copy_elements(TensorView(const_cast<float*>(values.data()), {view.shape, DType::f32}), view);
}

namespace {
constexpr std::size_t kTensorAlign = 64;
}

void HostTensor::Free::operator()(void* p) const noexcept { ::operator delete (p, std::align_val_t{kTensorAlign}, std::nothrow); }

HostTensor::HostTensor(const TensorSpec& spec) : spec_(spec), bytes_(static_cast<std::size_t>(spec.bytes())) {
  check_memory(spec.bytes(), "a tensor of ", spec);
  // By operator new, which a program may replace, to count or to refuse.
  data_.reset(::operator new (std::max(kTensorAlign, bytes_), std::align_val_t{kTensorAlign}, std::nothrow));
  if (!data_) throw std::bad_alloc();
}

HostTensor::HostTensor(const TensorSpec& spec, std::span<const float> values) : HostTensor(spec) { from_floats(values, view()); }

HostTensor::HostTensor(const TensorSpec& spec, std::span<const std::int64_t> values) : HostTensor(spec) { from_integers(values, view()); }

HostTensor HostTensor::converted(DType dtype, Format format) const {
  HostTensor out({spec_.shape, dtype, format});
  convert(view(), out.view());
  return out;
}

}  // namespace frieze
