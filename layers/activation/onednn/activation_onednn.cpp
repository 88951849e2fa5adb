// Activations on oneDNN.
#include <frieze/core/error.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/shared/onednn/onednn.h>

namespace frieze::cpu {

void register_onednn_activation(KernelRegistry& registry);

namespace {

class ActivationOneDnn final : public Kernel {
 public:
  explicit ActivationOneDnn(onednn::Primitive primitive) : primitive_(std::move(primitive)) {}
  void run(const RunArgs& args) const override { primitive_.run(args); }
  std::string describe() const override { return primitive_.name(); }

 private:
  onednn::Primitive primitive_;
};

std::unique_ptr<Kernel> make(const ActivationLayer& layer, const PrepareArgs& args) {
  const auto f = onednn::function_of({.activation = layer.function(), .parameter = layer.parameter()});
  const TensorView &x = args.in_views[0], &y = args.out_views[0];
  const bool contiguous =
      (x.is_contiguous(Format::nchw) && y.is_contiguous(Format::nchw)) || (x.is_contiguous(Format::nhwc) && y.is_contiguous(Format::nhwc));
  if (!f || !contiguous || !args.epilogue.empty()) return nullptr;
  return onednn::try_make([&]() -> std::unique_ptr<Kernel> {
    const dnnl::memory::desc all({x.shape.elements()}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a);
    constexpr auto kind = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::eltwise_forward::primitive_desc desc(onednn::engine(), kind, f->algorithm, all, all, f->alpha, f->beta);
#else
    const dnnl::eltwise_forward::desc wanted(kind, f->algorithm, all, f->alpha, f->beta);
    const dnnl::eltwise_forward::primitive_desc desc(wanted, onednn::engine());
#endif
    onednn::Primitive primitive(dnnl::eltwise_forward(desc), concat_text("oneDNN ", desc.impl_info_str()));
    primitive.add_in(DNNL_ARG_SRC, all, 0);
    primitive.add_out(DNNL_ARG_DST, all);
    return std::make_unique<ActivationOneDnn>(std::move(primitive));
  });
}

template <class L>
std::unique_ptr<Kernel> make_any(const L& layer, const PrepareArgs& args) {
  return make(layer, args);
}

}  // namespace

void register_onednn_activation(KernelRegistry& registry) {
  registry.add<ActivationLayer>(&make_any<ActivationLayer>);
  registry.add<LeakyReLU>(&make_any<LeakyReLU>);
  registry.add<SiLU>(&make_any<SiLU>);
  registry.add<GELU>(&make_any<GELU>);
  registry.add<Sigmoid>(&make_any<Sigmoid>);
  registry.add<Tanh>(&make_any<Tanh>);
}

}  // namespace frieze::cpu
