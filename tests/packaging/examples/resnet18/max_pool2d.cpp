#include "max_pool2d.h"

#include <cmath>

namespace resnet {
using namespace frieze;

MaxPool2d::MaxPool2d(int kernel, int stride, int padding) : kernel_(kernel), stride_(stride), padding_(padding) {
  check<OptionError>(kernel >= 1 && stride >= 1 && padding >= 0 && padding <= kernel / 2,
                     "MaxPool2d expects a kernel and a stride of at least 1 and a padding of at most half the kernel, got ", kernel, ", ",
                     stride, " and ", padding);
}

Inferred MaxPool2d::infer(std::span<const TensorSpec> in) const {
  check_inputs(type_name(), in, 1);
  check_image(type_name(), in[0]);
  const Shape& x = in[0].shape;
  check<ShapeError>(std::min(x.h(), x.w()) + 2 * padding_ >= kernel_, "MaxPool2d expects images of at least ", kernel_ - 2 * padding_,
                    " pixels a side, got ", x);
  const auto extent = [&](std::int64_t size) { return (size + 2 * padding_ - kernel_) / stride_ + 1; };
  return elementwise_cost(in, {{x.n(), x.c(), extent(x.h()), extent(x.w())}, in[0].dtype}, kernel_ * kernel_);
}

void MaxPool2d::reference(const ReferenceArgs& args) const {
  const std::vector<float> x = to_floats(args.in[0]);
  const Shape &from = args.in[0].shape, &to = args.out[0].shape;
  std::vector<float> y;
  for (std::int64_t plane = 0; plane < to.n() * to.c(); ++plane) {
    for (std::int64_t i = 0; i < to.h(); ++i) {
      for (std::int64_t j = 0; j < to.w(); ++j) {
        float most = -INFINITY;
        for (std::int64_t u = 0; u < kernel_; ++u) {
          for (std::int64_t v = 0; v < kernel_; ++v) {
            const std::int64_t h = stride_ * i - padding_ + u, w = stride_ * j - padding_ + v;
            if (h < 0 || w < 0 || h >= from.h() || w >= from.w()) continue;
            const float value = x[static_cast<std::size_t>((plane * from.h() + h) * from.w() + w)];
            if (value > most || std::isnan(value)) most = value;
          }
        }
        y.push_back(most);
      }
    }
  }
  from_floats(y, args.out[0]);
}

std::string MaxPool2d::describe() const { return concat_text(kernel_, "x", kernel_, " stride ", stride_); }

}  // namespace resnet
