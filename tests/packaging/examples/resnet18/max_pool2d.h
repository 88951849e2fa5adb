#pragma once
/// A layer of this program's own: Frieze has no max pooling. max_pool2d.cpp has checks and truth, max_pool2d.cu the kernel.
#include <frieze/frieze.h>

namespace resnet {

/// y[n,c,i,j] = max x[n,c,s*i-p+u,s*j-p+v] over 0 <= u,v < k, positions outside of x left out. x: [N,C,H,W], f32|f16|bf16;
/// y: [N,C,(H+2p-k)/s+1,(W+2p-k)/s+1]. NaN in a window gives NaN. Every bit is one of x's.
/// Throws OptionError unless k, s >= 1 and 0 <= p <= k/2; ShapeError on another rank, or an image smaller than the window.
/// Source: PyTorch nn.MaxPool2d without dilation.
class MaxPool2d final : public frieze::Layer {
 public:
  MaxPool2d(int kernel, int stride, int padding);
  int kernel() const { return kernel_; }
  int stride() const { return stride_; }
  int padding() const { return padding_; }

  frieze::Inferred infer(std::span<const frieze::TensorSpec> in) const override;
  void reference(const frieze::ReferenceArgs& args) const override;
  frieze::FormatRule formats(std::span<const frieze::TensorSpec>) const override { return {.nchw = true, .nhwc = false, .prefers = {}}; }
  frieze::ErrorBudget budget(std::span<const frieze::TensorSpec>) const override { return {.roundings = 0, .terms = 0}; }
  std::shared_ptr<const frieze::Layer> shared_copy() const override {
    return sharing(std::make_shared<MaxPool2d>(kernel_, stride_, padding_));
  }
  std::string describe() const override;
  std::string_view type_name() const override { return "MaxPool2d"; }

 private:
  int kernel_, stride_, padding_;
};

/// Call it before the first compile() for a CUDA device.
void register_max_pool2d();

}  // namespace resnet
