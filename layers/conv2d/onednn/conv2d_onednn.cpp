// Conv2d on oneDNN.
#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/shared/onednn/onednn.h>

namespace frieze::cpu {

void register_onednn_conv2d(KernelRegistry& registry);

namespace {

using dnnl::memory;

class ConvKernel final : public Kernel {
 public:
  explicit ConvKernel(onednn::Primitive primitive) : primitive_(std::move(primitive)) {}
  void run(const RunArgs& args) const override { primitive_.run(args); }
  std::size_t weight_bytes() const override { return primitive_.fixed_bytes(); }
  std::string describe() const override { return primitive_.name(); }

 private:
  onednn::Primitive primitive_;
};

std::unique_ptr<Kernel> make(const Conv2d& layer, const PrepareArgs& args) {
  if (layer.padding_mode() != PadMode::zeros) return nullptr;
  const auto x = onednn::image_desc(args.in_views[0], args.format), y = onednn::image_desc(args.out_views[0], args.format);
  if (!x || !y) return nullptr;
  std::vector<memory::desc> operands;
  for (std::size_t i = 1; i < args.in_views.size(); ++i) {
    const auto operand = onednn::image_desc(args.in_views[i], args.format);
    if (!operand) return nullptr;
    operands.push_back(*operand);
  }
  const auto chain = onednn::post_ops(args.epilogue, operands);
  if (!chain) return nullptr;
  return onednn::try_make([&]() -> std::unique_ptr<Kernel> {
    const std::int64_t groups = layer.groups(), in = layer.in_channels() / groups, out = layer.out_channels() / groups;
    const Size2d k = layer.kernel();
    const memory::dims stride{layer.stride().h, layer.stride().w}, dilation{layer.dilation().h - 1, layer.dilation().w - 1};
    const Padding2d& p = layer.padding();
    const memory::dims before{p.top, p.left}, behind{p.bottom, p.right};
    const memory::dims sizes = groups == 1 ? memory::dims{out, in, k.h, k.w} : memory::dims{groups, out, in, k.h, k.w};
    using Tag = memory::format_tag;
    constexpr auto f32 = memory::data_type::f32;
    const memory::desc any(sizes, f32, Tag::any), plain(sizes, f32, groups == 1 ? Tag::oihw : Tag::goihw);
    const memory::desc bias({layer.out_channels()}, f32, Tag::x);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(chain->ops);
    constexpr auto kind = dnnl::prop_kind::forward_inference;
    constexpr auto how = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
    using Described = dnnl::convolution_forward::primitive_desc;
    const Described desc = layer.has_bias()
                               ? Described(onednn::engine(), kind, how, *x, any, bias, *y, stride, dilation, before, behind, attributes)
                               : Described(onednn::engine(), kind, how, *x, any, *y, stride, dilation, before, behind, attributes);
#else
    const dnnl::convolution_forward::desc wanted =
        layer.has_bias() ? dnnl::convolution_forward::desc(kind, how, *x, any, bias, *y, stride, dilation, before, behind)
                         : dnnl::convolution_forward::desc(kind, how, *x, any, *y, stride, dilation, before, behind);
    const dnnl::convolution_forward::primitive_desc desc(wanted, attributes, onednn::engine());
#endif
    onednn::Primitive primitive(dnnl::convolution_forward(desc), concat_text("oneDNN ", desc.impl_info_str()));
    primitive.add_in(DNNL_ARG_SRC, *x, 0);
    primitive.add_out(DNNL_ARG_DST, *y);
    primitive.add_fixed(DNNL_ARG_WEIGHTS, onednn::reordered(layer.weight().values.get(), plain, desc.weights_desc()));
    if (layer.has_bias()) primitive.add_fixed(DNNL_ARG_BIAS, onednn::reordered(layer.bias().values.get(), bias, bias));
    primitive.add_operands(args.epilogue, *chain);
    return std::make_unique<ConvKernel>(std::move(primitive));
  });
}

}  // namespace

void register_onednn_conv2d(KernelRegistry& registry) { registry.add<Conv2d>(&make); }

}  // namespace frieze::cpu
