#pragma once
/// Matrix products of values.
#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// y[..., i, j] = sum_l a[..., i, l] * b[..., l, j]
/// a: [..., m, k], b: [..., k, n], y: [..., m, n], f32|f16|bf16, one type, rank up to 8; row-major (nchw). The axes before the last two
/// broadcast as in NumPy. A vector a is [1, k], a vector b is [k, 1], and y lacks that axis; two vectors give a value of rank 0.
/// Inputs may be views of any strides, transposed ones among them; y too where no chain is absorbed. y may overlap no input.
/// Reference sums in double, the kernel in f32; one rounding at the store, after the absorbed chain of up to 4 activations, adds and muls.
/// f32 is true f32 unless TF32 was allowed. cuBLASLt multiplies where rows or columns of a, b and y are runs of memory at multiples of 16
/// bytes, all other products run in a kernel of our own. 2*elements(y)*k flop; moves a, b and y once.
/// Throws ShapeError on other than two inputs, rank 0, inner extents that differ, or axes that do not broadcast; DTypeError on two types.
/// Source: PyTorch 2.x torch.matmul.
class MatMul final : public Layer {
 public:
  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override;
  std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const override;
  FormatRule formats(std::span<const TensorSpec>) const override { return {.nchw = true, .nhwc = false, .prefers = {}}; }
  StrideRule strides(std::span<const TensorSpec>, std::span<const EpilogueOp> epilogue) const override {
    return {.in = Strided::any, .operands = Strided::no, .out = epilogue.empty() ? Strided::any : Strided::no};
  }
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  double typical_size(std::span<const TensorView> in) const override;
  std::shared_ptr<const Layer> shared_copy() const override { return sharing(std::make_shared<MatMul>()); }
  std::string_view type_name() const override { return "MatMul"; }
};

/// torch.matmul(a, b).
Value matmul(Operand a, Operand b);

/// Inputs and output of a MatMul as [batch..., m, k], [batch..., k, n] and [batch..., m, n]: axes that an input does not have, or has one
/// of for many, have stride 0. The shapes must be those that infer() took and gave.
struct MatMulViews {
  TensorView a, b, y;
  MatMulViews(const TensorView& a, const TensorView& b, const TensorView& y);
};

}  // namespace FRIEZE_API
