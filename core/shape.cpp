#include <frieze/core/shape.h>

#include <algorithm>
#include <ostream>

#include <frieze/core/error.h>

namespace frieze {

std::int64_t checked_mul(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t product = 0;
  check<ShapeError>(!__builtin_mul_overflow(a, b, &product), what, ": ", a, " x ", b, " exceeds 2^63 - 1");
  return product;
}

std::int64_t checked_add(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t sum = 0;
  check<ShapeError>(!__builtin_add_overflow(a, b, &sum), what, ": ", a, " + ", b, " exceeds 2^63 - 1");
  return sum;
}

Shape::Shape(std::span<const std::int64_t> extents) {
  check<ShapeError>(extents.size() <= kMaxRank, "a shape has at most ", kMaxRank, " extents, got ", extents.size());
  rank_ = static_cast<int>(extents.size());
  std::copy(extents.begin(), extents.end(), extents_.begin());
  for (const std::int64_t e : extents) check<ShapeError>(e >= 0, "negative extent ", e, " in shape ", to_string(*this));
  // The product is taken over the non-zero extents, so that a zero cannot hide an overflow from code that looks at strides.
  std::int64_t product = 1;
  for (const std::int64_t e : extents) product = checked_mul(product, std::max<std::int64_t>(e, 1), "element count");
  elements_ = std::find(extents.begin(), extents.end(), 0) == extents.end() ? product : 0;
}

std::int64_t Shape::operator[](int i) const {
  const int axis = i < 0 ? i + rank_ : i;
  check<ShapeError>(axis >= 0 && axis < rank_, "shape ", *this, " has no axis ", i);
  return extents_[static_cast<std::size_t>(axis)];
}

std::int64_t Shape::image_axis(int i) const {
  check<ShapeError>(rank_ == 4, "expected an image shape [N,C,H,W], got ", *this);
  return extents_[static_cast<std::size_t>(i)];
}

Shape Shape::with(int i, std::int64_t extent) const {
  (void)(*this)[i];  // refuses an axis that is not there
  auto extents = extents_;
  extents[static_cast<std::size_t>(i < 0 ? i + rank_ : i)] = extent;
  return Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(rank_)));
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t e : shape.extents()) {
    if (text.size() > 1) text += ',';
    text += std::to_string(e);
  }
  return text + "]";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << to_string(shape); }

}  // namespace frieze
