#pragma once
/// Internal to layers/group_norm: groups of channels of nhwc images.
#include <cuda_runtime_api.h>

#include <string>

#include <frieze/layers/shared/cuda/row_norm.h>

namespace frieze::cuda {

struct NhwcGroupProblem {
  DType dtype = DType::f32;
  std::int64_t images = 1, pixels = 1;
  int channels = 1, groups = 1;
};

/// Chooses how images are divided into ranges of pixels and tiles of channels, once a plan; any pointers may follow.
class NhwcGroupNorm {
 public:
  /// Loads the kernels. Throws CudaError.
  NhwcGroupNorm(const NhwcGroupProblem& problem, int sm_count);
  std::size_t workspace_bytes() const;
  /// "a block per channel tile, read twice" or "N ranges of pixels, read twice", for aligned tensors.
  std::string describe() const;
  void launch(const RowNormCall& call, cudaStream_t stream) const;

 private:
  struct Choice {
    int vector = 1;          // channels of a pack
    int tile = 1;            // channels of a block
    int tiles = 1;           // of an image
    int tiles_of_group = 1;  // more than 1: a tile is part of one group; else it holds whole groups
    std::int64_t segment = 1;
    int segments = 1;  // of an image's pixels, `segment` each; 1: one launch
    int columns() const { return tile / vector; }
    std::int64_t pieces() const { return std::int64_t{segments} * tiles_of_group; }
  };
  Choice choose(bool packs) const;

  NhwcGroupProblem problem_;
  int sm_count_;
  Choice aligned_, other_;
};

}  // namespace frieze::cuda
