// Linear on oneDNN.
#include <frieze/core/error.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/shared/onednn/onednn.h>

namespace frieze::cpu {

void register_onednn_linear(KernelRegistry& registry);

namespace {

using dnnl::memory;

class LinearOneDnn final : public Kernel {
 public:
  explicit LinearOneDnn(onednn::Primitive primitive) : primitive_(std::move(primitive)) {}
  void run(const RunArgs& args) const override { primitive_.run(args); }
  std::size_t weight_bytes() const override { return primitive_.fixed_bytes(); }
  std::string describe() const override { return primitive_.name(); }

 private:
  onednn::Primitive primitive_;
};

std::unique_ptr<Kernel> make(const Linear& layer, const PrepareArgs& args) {
  for (const auto& views : {args.in_views, args.out_views}) {
    for (const TensorView& view : views) {
      if (!view.is_contiguous(Format::nchw)) return nullptr;
    }
  }
  const std::int64_t k = layer.in_features(), n = layer.out_features(), m = args.in[0].shape.elements() / k;
  using Tag = memory::format_tag;
  constexpr auto f32 = memory::data_type::f32;
  const memory::desc x({m, k}, f32, Tag::ab), y({m, n}, f32, Tag::ab), bias({1, n}, f32, Tag::ab);
  const std::vector<memory::desc> operands(args.in_views.size() - 1, y);
  const auto chain = onednn::post_ops(args.epilogue, operands);
  if (!chain) return nullptr;
  return onednn::try_make([&]() -> std::unique_ptr<Kernel> {
    const memory::desc any({k, n}, f32, Tag::any), plain({k, n}, f32, Tag::ba);  // [out, in] of PyTorch, transposed
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(chain->ops);
#if DNNL_VERSION_MAJOR >= 3
    const auto desc = layer.has_bias() ? dnnl::matmul::primitive_desc(onednn::engine(), x, any, bias, y, attributes)
                                       : dnnl::matmul::primitive_desc(onednn::engine(), x, any, y, attributes);
#else
    const auto wanted = layer.has_bias() ? dnnl::matmul::desc(x, any, bias, y) : dnnl::matmul::desc(x, any, y);
    const dnnl::matmul::primitive_desc desc(wanted, attributes, onednn::engine());
#endif
    onednn::Primitive primitive(dnnl::matmul(desc), concat_text("oneDNN ", desc.impl_info_str()));
    primitive.add_in(DNNL_ARG_SRC, x, 0);
    primitive.add_out(DNNL_ARG_DST, y);
    primitive.add_fixed(DNNL_ARG_WEIGHTS, onednn::reordered(layer.weight().values.get(), plain, desc.weights_desc()));
    if (layer.has_bias()) primitive.add_fixed(DNNL_ARG_BIAS, onednn::reordered(layer.bias().values.get(), bias, bias));
    primitive.add_operands(args.epilogue, *chain);
    return std::make_unique<LinearOneDnn>(std::move(primitive));
  });
}

}  // namespace

void register_onednn_linear(KernelRegistry& registry) { registry.add<Linear>(&make); }

}  // namespace frieze::cpu
