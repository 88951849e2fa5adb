#pragma once
/// Layer: the contract of a leaf. All that a kernel author must know:
///   infer      every check; output spec and cost                         layers/<name>/<name>.cpp
///   reference  the truth on the CPU, sums in double, every option        layers/<name>/<name>.cpp
///   prepare + launch  the CUDA side, see core/cuda/kernel.h              layers/<name>/<name>.cu
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <frieze/core/module.h>

namespace frieze FRIEZE_API {

/// Elementwise functions that producers can apply at their store.
///   relu: max(x,0) (NaN stays NaN) · silu: x/(1+exp(-x)) · gelu: x*Phi(x), Phi by erf · gelu_tanh: the tanh form ·
///   sigmoid: 1/(1+exp(-x)) · tanh · softplus: log(1+exp(x)), x above 20 · mish: x*tanh(log(1+exp(x))) ·
///   hardsigmoid: min(max(x+3,0),6)/6 · hardswish: x*hardsigmoid(x) · with a parameter p:
///   leaky_relu: x, p*x below 0 · elu: x, p*(exp(x)-1) below 0
enum class Activation : std::uint8_t {
  none,
  relu,
  silu,
  gelu,
  gelu_tanh,
  sigmoid,
  tanh,
  softplus,
  mish,
  hardsigmoid,
  hardswish,
  leaky_relu,
  elu
};
std::string_view name(Activation a);
/// All names but "none", for messages: "relu, silu, …".
std::string activation_names();
/// Throws OptionError on an unknown name.
Activation parse_activation(std::string_view text);
/// True of those with a parameter: leaky_relu, elu.
bool has_parameter(Activation a);
/// The parameter that PyTorch takes where none is given; 0 of functions without one.
float default_parameter(Activation a);
/// The exact function in double precision.
double activate(Activation a, double x, double parameter = 0);

/// What `infer` says of one application of a layer.
struct Inferred {
  std::vector<TensorSpec> out;  ///< of every output, at least one; formats are left at nchw: the format pass decides
  double flops = 0;             ///< additions and multiplications
  double bytes = 0;             ///< least traffic: every input, parameter and output once

  Inferred() = default;
  Inferred(const TensorSpec& only, double flops = 0, double bytes = 0) : out{only}, flops(flops), bytes(bytes) {}
  Inferred(std::vector<TensorSpec> all, double flops, double bytes) : out(std::move(all)), flops(flops), bytes(bytes) {}
};

/// An elementwise step y = f(x) or y = x (op) operand, as its producer may absorb it.
struct EpilogueOp {
  enum class Kind : std::uint8_t { activation, add, mul };
  Kind kind = Kind::activation;
  Activation activation = Activation::none;  ///< for Kind::activation
  float parameter = 0;                       ///< of activations that have one
  friend bool operator==(const EpilogueOp&, const EpilogueOp&) = default;
};

/// How far a kernel may be from the double-precision reference that was given the same inputs:
///   |y - ref| <= roundings * u(T) * |ref| + terms * (u(f32) * max|ref| + min_subnormal(f32)) + min_subnormal(T)
/// `roundings` counts roundings to the output type T along the way (1 for a single store; a little more where f32
/// arithmetic with its own error precedes it); `terms` counts f32 additions whose errors can pile up, times cancellation.
struct ErrorBudget {
  double roundings = 1;
  double terms = 4;
};

/// Which formats a layer runs in. Inputs and output of one step share one format.
struct FormatRule {
  bool nchw = true;
  bool nhwc = true;
  std::optional<Format> prefers = {};  ///< none: takes what its first input has
};

/// What memory a layer's kernels take beside tensors that are contiguous in the step's format and begin at a multiple of 16 bytes.
enum class Strided : std::uint8_t {
  no,        ///< none
  channels,  ///< a range of the channels of a wider such tensor, if its beginning, and in nhwc the way to the next pixel, in nchw to the
             ///< next image, are multiples of 16 bytes
  any,       ///< any strides that are not negative, and any beginning
};
struct StrideRule {
  Strided in = Strided::no;        ///< the layer's own inputs
  Strided operands = Strided::no;  ///< of what it absorbed
  Strided out = Strided::no;
};

/// Host memory for `reference`. Any strides, any of the types that the layer takes; inputs and outputs need not agree in type: a fused
/// chain is referenced with f32 in between and is rounded once at its end, as the kernel does.
struct ReferenceArgs {
  std::span<const TensorView> in;
  std::span<const TensorView> out;  ///< one for each output of infer()
  DType run_dtype = DType::f32;     ///< parameters are rounded to this type
};

class Layer : public Module {
 public:
  /// Checks shapes and types of the inputs, without touching any device; every message begins with the layer's type and
  /// says expected, got and the whole shapes (the tracer adds the module path in front). Throws ShapeError, DTypeError.
  virtual Inferred infer(std::span<const TensorSpec> in) const = 0;
  /// Computes every output on the CPU. Must support every option that the kernel does.
  virtual void reference(const ReferenceArgs& args) const = 0;

