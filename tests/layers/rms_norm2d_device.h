#pragma once
/// For tests of rms_norm2d() on device memory: tensors of any strides between guards, and the truth for them. Needs CUDA.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include "layers/rms_norm2d_formula.h"
#include "support/parity.h"

namespace frieze::test {

/// The order of the axes in memory, fastest first, and how far apart neighbours of each axis are: 1 is dense, 2 leaves every
/// other place out, a negative number runs backwards.
struct Layout {
  const char* name;
  std::array<int, 4> order;
  std::array<std::int64_t, 4> step{1, 1, 1, 1};  ///< by axis N, C, H, W
};
inline constexpr Layout kNchw{"nchw", {3, 2, 1, 0}}, kNhwc{"nhwc", {1, 3, 2, 0}};

/// A device tensor whose memory outside its elements holds a pattern that must survive.
class DeviceTensor {
 public:
  DeviceTensor(const Shape& shape, DType t, const Layout& layout) {
    Strides strides{};
    std::int64_t run = 1, first = kGuard;
    for (const int axis : layout.order) {
      const auto a = static_cast<std::size_t>(axis);
      const std::int64_t step = layout.step[a], size = std::abs(step);
      strides[a] = run * step;
      if (step < 0) first += (shape[axis] - 1) * run * size;
      run *= shape[axis] * size;
    }
    image_.assign((static_cast<std::size_t>(run + 2 * kGuard) * size_of(t) + 1) / 2, kPattern);
    memory_ = cuda::DeviceBuffer(image_.size() * 2);
    view_ = TensorView(nullptr, shape, t, strides);
    offset_ = static_cast<std::size_t>(first) * size_of(t);
    view_.data = memory_.as<char>() + offset_;
    fill(std::vector<float>(static_cast<std::size_t>(shape.elements()), std::nanf("")));
  }

  const TensorView& view() const { return view_; }

  /// Row-major values in, all the memory to the device.
  void fill(std::span<const float> values) {
    from_floats(values, host_view(image_));
    memory_.upload(image_.data(), image_.size() * 2);
  }
  /// Row-major values as they are now; fails if anything else changed since fill().
  std::vector<float> floats() {
    std::vector<std::uint16_t> now(image_.size());
    memory_.download(now.data(), now.size() * 2);
    const std::vector<float> values = to_floats(host_view(now));
    from_floats(to_floats(host_view(image_)), host_view(now));
    EXPECT_EQ(now, image_) << "memory beside the tensor changed";
    return values;
  }

 private:
  static constexpr std::int64_t kGuard = 64;
  static constexpr std::uint16_t kPattern = 0x7FFF;  // a NaN in every type
  TensorView host_view(std::vector<std::uint16_t>& image) const {
    return TensorView(reinterpret_cast<char*>(image.data()) + offset_, view_.shape, view_.dtype, view_.strides);
  }

  TensorView view_;
  std::size_t offset_ = 0;
  std::vector<std::uint16_t> image_;
  cuda::DeviceBuffer memory_;
};

/// Row-major values of a batch, image by image.
inline std::vector<float> image_values(const Shape& shape, DType t, Fill fill, std::uint64_t seed) {
  std::vector<float> values;
  for (std::int64_t n = 0; n < shape.n(); ++n) {
    const std::vector<float> image = random_values(static_cast<std::size_t>(shape.elements() / shape.n()),
                                                   seed * 101 + static_cast<std::uint64_t>(n), fill, t, shape.c());
    values.insert(values.end(), image.begin(), image.end());
  }
  return values;
}

/// The formula at every element, row-major.
inline std::vector<NormResult> norm_tensor(const RMSNorm2dOptions& o, const Shape& shape, DType t, std::span<const float> x,
                                           std::span<const float> weight, std::span<const float> bias, std::span<const float> residual) {
  const std::int64_t c = shape.c(), pixels = shape.h() * shape.w();
  std::vector<NormResult> all(x.size());
  std::vector<float> in(static_cast<std::size_t>(c)), second(residual.empty() ? 0 : in.size());
  for (std::int64_t p = 0; p < shape.n() * pixels; ++p) {
    const auto at = [&](std::size_t ch) {
      return static_cast<std::size_t>((p / pixels * c + static_cast<std::int64_t>(ch)) * pixels + p % pixels);
    };
    for (std::size_t ch = 0; ch < in.size(); ++ch) in[ch] = x[at(ch)];
    for (std::size_t ch = 0; ch < second.size(); ++ch) second[ch] = residual[at(ch)];
    const std::vector<NormResult> y = norm_pixel(o, t, in, weight, bias, second);
    for (std::size_t ch = 0; ch < in.size(); ++ch) all[at(ch)] = y[ch];
  }
  return all;
}

/// What one direct call is given, on the device and on the host.
struct DirectCase {
  RMSNorm2dOptions options;
  Shape shape;
  DType dtype = DType::f32;
  Layout x_layout = kNchw, y_layout = kNchw, residual_layout = kNchw;
  Fill fill = Fill::normal;

  std::vector<float> x = {}, residual = {}, weight = {}, bias = {};  // row-major values
  cuda::DeviceBuffer device_weight = {}, device_bias = {};
  RMSNorm2dCall call = {};

  /// Makes the values and the call, but for the residual's view.
  void prepare(std::uint64_t seed = 1) {
    RMSNorm2d layer(shape.c(), options);
    init_random(layer, seed + 10);
    x = image_values(shape, dtype, fill, seed);
    if (options.residual != ResidualMode::none) residual = image_values(shape, dtype, fill, seed + 50);
    call.eps = options.eps;
    call.eps_mode = options.eps_mode;
    call.rounding = options.rounding;
    call.activation = options.activation;
    call.residual_mode = options.residual;
    const auto upload = [&](const Parameter* p, std::vector<float>& host, cuda::DeviceBuffer& device, const void*& pointer) {
      if (p == nullptr) return;
      host = p->rounded(dtype);
      device = cuda::to_device(host, dtype);
      pointer = device.data();
    };
    upload(layer.weight(), weight, device_weight, call.weight);
    upload(layer.bias(), bias, device_bias, call.bias);
  }
  std::vector<NormResult> truth() const { return norm_tensor(options, shape, dtype, x, weight, bias, residual); }
  ErrorBudget budget() const {
    const TensorSpec spec{shape, dtype}, in[] = {spec, spec};
    return RMSNorm2d(shape.c(), options).budget(std::span(in, residual.empty() ? 1 : 2));
  }
  void expect_close(std::span<const float> got, const char* what) const {
    std::vector<float> expected;
    for (const NormResult& r : truth()) expected.push_back(static_cast<float>(r.y));
    const ParityReport report = compare(got, expected, dtype, budget());
    EXPECT_LE(report.share, 1) << what << ": " << RMSNorm2d(shape.c(), options).describe() << " on " << shape << ' ' << dtype << ", x "
                               << x_layout.name << ", y " << y_layout.name << ", max abs " << report.max_abs << " at "
                               << report.worst_index;
  }
};

}  // namespace frieze::test
