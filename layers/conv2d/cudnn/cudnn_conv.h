#pragma once
/// Convolutions of cuDNN's backend API: what it offers for one, and plans made from that.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <frieze/core/layer.h>

namespace frieze::cuda {

/// y = chain(conv(x, w) + bias): x, y and the chain's operands nhwc and dense, w dense as [out_c, kernel_h, kernel_w, in_c], bias [out_c],
/// all of dtype. f32 from the sums to the one rounding at the store. Pointers are multiples of 16 bytes.
struct CudnnConvSpec {
  DType dtype = DType::f32;
  bool allow_tf32 = false;
  std::int64_t n = 0, in_c = 0, in_h = 0, in_w = 0, out_c = 0, out_h = 0, out_w = 0;
  std::int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
  bool bias = false;
  std::vector<EpilogueOp> chain;

  /// All of it, for a cache's key.
  std::string text() const;
};

/// A finalised plan. It holds the code that a graph captured from it runs: it must outlive every executable graph.
class CudnnConvPlan {
 public:
  /// Enqueues. `operands`: one for each add and mul of the chain, in order.
  void launch(const void* x, const void* w, const void* bias, std::span<const void* const> operands, void* y, void* workspace,
              cudaStream_t stream) const;
  std::size_t workspace_bytes() const;
  /// "engine 39 k24=7 k27=2": the same engine and settings again, by the same version of the library.
  const std::string& name() const;
  /// Compiled for this plan: worth keeping as json().
  bool is_compiled() const;
  /// The plan with its code, as cuDNN writes it.
  std::string json() const;

  struct State;
  explicit CudnnConvPlan(std::unique_ptr<State> state);
  ~CudnnConvPlan();

 private:
  std::unique_ptr<State> state_;
};

/// What cuDNN offers for one convolution on the current device. Everything throws CudaError.
class CudnnConv {
 public:
  /// Whether the library can be loaded here: the first question, which may take half a second, and warn once.
  static bool available();
  /// "9.14.0"; the library must be available.
  static std::string version();

  explicit CudnnConv(const CudnnConvSpec& spec);
  ~CudnnConv();

  /// Names of up to `most` engines with their settings, best guess first. Left out: results that differ from run to run, Winograd and
  /// Fourier transforms, sums in less than f32, and TF32 unless it is allowed. Empty: the library has nothing for it.
  std::vector<std::string> offers(std::size_t most);
  /// Finalises offers, several at a time: what is compiled takes up to a second each. nullptr for one that cannot be.
  std::vector<std::shared_ptr<const CudnnConvPlan>> plans(std::span<const std::string> names);
  /// A plan from its json(), in milliseconds; nullptr if the library does not take it.
  std::shared_ptr<const CudnnConvPlan> restored(const std::string& name, const std::string& json);

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace frieze::cuda