  /// How this layer looks to a producer that may absorb it: input 0 is the producer's output, input 1, if any, the
  /// operand, of exactly the same shape. nullopt: cannot be absorbed when applied to these inputs.
  virtual std::optional<EpilogueOp> as_epilogue(std::span<const TensorSpec> in) const;
  /// How many operations of `chain`, from its front, this layer's kernel can apply at its store.
  virtual std::size_t absorbs(std::span<const TensorSpec> in, std::span<const EpilogueOp> chain) const;
  virtual FormatRule formats(std::span<const TensorSpec> in) const;
  /// What its kernels take with these inputs, in the step's format, and this epilogue. By default contiguous tensors only.
  virtual StrideRule strides(std::span<const TensorSpec> in, std::span<const EpilogueOp> epilogue) const;
  /// Of a layer of one input that only looks at it another way (a slice, a reshape): where output `output` lies if the input lies at
  /// `input`. nullopt, always so by default: nowhere in that memory.
  virtual std::optional<Layout> output_layout(std::span<const TensorSpec> in, std::size_t output, const Layout& input) const;
  /// Of a layer of one output whose inputs can be its parts (a concatenation, a reshape): where input `input` lies if the output lies at
  /// `output`. nullopt, always so by default: nowhere in that memory.
  virtual std::optional<Layout> input_layout(std::span<const TensorSpec> in, std::size_t input, const Layout& output) const;
  virtual ErrorBudget budget(std::span<const TensorSpec> in) const;
  /// The size that an output has if it is a sum whose products do not happen to cancel, from the sizes of what is multiplied: where there
  /// are few outputs, all may be far smaller than what their error is made of. `terms` is measured against no less. 0: no sum.
  virtual double typical_size(std::span<const TensorView> in) const;
  /// This layer as one of its own that shares the parameters' values, for plans and sessions that outlive the model; made by
  /// `sharing(std::make_shared<MyLayer>(options…))`. By default nullptr: then a session of the layer must not outlive the model, and is
  /// refused with OptionError once it does.
  virtual std::shared_ptr<const Layer> shared_copy() const { return nullptr; }
  /// Options in one line for tables and receipts, e.g. "64->128 3x3 stride 2".
  virtual std::string describe() const { return {}; }

  /// Applies the layer to as many values as infer() takes. Throws OptionError if the layer has several outputs.
  Value forward(Value x) const final;
  Value forward(std::span<const Value> inputs) const final;
  /// Applies the layer to values and gives all that it makes, in the order of infer(). Throws OptionError without inputs.
  std::vector<Value> outputs(std::span<const Value> inputs) const;
  std::string_view type_name() const override = 0;

 protected:
  /// `made`, a layer of the same class and options, with the values of this one's parameters and its path.
  std::shared_ptr<const Layer> sharing(const std::shared_ptr<Layer>& made) const;
};

/// Helpers for infer(). `who` is the layer's type name.
void check_inputs(std::string_view who, std::span<const TensorSpec> in, std::size_t count);  ///< count, one type of floats, no zero extent
void check_any_inputs(std::string_view who, std::span<const TensorSpec> in, std::size_t count);  ///< the same, integers too
void check_image(std::string_view who, const TensorSpec& x);                                     ///< rank 4, [N,C,H,W]
/// sqrt(mean v^2) of the finite values, 0 without any.
double root_mean_square(std::span<const float> values);
/// Cost of a layer that reads each input once, writes `out` once and spends `flops_per_element` on each output element.
Inferred elementwise_cost(std::span<const TensorSpec> in, const TensorSpec& out, double flops_per_element);

}  // namespace FRIEZE_API
