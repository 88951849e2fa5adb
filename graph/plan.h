#pragma once
/// Plan: a model's forward as a flat, ordered list of steps over values. Traced once; rewritten by few, named passes.
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include <frieze/core/rewrite.h>

namespace frieze FRIEZE_API {

/// An input of the model: name, shape as [N,C,H,W], type, and the format in which the caller's memory lies.
struct InputSpec {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  Format format = Format::nchw;
  friend bool operator==(const InputSpec&, const InputSpec&) = default;
};

/// One layer applied to values, then its absorbed epilogue in order.
struct Step {
  std::shared_ptr<const Layer> layer;
  std::string path;
  std::vector<int> inputs;        ///< the layer's inputs, then one operand for each add/mul of the epilogue
  std::vector<FusedOp> epilogue;  ///< only of a step with one output
  std::vector<int> outputs = {};  ///< one value for each output of the layer
  Format format = Format::nchw;   ///< what the step runs in
  double flops = 0, bytes = 0;
  std::vector<std::string> merged = {};    ///< paths of steps that a pass made part of this one, and whose value is what this one makes
  std::vector<std::string> replaced = {};  ///< … and whose value nobody makes any more
  std::string note = {};                   ///< why it copies what others only look at, or empty

  /// The value that a step with one output makes. Throws Error if it makes none or several.
  int output() const;
  /// How many of `inputs` are the layer's own.
  std::size_t layer_inputs() const;
  /// The epilogue without its provenance, as kernels take it.
  std::vector<EpilogueOp> ops() const;
  /// "conv1" or "conv1+silu+add".
  std::string label() const;
};

/// Memory that values are views of.
struct Storage {
  enum class Where : std::uint8_t { arena, port, constant };
  int owner = -1;  ///< the value that takes up all of it
  std::int64_t bytes = 0;
  Where where = Where::arena;
};

/// A value is a view of a storage.
struct PlanValue {
  TensorSpec spec;   ///< where it is not contiguous, the format says which axis runs fastest
  std::string name;  ///< path of the step that makes it, or the input's name
  int producer =
      -1;  ///< index of that step, of a view's the last that writes any of it; -1 for an input or a constant of the model, or a view of it
  int storage = -1;         ///< index of Plan::storages; -1: not placed yet
  std::int64_t offset = 0;  ///< of its first element, in elements
  Strides strides{};        ///< in elements
};

/// Something traced that no step does: its outputs are views of its inputs' memory, or the other way round.
struct PlanView {
  Step step;
  int before = 0;  ///< index of the step that it stood before
};

/// What output `i` of a step of `count` outputs is called: the step's own name where it is the only one, else "split.0", "split.1".
std::string output_name(const std::string& step, std::size_t i, std::size_t count);

struct PlanPort {
  std::string name;
  int value = -1;
};

/// A value that the model brings along, see core/constant.h: there before the first step, and never written.
struct PlanConstant {
  int value = -1;
  ParameterValues values = {};                           ///< of floats, row-major, as they were when the model was traced
  std::shared_ptr<const HostTensor> integers = nullptr;  ///< of integers
};

/// What keeps a plan from being run, as tracing found it. Inspecting such a plan works.
struct PlanFaults {
  std::vector<std::string> unfilled;      ///< keys of parameters that a step uses and that have no values
  std::vector<std::string> incomplete;    ///< sentences about parameters of which some values are missing
  std::vector<std::string> unregistered;  ///< sentences about layers with parameters that were never add()ed
};

/// A layer of the plan that is the model's own, as it has no shared_copy(): it must not be used once the model is gone.
struct BorrowedLayer {
  std::string who;  ///< path and type
  std::weak_ptr<const void> alive;
};

/// A rewrite that changed a plan, and in how many places.
struct AppliedRewrite {
  std::string name;
  int times = 0;
  friend bool operator==(const AppliedRewrite&, const AppliedRewrite&) = default;
};

/// Steps in an order in which they can run; every step's inputs are model inputs, outputs of earlier steps, or views of these.
struct Plan {
  std::vector<Step> steps;
  std::vector<PlanView> views;  ///< in the order in which they were traced
  std::vector<PlanValue> values;
  std::vector<Storage> storages;
  std::vector<PlanPort> inputs, outputs;
  std::vector<PlanConstant> constants;
  PlanFaults faults;
  std::vector<BorrowedLayer> borrowed;
  std::vector<AppliedRewrite> rewrites;  ///< that optimize() applied, in the order in which they were registered

