#pragma once
/// Rewrites: named replacements of a step and some of those before it by steps that compute the same function, up to rounding. A rewrite
/// lies beside the layer that knows it, in layers/<folder>/rewrites.cpp (a second file: rewrites_<more>.cpp), and adding one edits no other
/// file: the build collects `void register_rewrites_<folder>(RewriteRegistry&)` (`register_rewrites_<more>_<folder>`) from these files.
///
///   std::optional<Replacement> product(const StepView& shown) {  // (x * a) * b  =  x * (a * b)
///     const auto* outer = shown.as<Scale>();
///     const auto before = shown.maker_for_this_alone(0);
///     const auto* inner = before ? before->as<Scale>() : nullptr;
///     if (outer == nullptr || inner == nullptr) return std::nullopt;
///     const auto both = std::make_shared<Scale>(outer->factor() * inner->factor());
///     return Replacement{.steps = {{both, {before->input(0)}}}, .absorbed = {*before}};
///   }
///   void register_rewrites_elementwise(RewriteRegistry& registry);
///   void register_rewrites_elementwise(RewriteRegistry& registry) { registry.add("two factors as one", product); }
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/core/layer.h>

namespace frieze FRIEZE_API {

/// An elementwise step that its producer absorbed.
struct FusedOp {
  EpilogueOp op;
  std::shared_ptr<const Layer> layer;
  std::string path;
};

/// A value that a step of a replacement takes: one of the plan (StepView::input), or one that an earlier step of the replacement makes.
struct ValueRef {
  int value = -1;  ///< of the plan, or -1
  int step = -1;   ///< of the replacement, and which of its outputs
  int output = 0;
  static ValueRef made_by(int step, int output = 0) { return {-1, step, output}; }
};

/// The plan behind StepViews. The pass that applies rewrites implements it; a test may bring its own.
class RewritablePlan {
 public:
  virtual ~RewritablePlan() = default;
  virtual const std::shared_ptr<const Layer>& layer(int step) const = 0;
  virtual const std::string& path(int step) const = 0;
  virtual std::span<const int> inputs(int step) const = 0;
  virtual std::span<const FusedOp> epilogue(int step) const = 0;
  virtual std::span<const int> outputs(int step) const = 0;
  virtual const TensorSpec& spec(int value) const = 0;
  virtual int maker(int value) const = 0;  ///< a step, or -1: an input of the model
  virtual std::size_t uses(int value) const = 0;
  virtual bool is_output(int value) const = 0;
  virtual std::vector<int> users(int value) const = 0;
};

/// A step with its neighbours. Valid during the call of the rewrite that was shown it. Throws OptionError on a number that the step does
/// not have.
class StepView {
 public:
  StepView(const RewritablePlan& plan, int step) : plan_(&plan), step_(step) {}

  const Layer& layer() const { return *plan_->layer(step_); }
  /// For a new step that applies the same layer elsewhere.
  const std::shared_ptr<const Layer>& shared_layer() const { return plan_->layer(step_); }
  /// The layer, if it is an L and the step absorbed nothing; else nullptr.
  template <class L>
  const L* as() const {
    return epilogue().empty() ? dynamic_cast<const L*>(&layer()) : nullptr;
  }
  const std::string& path() const { return plan_->path(step_); }
  /// What the step absorbed, in order. Empty before fusion.
  std::span<const FusedOp> epilogue() const { return plan_->epilogue(step_); }

  /// The layer's inputs, then one operand for each add and mul of the epilogue.
  std::size_t inputs() const { return plan_->inputs(step_).size(); }
  ValueRef input(std::size_t i) const { return {input_value(i)}; }
  const TensorSpec& in(std::size_t i) const { return plan_->spec(input_value(i)); }
  std::size_t outputs() const { return plan_->outputs(step_).size(); }
  const TensorSpec& out(std::size_t o = 0) const { return plan_->spec(output_value(o)); }

  /// The step that makes input `i`; nullopt: the model is given it.
  std::optional<StepView> maker(std::size_t i) const;
  /// The same if this step is the only user of all that that one makes, once, and the model outputs none of it: then this step's rewrite
  /// can absorb it.
  std::optional<StepView> maker_for_this_alone(std::size_t i) const;
  /// How many inputs of steps, and outputs of the model, output `o` of this step is.
  std::size_t uses(std::size_t o = 0) const { return plan_->uses(output_value(o)); }
  bool is_model_output(std::size_t o = 0) const { return plan_->is_output(output_value(o)); }
  /// The steps that take output `o`, each once. They are behind this step, and its rewrite cannot absorb them. Costs their number.
  std::vector<StepView> users(std::size_t o = 0) const;

  /// For the pass: which step of which plan this is.
  const RewritablePlan* plan() const { return plan_; }
  int step() const { return step_; }

 private:
  int input_value(std::size_t i) const;
  int output_value(std::size_t o) const;

  const RewritablePlan* plan_;
  int step_;
};

struct NewStep {
  std::shared_ptr<const Layer> layer;
  std::vector<ValueRef> inputs;        ///< the layer's, then one operand for each add and mul of `epilogue`
  std::vector<FusedOp> epilogue = {};  ///< what the layer absorbs at its store, of the steps that go
};

/// What takes the place of the step that a rewrite was shown.
struct Replacement {
  /// In order; the last one makes the outputs of the shown step: same shapes, same types. Every other one makes a value for a later one.
  std::vector<NewStep> steps;
  /// Steps before the shown one that go as well. What they make must have no user but the shown step and each other.
  std::vector<StepView> absorbed = {};
  /// The result has the shown step's path; or that of absorbed[named_after], and the shown step's is merged into it: it is another name for
  /// the result (Step::merged). The values of all other absorbed steps are made by nobody any more (Step::replaced).
  int named_after = -1;
};

/// Returns nothing where it does not apply. Called by every thread that compiles, several at a time; must not keep the view.
using RewriteFunction = std::function<std::optional<Replacement>(const StepView& shown)>;

/// When steps are shown: as they were traced, or after producers absorbed the elementwise steps behind them.
enum class RewriteStage : std::uint8_t { before_fusion, after_fusion };

struct Rewrite {
  std::string name;  ///< as `frieze inspect` lists it, and --no-rewrite and PassOptions::without leave it out
  RewriteFunction apply;
  RewriteStage stage = RewriteStage::before_fusion;
};

/// The rewrites of a process, in the order in which they are tried. Any thread may add, remove and compile at any time: a plan is optimised
/// with the rewrites that there were when that began.
class RewriteRegistry {
 public:
  using List = std::shared_ptr<const std::vector<Rewrite>>;

  RewriteRegistry();
  RewriteRegistry(const RewriteRegistry&) = delete;
  RewriteRegistry& operator=(const RewriteRegistry&) = delete;

  /// Throws OptionError on a name that is empty, not printable or taken, and on an empty function.
  void add(std::string name, RewriteFunction apply, RewriteStage stage = RewriteStage::before_fusion);
  /// False if there is none of this name. Plans that are being optimised still use it: wait for them before unloading its code.
  bool remove(std::string_view name);
  List all() const;

 private:
  mutable std::mutex mutex_;
  List list_;
};

/// Those of this library's layers, then those that the program added.
RewriteRegistry& rewrite_registry();

/// Throws OptionError on a name that no registered rewrite has, listing those that there are.
void check_rewrite_names(std::span<const std::string> names);

}  // namespace FRIEZE_API
