#pragma once
/// One matrix product of cuBLASLt, planned once.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <frieze/core/cuda/kernel.h>

namespace frieze::cuda {

struct LtMatmulSpec {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t ldx = 0, ldw = 0;                    ///< elements from one row of x, and of w, to the next
  DType in = DType::f32;                            ///< of x and w
  DType out = DType::f32;                           ///< of y, the residual and the bias: `in`, or f32
  bool residual = false;                            ///< a matrix of y's shape is added
  const void* bias = nullptr;                       ///< device memory of n elements, or none
  Activation activation = Activation::none;         ///< none, relu or gelu_tanh; the latter two need a bias
  bool allow_tf32 = false;                          ///< f32 products may use TF32
  std::int64_t ldy = 0;                             ///< elements from one row of y, and of the residual, to the next; 0: n
  bool x_turned = false;                            ///< x lies as [k,m], ldx from one k to the next
  bool w_turned = false;                            ///< w lies as [k,n], ldw from one k to the next
  std::int64_t batch = 1;                           ///< products of one shape; more than one without bias, residual and activation
  std::int64_t step_x = 0, step_w = 0, step_y = 0;  ///< elements from one product's x, w and y to the next's; 0 of x or w: the same
};

/// y[m,n] = f(x[m,k] * w[n,k]^T + residual[m,n] + bias[n]), all row-major; sums in f32, one rounding at the
/// store. Pointers must be multiples of 16 bytes. Same bits for the same inputs.
class LtMatmul {
 public:
  /// Chooses an algorithm: the library's first, or the fastest of all it offers if args.tune, which the tuning cache remembers. Algorithms
  /// that reduce partial sums in the output's type are left out (they would round more than once), and so is everything whose activation,
  /// tried on the device, is not ours to within the type's rounding: NaN and infinities included. Nothing if no algorithm is left, or if
  /// there is no cuBLASLt here. Throws CudaError.
  /// `w` is null if launches bring their own: for specs without bias, residual and activation.
  static std::optional<LtMatmul> plan(const LtMatmulSpec& spec, const void* w, const PrepareArgs& args);

  /// Loads the library and says its version, e.g. "13.1.0"; "" if there is none here.
  static std::string library_version();

  LtMatmul(LtMatmul&&) noexcept;
  LtMatmul& operator=(LtMatmul&&) noexcept;
  ~LtMatmul();

  /// Enqueues. `residual` is read only if the spec has one.
  void launch(const void* x, const void* residual, void* y, void* workspace, cudaStream_t stream) const;
  /// Enqueues with another w than the plan's.
  void launch_with(const void* x, const void* w, void* y, void* workspace, cudaStream_t stream) const;
  std::size_t workspace_bytes() const;
  /// "cublasLt algo 66 (2 of 8), bias, relu", or "cublasLt algo 66 (tuned, from the cache), bias, relu".
  std::string describe() const;

 private:
  struct State;
  explicit LtMatmul(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace frieze::cuda