  const TensorSpec& spec(int value) const { return values[static_cast<std::size_t>(value)].spec; }
  /// Value id of a port. Throws OptionError listing the names there are.
  int input(std::string_view name) const;
  int output(std::string_view name) const;
  /// True if every value has its storage.
  bool placed() const;
  /// The constant that a value is, or nullptr.
  const PlanConstant* constant(int value) const;
  /// Where a placed value lies if its storage begins at `storage`; nullptr: nowhere yet.
  TensorView view(int value, void* storage) const;
  /// Throws Error if a step uses a value before it is made, two steps make one value, a value leaves its storage, or a port leads nowhere:
  /// a bug in a pass, caught in every build.
  void validate() const;
  /// Throws OptionError if a borrowed layer is gone.
  void check_alive() const;
  /// Throws what keeps the plan from being run: WeightsError naming the first parameters without values, or with values that the type of
  /// the run cannot hold; OptionError naming the first layer that was never add()ed, or that is gone.
  void check_runnable() const;
};

/// Runs `model.forward` once on values of the given specs. Checks every shape and type; needs no GPU, and no weights. The plan shares
/// the layers' parameters as they are now: it may outlive the model, and what is loaded or written later does not reach it.
/// Throws OptionError (no inputs, a name twice), ShapeError, DTypeError with the module path in front.
Plan trace(const Module& model, const std::vector<InputSpec>& inputs);

struct PassOptions {
  bool rewrite = true;  ///< apply the registered rewrites, see core/rewrite.h: less work, the same function up to rounding
  bool fuse = true;     ///< producers absorb the elementwise steps that follow them
  bool formats = true;  ///< run layers in the format they are fast in, converting at the borders; false: nchw everywhere
  bool views = true;  ///< slices, splits, reshapes and concatenations look at memory instead of copying it, where the kernels around allow
  std::vector<std::string> without = {};  ///< names of rewrites that are left out
};
/// The passes in order: rewriting, fusion, rewriting of what fusion made, formats, views. The result computes the same function. Rewriting
/// reads the parameters: load weights first. Throws OptionError on a name in `without` that no rewrite has, listing the names that there
/// are; Error naming a rewrite whose replacement cannot stand in the plan.
Plan optimize(Plan plan, const PassOptions& options = {});
/// The rewrites that applied to the plan and to the bodies of its loops, a body's places counted once.
std::vector<AppliedRewrite> applied_rewrites(const Plan& plan);

/// The plan with a storage of its own for each value that has none.
Plan place(Plan plan);
/// The plan with its views as steps again, and nothing placed.
Plan without_views(Plan plan);

/// The constant's values in the type and format of the plan's value.
HostTensor constant_tensor(const Plan& plan, const PlanConstant& constant);

/// The type that a step's parameters are rounded to: that of the first of its outputs, then of its inputs, that is no integer; else f32.
DType run_dtype(const Plan& plan, const Step& step);
/// Specs of all that a step makes: "[1,64,8,8] bf16 nhwc, [1,64,8,8] bf16 nhwc".
std::string outputs_text(const Plan& plan, const Step& step);
/// The table that `frieze inspect` prints; Graphviz; JSON. Throw OptionError if a borrowed layer is gone.
std::string plan_text(const Plan& plan);
std::string plan_dot(const Plan& plan);
std::string plan_json(const Plan& plan);

}  // namespace FRIEZE_API
