#pragma once
/// Contiguous rows, each brought to mean 0 and variance 1, then scaled and shifted: LayerNorm over last axes, and over the channels of nhwc
/// images; GroupNorm and InstanceNorm2d of nchw images, whose groups are rows.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include <frieze/layers/shared/cuda/epilogue.h>

namespace frieze::cuda {

struct RowNormProblem {
  DType dtype = DType::f32;
  std::int64_t rows = 1, length = 1;
  /// 0: weight and bias hold a value for each element of a row. Else every `plane` elements share one, and those of `groups` rows in turn
  /// lie behind each other.
  std::int64_t plane = 0, groups = 1;
};

/// What a launch needs besides the problem. y = (x - mean) / sqrt(variance + eps) * weight + bias, then the epilogue; y must not overlap x.
struct RowNormCall {
  const void* x = nullptr;
  void* y = nullptr;
  const void *weight = nullptr, *bias = nullptr;  ///< of the problem's type; nullptr: none
  float eps = 0;
  EpilogueArgs epilogue;
  void* workspace = nullptr;
};

/// Chooses how the rows are divided, once a plan; any pointers may follow.
class RowNorm {
 public:
  /// Loads the kernels. Throws CudaError.
  RowNorm(const RowNormProblem& problem, int sm_count);
  std::size_t workspace_bytes() const;
  /// "N lanes a row in registers, …", "a block per row, read twice" or "N segments of a row, read twice", for aligned tensors.
  std::string describe() const;
  void launch(const RowNormCall& call, cudaStream_t stream) const;

 private:
  enum class Path : std::uint8_t { registers, block, segments };
  struct Choice {
    Path path = Path::registers;
    int vector = 1;                        // elements of a pack
    int loads = 4, lanes = 8, rounds = 1;  // in registers: packs of a thread, threads of a row, rows of a thread one after the other
    std::int64_t segment = 0;              // elements; a multiple of a pack
    int segments = 1;                      // of a row
  };
  Choice choose(bool packs) const;

  RowNormProblem problem_;
  int sm_count_;
  Choice aligned_, other_;
};

}  // namespace frieze::cuda
