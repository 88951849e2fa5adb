#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/arithmetic/arithmetic.h>
#include <frieze/layers/shared/cuda/pointwise.h>

namespace frieze::cuda {
namespace {

UnaryOp op_of(const Unary& layer) {
  using Code = UnaryOp::Code;
  const float p = layer.p();
  switch (layer.function()) {
    case UnaryFunction::neg: return {Code::scale, -1};
    case UnaryFunction::abs: return {Code::abs};
    case UnaryFunction::exp: return {Code::exp};
    case UnaryFunction::log: return {Code::log};
    case UnaryFunction::sqrt: return {Code::sqrt};
    case UnaryFunction::rsqrt: return {Code::rsqrt};
    case UnaryFunction::sin: return {Code::sin};
    case UnaryFunction::cos: return {Code::cos};
    case UnaryFunction::square: return {Code::square};
    case UnaryFunction::reciprocal: return {Code::divide_into, 1};
    case UnaryFunction::floor: return {Code::floor};
    case UnaryFunction::add: return {Code::add, p};
    case UnaryFunction::subtract_from: return {Code::subtract_from, p};
    case UnaryFunction::divide: return {Code::divide, p};
    case UnaryFunction::divide_into: return {Code::divide_into, p};
    case UnaryFunction::clamp: return {Code::clamp, p, layer.q()};
    case UnaryFunction::pow: return {Code::power, p};
    case UnaryFunction::greater: return {Code::greater, p};
    case UnaryFunction::greater_equal: return {Code::greater_equal, p};
    case UnaryFunction::less: return {Code::less, p};
    case UnaryFunction::less_equal: return {Code::less_equal, p};
    case UnaryFunction::equal: return {Code::equal, p};
    case UnaryFunction::not_equal: return {Code::not_equal, p};
  }
  return {};
}

BinaryOp op_of(const Binary& layer) {
  using Code = BinaryOp::Code;
  switch (layer.function()) {
    case BinaryFunction::subtract: return {Code::subtract};
    case BinaryFunction::divide: return {Code::divide};
    case BinaryFunction::minimum: return {Code::minimum};
    case BinaryFunction::maximum: return {Code::maximum};
    case BinaryFunction::greater: return {Code::greater};
    case BinaryFunction::greater_equal: return {Code::greater_equal};
    case BinaryFunction::less: return {Code::less};
    case BinaryFunction::less_equal: return {Code::less_equal};
    case BinaryFunction::equal: return {Code::equal};
    case BinaryFunction::not_equal: return {Code::not_equal};
    case BinaryFunction::prelu: return {Code::prelu};
  }
  return {};
}

// 2 * elements * sizeof(T) bytes and, for the longest functions, 40 instructions an element: bound by memory. Not measured yet.
class UnaryKernel final : public NodeKernel {
 public:
  UnaryKernel(const UnaryOp& op, DType t) : op_(op) { preload_unary(op, t); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override { launch_unary(op_, args.in[0], args.out[0], stream); }
  std::string describe() const override { return "16 bytes a thread, twice"; }

 private:
  UnaryOp op_;
};

// elements(a) + elements(b) + elements(y) values, 1 instruction an element and the conversions: bound by memory. Not measured yet.
class BinaryKernel final : public NodeKernel {
 public:
  BinaryKernel(const BinaryOp& op, DType t) : op_(op) { preload_binary(op, t); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Shape& shape = args.out[0].shape;
    launch_binary(op_, broadcast_view(args.in[0], shape), broadcast_view(args.in[1], shape), args.out[0], stream);
  }
  std::string describe() const override { return "16 bytes a thread"; }

 private:
  BinaryOp op_;
};

class WhereKernel final : public NodeKernel {
 public:
  explicit WhereKernel(DType t) { preload_where(t); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Shape& shape = args.out[0].shape;
    launch_where(broadcast_view(args.in[0], shape), broadcast_view(args.in[1], shape), broadcast_view(args.in[2], shape), args.out[0],
                 stream);
  }
  std::string describe() const override { return "16 bytes a thread"; }
};

std::unique_ptr<Kernel> make_unary(const Unary& layer, const PrepareArgs& args) {
  return std::make_unique<UnaryKernel>(op_of(layer), args.out[0].dtype);
}
std::unique_ptr<Kernel> make_binary(const Binary& layer, const PrepareArgs& args) {
  return std::make_unique<BinaryKernel>(op_of(layer), args.out[0].dtype);
}
std::unique_ptr<Kernel> make_where(const Where&, const PrepareArgs& args) { return std::make_unique<WhereKernel>(args.out[0].dtype); }

}  // namespace

void register_arithmetic(KernelRegistry& registry) {
  registry.add<Unary>(&make_unary);
  registry.add<Binary>(&make_binary);
  registry.add<Where>(&make_where);
}

}  // namespace frieze::cuda
