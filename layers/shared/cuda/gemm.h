#pragma once
/// The matrix product behind Linear and the convolutions that become one: cuBLASLt, any epilogue, any alignment.
#include <cstdint>
#include <optional>
#include <string>

#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/lt_matmul.h>
#include <frieze/layers/shared/cuda/epilogue.h>

namespace frieze::cuda {

struct GemmSpec {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t ldx = 0, ldw = 0;  ///< elements from one row of x, and of w, to the next
  DType dtype = DType::f32;
  const void* w = nullptr;            ///< device memory, [n,k] of dtype
  const void* bias = nullptr;         ///< device memory, n elements of dtype; zeros if there is no bias
  const float* bias_f32 = nullptr;    ///< the same in f32; null if there is no bias
  std::int64_t ldy = 0;               ///< elements from one row of y to the next; 0: n. Others only without an epilogue
  std::int64_t caller_row_bytes = 0;  ///< workspace that the caller needs for each row of a chunk: its part of x
};

/// y[m,n] = chain(x[m,k] * w[n,k]^T + bias[n]), row-major; f32 from the sums to the one rounding at the store.
/// The rows come in chunks, so that all workspace together stays near kWorkspace however large m is. One of
///   fused     cuBLASLt does it all: chains [add] [relu | gelu_tanh] of 16-bit types, [add] [relu] of f32
///   in place  (f32) cuBLASLt writes y, an own pass applies what is left of the chain to it
///   scratch   (16-bit) cuBLASLt writes f32 sums to the workspace, an own pass applies bias and chain: from L2, as a chunk fits there
///   tiles     an own kernel: where cuBLASLt offers nothing, and at launch for pointers that are not multiples of 16 bytes
class Gemm {
 public:
  /// Whether cuBLASLt has the whole chain as its epilogue.
  static bool library_takes(DType dtype, std::span<const EpilogueOp> chain);

  static constexpr std::int64_t kWorkspace = std::int64_t{32} << 20;

  /// args.epilogue is the chain. Throws CudaError.
  Gemm(const GemmSpec& spec, const PrepareArgs& args);

  std::int64_t chunks() const { return (spec_.m - 1) / chunk_rows_ + 1; }
  std::int64_t chunk_rows() const { return chunk_rows_; }
  std::int64_t rows(std::int64_t chunk) const { return std::min(chunk_rows_, spec_.m - chunk * chunk_rows_); }

  /// Enqueues one chunk: `x` is its first row, `y` and the operands of `epilogue` are whole.
  void launch(std::int64_t chunk, const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const;
  /// A multiple of 256; the caller's rows are not in it.
  std::size_t workspace_bytes() const;
  std::string describe() const;
  /// True if no chunk runs in cuBLASLt.
  bool only_own_kernels() const { return store_ == Store::tiles; }

 private:
  enum class Store { fused, in_place, scratch, tiles };
  // Operations from the front of a chain that cuBLASLt has: an add, then an activation.
  struct Prefix {
    bool residual = false;
    Activation activation = Activation::none;
    int count() const { return (residual ? 1 : 0) + (activation != Activation::none ? 1 : 0); }
  };
  static Prefix library_prefix(DType dtype, std::span<const EpilogueOp> chain);
  bool try_plan(Store store, int taken, const LtMatmulSpec& lt, const PrepareArgs& args);
  std::size_t lt_workspace_bytes() const;

  GemmSpec spec_;
  Store store_ = Store::tiles;
  int taken_ = 0;  ///< operations of the chain that cuBLASLt applies
  bool residual_ = false;
  std::int64_t chunk_rows_ = 0;
  std::optional<LtMatmul> main_, tail_;  ///< for whole chunks, and for a last one that is smaller
};

}  // namespace frieze::cuda
