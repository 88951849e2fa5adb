#pragma once
/// Shape: the extents of a tensor, written N,C,H,W for images whatever the memory format is.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>
#include <string>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

/// Up to 8 extents. Extents may be zero here (files hold such tensors); values of a plan must be positive.
/// The element count is checked once, at construction, and fits in a signed 64-bit integer.
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  /// Throws ShapeError on more than 8 extents, a negative extent, or more than 2^63 - 1 elements.
  Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  /// Extent of axis `i`; a negative `i` counts from the end. Throws ShapeError if there is no such axis.
  std::int64_t operator[](int i) const;
  std::int64_t elements() const { return elements_; }
  std::span<const std::int64_t> extents() const { return {extents_.data(), static_cast<std::size_t>(rank_)}; }

  /// The four axes of an image tensor. Throw ShapeError unless the rank is 4.
  std::int64_t n() const { return image_axis(0); }
  std::int64_t c() const { return image_axis(1); }
  std::int64_t h() const { return image_axis(2); }
  std::int64_t w() const { return image_axis(3); }

  /// This shape with axis `i` set to `extent`.
  Shape with(int i, std::int64_t extent) const;

  friend bool operator==(const Shape& a, const Shape& b) = default;

 private:
  std::int64_t image_axis(int i) const;

  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
  std::int64_t elements_ = 1;
};

/// "[1,64,128,128]".
std::string to_string(const Shape& shape);
std::ostream& operator<<(std::ostream& out, const Shape& shape);

/// a*b and a+b of non-negative numbers. Throw ShapeError, naming `what`, when the result exceeds 2^63 - 1.
std::int64_t checked_mul(std::int64_t a, std::int64_t b, const char* what);
std::int64_t checked_add(std::int64_t a, std::int64_t b, const char* what);

}  // namespace FRIEZE_API
