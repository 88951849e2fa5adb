#pragma once
/// TensorSpec (what a value is), TensorView (where it lies, not owned) and HostTensor (an owner in host memory).
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <frieze/core/dtype.h>
#include <frieze/core/shape.h>

namespace frieze FRIEZE_API {

/// Order in memory of a rank-4 tensor: nchw has W fastest, nhwc has C fastest. Other ranks are row-major under either name.
enum class Format : std::uint8_t { nchw, nhwc };
std::string_view name(Format f);
/// "nchw" or "nhwc". Throws OptionError.
Format parse_format(std::string_view text);
std::ostream& operator<<(std::ostream& out, Format f);

/// Shape, type and format of one value.
struct TensorSpec {
  Shape shape;
  DType dtype = DType::f32;
  Format format = Format::nchw;

  /// Bytes of the contiguous tensor. Throws ShapeError past 2^63 - 1.
  std::int64_t bytes() const { return checked_mul(shape.elements(), static_cast<std::int64_t>(size_of(dtype)), "bytes"); }
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};
std::ostream& operator<<(std::ostream& out, const TensorSpec& spec);  ///< "[1,64,8,8] bf16 nhwc"

/// Strides in elements, one per axis of the shape as written (N,C,H,W).
using Strides = std::array<std::int64_t, Shape::kMaxRank>;
Strides contiguous_strides(const Shape& shape, Format format);

/// Where the elements of a view lie in its storage: the first one, and the strides, in elements.
struct Layout {
  std::int64_t offset = 0;
  Strides strides{};
  friend bool operator==(const Layout&, const Layout&) = default;
};

/// True if both formats put every element at the same place: rank other than 4, C = 1, or H*W = 1.
bool same_layout(const Shape& shape);

/// Memory seen as a tensor; owns nothing. `data` may point to host or device memory. Constness is the callee's promise:
/// layers never write to their inputs.
struct TensorView {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Strides strides{};

  TensorView() = default;
  /// Contiguous in the format of `spec`.
  TensorView(void* data, const TensorSpec& spec)
      : data(data), shape(spec.shape), dtype(spec.dtype), strides(contiguous_strides(spec.shape, spec.format)) {}
  TensorView(void* data, const Shape& shape, DType dtype, const Strides& strides)
      : data(data), shape(shape), dtype(dtype), strides(strides) {}

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  std::int64_t stride(int axis) const { return strides[static_cast<std::size_t>(axis)]; }
  /// True if the strides (of axes longer than 1) are those of a contiguous tensor in `format`.
  bool is_contiguous(Format format) const;
};

/// Every element of a *host* view in row-major order of its shape, widened to f32 (exact), whatever the strides are.
std::vector<float> to_floats(const TensorView& view);
/// Writes row-major `values` into a *host* view, each rounded once to the view's type. Throws ShapeError on a wrong count.
void from_doubles(std::span<const double> values, const TensorView& view);
void from_floats(std::span<const float> values, const TensorView& view);

/// The same for integers. Throw DTypeError on a view of floats, ShapeError on a wrong count; values past i32 wrap.
std::vector<std::int64_t> to_integers(const TensorView& view);
void from_integers(std::span<const std::int64_t> values, const TensorView& view);
/// Writes every element of one *host* view into another of the same shape, converted once where the types differ: floats to floats
/// rounded to nearest even; floats to integers as to_integer() does; integers to f32 rounded to nearest even, and from there to the
/// 16-bit types; i64 to i32 modulo 2^32. Equal types: bit for bit. Throws ShapeError on shapes that differ.
void convert(const TensorView& from, const TensorView& to);

/// A contiguous tensor in host memory, 64-byte aligned, uninitialised at first.
class HostTensor {
 public:
  HostTensor() = default;
  /// Throws ShapeError past 2^63 - 1 bytes, MemoryError past what this machine has.
  explicit HostTensor(const TensorSpec& spec);
  /// Row-major `values`, each rounded once to the type of `spec`.
  HostTensor(const TensorSpec& spec, std::span<const float> values);
  /// Throws DTypeError unless `spec` is one of integers.
  HostTensor(const TensorSpec& spec, std::span<const std::int64_t> values);

  const TensorSpec& spec() const { return spec_; }
  TensorView view() const { return TensorView(data_.get(), spec_); }
  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }
  /// Row-major (N,C,H,W) values whatever the format is.
  std::vector<float> floats() const { return to_floats(view()); }
  /// Throws DTypeError unless these are integers.
  std::vector<std::int64_t> integers() const { return to_integers(view()); }
  /// The same values in another type and format, as convert() does it.
  HostTensor converted(DType dtype, Format format) const;

 private:
  struct Free {
    void operator()(void* p) const noexcept;
  };
  TensorSpec spec_;
  std::size_t bytes_ = 0;
  std::unique_ptr<void, Free> data_;
};

}  // namespace FRIEZE_API
