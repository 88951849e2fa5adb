#include <frieze/layers/shared/onednn/onednn.h>

#include <dlfcn.h>

#include <frieze/core/error.h>
#include <frieze/core/parallel.h>

namespace frieze::onednn {
namespace {

// Debian's oneDNN runs on OpenMP, whose number of threads each thread of the program sets for itself.
void set_threads() {
  using SetThreads = void (*)(int);
  static const auto set = reinterpret_cast<SetThreads>(::dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  static thread_local int done = 0;
  const int wanted = thread_count();
  if (set != nullptr && done != wanted) set(wanted);
  done = wanted;
}

}  // namespace

std::optional<Function> function_of(const EpilogueOp& op) {
  using A = dnnl::algorithm;
  switch (op.activation) {
    case Activation::leaky_relu:
      if (op.parameter == 0) return std::nullopt;  // a relu, which makes 0 of NaN
      return Function{A::eltwise_relu, op.parameter, 0};
    case Activation::silu: return Function{A::eltwise_swish, 1, 0};
    case Activation::gelu: return Function{A::eltwise_gelu_erf, 0, 0};
    case Activation::gelu_tanh: return Function{A::eltwise_gelu_tanh, 0, 0};
    case Activation::sigmoid: return Function{A::eltwise_logistic, 0, 0};
    case Activation::tanh: return Function{A::eltwise_tanh, 0, 0};
    default: return std::nullopt;
  }
}

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

std::optional<dnnl::memory::desc> image_desc(const TensorView& view, Format format) {
  if (view.shape.rank() != 4 || !view.is_contiguous(format)) return std::nullopt;
  const Shape& s = view.shape;
  using Tag = dnnl::memory::format_tag;
  return dnnl::memory::desc({s.n(), s.c(), s.h(), s.w()}, dnnl::memory::data_type::f32, format == Format::nhwc ? Tag::nhwc : Tag::nchw);
}

std::optional<PostOps> post_ops(std::span<const EpilogueOp> chain, std::span<const dnnl::memory::desc> operands) {
  PostOps made;
  for (const EpilogueOp& op : chain) {
    if (op.kind == EpilogueOp::Kind::activation && op.activation == Activation::relu && &op == &chain.back()) {
      made.relu = true;
      continue;
    }
    if (op.kind == EpilogueOp::Kind::activation) {
      const std::optional<Function> f = function_of(op);
      if (!f) return std::nullopt;
#if DNNL_VERSION_MAJOR >= 3
      made.ops.append_eltwise(f->algorithm, f->alpha, f->beta);
#else
      made.ops.append_eltwise(1.0F, f->algorithm, f->alpha, f->beta);
#endif
      continue;
    }
    if (made.operands.size() >= operands.size()) return std::nullopt;
    made.operands.push_back(operands[made.operands.size()]);
    made.ops.append_binary(op.kind == EpilogueOp::Kind::add ? dnnl::algorithm::binary_add : dnnl::algorithm::binary_mul,
                           made.operands.back());
  }
  return made;
}

Primitive::Primitive(dnnl::primitive primitive, std::string name) : primitive_(std::move(primitive)), name_(std::move(name)) {}

void Primitive::add_fixed(int argument, dnnl::memory memory) { fixed_.emplace_back(argument, std::move(memory)); }
void Primitive::add_in(int argument, const dnnl::memory::desc& desc, std::size_t i) { ports_.push_back({argument, desc, i, false}); }
void Primitive::add_out(int argument, const dnnl::memory::desc& desc) { ports_.push_back({argument, desc, 0, true}); }

void Primitive::add_operands(std::span<const EpilogueOp> chain, const PostOps& ops) {
  relu_ = ops.relu;
  std::size_t operand = 0;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    if (chain[i].kind == EpilogueOp::Kind::activation) continue;
    add_in(DNNL_ARG_ATTR_MULTIPLE_POST_OP(static_cast<int>(i)) | DNNL_ARG_SRC_1, ops.operands[operand], 1 + operand);
    ++operand;
  }
}

void apply_relu(float* values, std::int64_t count) {
  parallel_for(
      count,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) values[i] = values[i] < 0 ? 0 : values[i];
      },
      1 << 15);
}

void Primitive::run(const cpu::RunArgs& args) const {
  set_threads();
  try {
    static thread_local dnnl::stream stream(engine());
    std::unordered_map<int, dnnl::memory> memories(fixed_.begin(), fixed_.end());
    for (const Port& port : ports_) {
      memories.emplace(port.argument, dnnl::memory(port.desc, engine(), port.output ? args.out[0].data : args.in[port.input].data));
    }
    primitive_.execute(stream, memories);
    stream.wait();
    if (relu_) apply_relu(args.out[0].as<float>(), args.out[0].shape.elements());
  } catch (const dnnl::error& e) {
    throw Error(concat_text("oneDNN: ", e.what()));
  }
}

std::size_t Primitive::fixed_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [_, memory] : fixed_) bytes += memory.get_desc().get_size();
  return bytes;
}

dnnl::memory reordered(const std::vector<float>& values, const dnnl::memory::desc& from, const dnnl::memory::desc& to) {
  const dnnl::memory plain(from, engine(), const_cast<float*>(values.data()));
  dnnl::memory packed(to, engine());
  dnnl::stream stream(engine());
  dnnl::reorder(plain, packed).execute(stream, const_cast<dnnl::memory&>(plain), packed);
  stream.wait();
  return packed;
}

std::unique_ptr<cpu::Kernel> try_make(const std::function<std::unique_ptr<cpu::Kernel>()>& body) {
  set_threads();  // what is made for one number of threads is slow with another
  try {
    return body();
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace frieze::onednn
