// Linear has no kernel of its own: it is one Gemm. The build collects layers by their .cu files.
#include <frieze/core/cuda/handles.h>
#include <frieze/core/integers.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/shared/cuda/gemm.h>

namespace frieze::cuda {
namespace {

class LinearKernel final : public Kernel {
 public:
  LinearKernel(const Linear& layer, const PrepareArgs& args) : epilogue_(args.epilogue.begin(), args.epilogue.end()) {
    const DType t = args.out[0].dtype;
    const std::int64_t in = layer.in_features(), out = layer.out_features();
    // Rows of weights at multiples of 16 bytes: cuBLASLt has its fast kernels for those only.
    const std::int64_t per_16_bytes = 16 / static_cast<std::int64_t>(size_of(t)), ldw = round_up(in, per_16_bytes);
    std::vector<float> packed(static_cast<std::size_t>(out * ldw));
    for (std::int64_t o = 0; o < out; ++o) {
      std::copy_n(layer.weight().values.begin() + o * in, in, packed.begin() + o * ldw);
    }
    const std::vector<float> bias = layer.has_bias() ? layer.bias().rounded(t) : std::vector<float>(static_cast<std::size_t>(out));
    weight_ = to_device(packed, t);
    bias_ = to_device(bias, t);
    bias_f32_ = to_device(bias, DType::f32);
    GemmSpec spec{args.in[0].shape.elements() / in, out, in, in, ldw, t, weight_.data(), bias_.data()};
    spec.bias_f32 = layer.has_bias() ? bias_f32_.as<const float>() : nullptr;
    gemm_.emplace(spec, args);
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const EpilogueArgs epilogue = make_epilogue(epilogue_, args.in.subspan(1));
    const std::int64_t chunk_bytes = gemm_->chunk_rows() * args.in[0].shape[-1] * static_cast<std::int64_t>(size_of(args.out[0].dtype));
    for (std::int64_t i = 0; i < gemm_->chunks(); ++i) {
      gemm_->launch(i, args.in[0].as<const char>() + i * chunk_bytes, args.out[0].data, epilogue, args.workspace, stream);
    }
  }
  std::size_t workspace_bytes() const override { return gemm_->workspace_bytes(); }
  std::size_t weight_bytes() const override { return weight_.bytes() + bias_.bytes() + bias_f32_.bytes(); }
  std::string describe() const override { return gemm_->describe(); }
  bool rebindable() const override { return gemm_->only_own_kernels(); }
  bool builds_nodes() const override { return rebindable(); }

 private:
  std::vector<EpilogueOp> epilogue_;
  DeviceBuffer weight_, bias_, bias_f32_;
  std::optional<Gemm> gemm_;
};

std::unique_ptr<Kernel> make(const Linear& layer, const PrepareArgs& args) { return std::make_unique<LinearKernel>(layer, args); }

}  // namespace

void register_linear(KernelRegistry& registry) { registry.add<Linear>(&make); }

}  // namespace frieze::cuda
