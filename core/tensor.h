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

/// A contiguous tensor in host memory, 64-byte aligned, uninitialised at first.
class HostTensor {
 public:
  HostTensor() = default;
  /// Throws ShapeError past 2^63 - 1 bytes, MemoryError past what this machine has.
  explicit HostTensor(const TensorSpec& spec);
  /// Row-major `values`, each rounded once to the type of `spec`.
  HostTensor(const TensorSpec& spec, std::span<const float> values);

  const TensorSpec& spec() const { return spec_; }
  TensorView view() const { return TensorView(data_.get(), spec_); }
  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }
  /// Row-major (N,C,H,W) values whatever the format is.
  std::vector<float> floats() const { return to_floats(view()); }
  /// The same values in another type and format.
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
