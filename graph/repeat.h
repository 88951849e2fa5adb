#pragma once
/// The layer of a loop: a plan of its own that runs a fixed number of times.
#include <functional>
#include <vector>

#include <frieze/core/loop.h>
#include <frieze/graph/plan.h>

namespace frieze FRIEZE_API {

/// y = carried_n of carried_{i+1} = body(carried_i, given, row i), see repeat(). Inputs: the carried values, then the given ones, all nchw;
/// outputs: the carried values. Inputs of the body's plan: carried, given, rows, in that order; its outputs: the next carried values.
/// The reference runs each of the body's steps in turn and rounds its output to the plan's type, as the kernels do.
/// Moves iterations times what the body's steps move, and 2 * bytes of the carried values.
class Repeat final : public Layer {
 public:
  /// Throws OptionError for a table of another number of values, or a body whose outputs are not as its carried inputs.
  Repeat(Plan body, int iterations, std::size_t carried, std::size_t given, std::vector<LoopTable> tables);

  const Plan& body() const { return body_; }
  int iterations() const { return iterations_; }
  std::size_t carried() const { return carried_; }
  std::size_t given() const { return given_; }
  /// Row after row, rounded to the table's type.
  const std::vector<HostTensor>& tables() const { return rounded_; }
  /// The same loop with another plan for its body, which computes the same.
  std::shared_ptr<const Repeat> with_body(Plan body) const;

  Inferred infer(std::span<const TensorSpec> in) const override;
  void reference(const ReferenceArgs& args) const override { run(args, nullptr); }
  /// Called behind each of the body's steps, once an iteration for a body without any; `value` tells where the body's values lie now.
  using Watch = std::function<void(int iteration, std::size_t step, const std::function<TensorView(int)>& value)>;
  /// The reference, watched.
  void run(const ReferenceArgs& args, const Watch& watch) const;
  FormatRule formats(std::span<const TensorSpec>) const override { return {.nchw = true, .nhwc = false, .prefers = Format::nchw}; }
  /// The sum of the body's steps' budgets times the iterations: right for bodies that do not amplify what they are given.
  ErrorBudget budget(std::span<const TensorSpec> in) const override;
  std::string describe() const override;
  std::string_view type_name() const override { return "Repeat"; }

 private:
  Plan body_;
  int iterations_;
  std::size_t carried_, given_;
  std::vector<LoopTable> tables_;
  std::vector<HostTensor> rounded_;
};

/// The loop of a step, or nullptr.
const Repeat* loop_of(const Step& step);
/// Calls `visit(plan, step)` for every step of the plan, and of the bodies of its loops with the body's plan.
void visit_steps(const Plan& plan, const std::function<void(const Plan&, const Step&)>& visit);
/// Calls `visit(plan)` for the plan and the bodies of its loops.
void visit_plans(const Plan& plan, const std::function<void(const Plan&)>& visit);

}  // namespace FRIEZE_API
