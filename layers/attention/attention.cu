// ScaledDotProductAttention's choice of a kernel.
#include <frieze/core/error.h>
#include <frieze/layers/attention/attention.h>
#include <frieze/layers/attention/cuda/attention_call.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

HeadsView heads_view(const TensorView& x, std::int64_t heads, std::int64_t n) {
  const int rank = x.shape.rank();
  const auto step = [&](int from_the_end) {
    return from_the_end <= rank && x.shape[-from_the_end] > 1 ? x.stride(rank - from_the_end) : 0;
  };
  const std::int64_t own_heads = rank >= 3 ? x.shape[-3] : 1;
  HeadsView view;
  view.data = x.data;
  view.n = rank >= 4 && n > 1 ? step(4) : 0;
  view.head = step(3);
  view.row = step(2);
  view.column = x.shape[-1] > 1 ? x.stride(rank - 1) : 1;
  view.group = static_cast<int>(heads / own_heads);
  return view;
}

class AttentionKernel final : public NodeKernel {
 public:
  AttentionKernel(const ScaledDotProductAttention& layer, const PrepareArgs& args)
      : dtype_(args.out[0].dtype), capability_(args.device->compute_capability), sm_count_(args.device->sm_count) {
    const AttentionSizes s(args.in[0].shape, args.in[1].shape, args.in[2].shape);
    const auto as_int = [](std::int64_t v) { return static_cast<int>(v); };
    base_.causal = layer.options().is_causal;
    base_.n = as_int(s.n);
    base_.heads = as_int(s.heads);
    base_.rows = as_int(s.rows);
    base_.keys = as_int(s.keys);
    base_.width = as_int(s.width);
    base_.value_width = as_int(s.value_width);
    base_.scale = static_cast<float>(layer.scale(s.width));
    fused_ = dtype_ != DType::f32 && s.width <= kFusedWidth;
    if (!fused_) {
      preload_chunked_attention(dtype_);
      return;
    }
    preload_fused_attention(dtype_, base_);
    const bool placed = !args.in_views.empty();
    const AttentionCall call = placed ? call_of(args.in_views, args.out_views[0]) : call_of(contiguous(args.in), contiguous(args.out)[0]);
    warpgroup_ = takes_warpgroup_attention(dtype_, call, capability_);
    if (warpgroup_) preload_warpgroup_attention(dtype_, call);
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const AttentionCall call = call_of(args.in, args.out[0]);
    if (!fused_) return launch_chunked_attention(dtype_, call, args.workspace, stream);
    // The tensors may begin elsewhere than was thought.
    if (warpgroup_ && takes_warpgroup_attention(dtype_, call, capability_))
      return launch_warpgroup_attention(dtype_, call, sm_count_, stream);
    launch_fused_attention(dtype_, call, stream);
  }
  std::size_t workspace_bytes() const override { return fused_ ? 0 : chunked_attention_workspace(base_); }
  std::string describe() const override {
    return !fused_ ? "rows of scores in chunks" : warpgroup_ ? "fused, warp-group products" : "fused, tensor-core tiles";
  }

 private:
  static std::vector<TensorView> contiguous(std::span<const TensorSpec> specs) {
    std::vector<TensorView> views;
    for (const TensorSpec& spec : specs) views.emplace_back(nullptr, spec);
    return views;
  }

  AttentionCall call_of(std::span<const TensorView> in, const TensorView& out) const {
    AttentionCall call = base_;
    call.q = heads_view(in[0], call.heads, call.n);
    call.k = heads_view(in[1], call.heads, call.n);
    call.v = heads_view(in[2], call.heads, call.n);
    call.o = heads_view(out, call.heads, call.n);
    if (in.size() == 4) {
      const DType t = in[3].dtype;
      call.mask = heads_view(in[3], 1, call.n);
      call.mask.group = 1;
      if (in[3].shape.rank() < 1 || in[3].shape[-1] == 1) call.mask.column = 0;
      call.mask_kind = t == DType::i32 ? MaskKind::i32 : t == DType::i64 ? MaskKind::i64 : t == DType::f32 ? MaskKind::f32 : MaskKind::run;
    }
    return call;
  }

  AttentionCall base_;
  DType dtype_;
  int capability_, sm_count_;
  bool fused_ = false, warpgroup_ = false;
};

std::unique_ptr<Kernel> make(const ScaledDotProductAttention& layer, const PrepareArgs& args) {
  return std::make_unique<AttentionKernel>(layer, args);
}

}  // namespace

void register_attention(KernelRegistry& registry) { registry.add<ScaledDotProductAttention>(&make); }

}  // namespace frieze::cuda
