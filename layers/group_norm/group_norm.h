#pragma once
/// Group normalisation, and its special case of one channel a group: instance normalisation.
#include <cstdint>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

struct GroupNormOptions {
  double eps = 1e-5;   ///< finite, not negative; in units of x^2
  bool affine = true;  ///< weight and bias, one number a channel each
};

/// y[n,c,...] = (x[n,c,...] - mean) / sqrt(variance + eps) * weight[c] + bias[c], mean and variance (over the count, not count - 1) over
/// the C/groups channels of c's group and all further axes of image n. x, y: [N,C,...] of rank 2 or more, f32|f16|bf16, same type and
/// format; y must not overlap x. Parameters "weight" and "bias": [C]. Statistics in f32, of values relative to one of the group and merged
/// by parts (Chan), so a mean far from zero costs no digits; in an order that depends on the shape, the alignment and the device alone:
/// every run gives the same bits. Rounded once, behind an epilogue of up to four operations. A group whose values are all equal gives bias;
/// one with a NaN or an infinity is NaN throughout. Deviations whose squares leave f32's range (beyond 1e19, or below 1e-19 without eps)
/// are outside of the contract. Moves 2*elements*sizeof(T) bytes where a block holds a group, else reads x a second time, from the cache as
/// far as it holds x; 6 flop/element. The GPU takes contiguous nchw and nhwc (CudaError otherwise). Throws OptionError unless groups >= 1
/// divides channels, on an eps that is negative or not finite; ShapeError on other than one input, a rank below 2 or another C. Source:
/// PyTorch 2.x nn.GroupNorm; arXiv:1803.08494.
class GroupNorm final : public Layer {
 public:
  GroupNorm(std::int64_t groups, std::int64_t channels, GroupNormOptions options = {});

  std::int64_t groups() const { return groups_; }
  std::int64_t channels() const { return channels_; }
  const GroupNormOptions& options() const { return options_; }
  const Parameter* weight() const { return options_.affine ? &weight_ : nullptr; }
  const Parameter* bias() const { return options_.affine ? &bias_ : nullptr; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<GroupNorm>(groups_, channels_, options_)); }
  std::string_view type_name() const override { return "GroupNorm"; }

 private:
  std::int64_t groups_, channels_;
  GroupNormOptions options_;
  Parameter weight_, bias_;
};

struct InstanceNorm2dOptions {
  double eps = 1e-5;                 ///< finite, not negative; in units of x^2
  bool affine = false;               ///< weight and bias, one number a channel each
  bool track_running_stats = false;  ///< true is refused: the statistics are those of each image
};

/// GroupNorm of one channel a group over images [N,C,H,W]: mean and variance over the pixels of each channel of each image. Everything else
/// is as there.
/// Throws OptionError on channels < 1, track_running_stats, or an eps that is negative or not finite; ShapeError on other than one input, a
/// rank other than 4 or another C.
/// Source: PyTorch 2.x nn.InstanceNorm2d; arXiv:1607.08022.
class InstanceNorm2d final : public Layer {
 public:
  explicit InstanceNorm2d(std::int64_t channels, InstanceNorm2dOptions options = {});

  std::int64_t channels() const { return channels_; }
  const InstanceNorm2dOptions& options() const { return options_; }
  const Parameter* weight() const { return options_.affine ? &weight_ : nullptr; }
  const Parameter* bias() const { return options_.affine ? &bias_ : nullptr; }

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<InstanceNorm2d>(channels_, options_)); }
  std::string_view type_name() const override { return "InstanceNorm2d"; }

 private:
  std::int64_t channels_;
  InstanceNorm2dOptions options_;
  Parameter weight_, bias_;
};

/// Without weight and bias.
Value group_norm(Operand x, std::int64_t groups, double eps = 1e-5);
Value instance_norm(Operand x, double eps = 1e-5);

}  // namespace FRIEZE_API
