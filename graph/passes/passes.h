#pragma once
/// The passes, each a function from plan to plan. They know layers by their contract only, never by name.
#include <frieze/graph/plan.h>

namespace frieze {

/// One place where a rewrite applied.
struct RewrittenPlace {
  std::string rewrite;
  std::vector<Step> gone, made;  ///< in the order in which they run; the last of each makes the same value
};
/// What rewrite() did, for verify_rewrites(): values have numbers of the plan before, then new ones.
struct RewriteTrail {
  std::vector<PlanValue> values;
  std::vector<RewrittenPlace> places;
};

/// Shows every step to the rewrites of `stage`, in their order, and puts what they give in its place, which is shown again. Counts them in
/// Plan::rewrites. Throws Error naming the rewrite and the step if a rewrite throws, gives what cannot stand there (another shape or type,
/// a value that is not made before, a step that others need), or finds no end.
Plan rewrite(Plan plan, const std::vector<Rewrite>& rewrites, RewriteStage stage, RewriteTrail* trail = nullptr);

/// The registered rewrites that `options` asks for. Throws OptionError on names in `without` that there are not.
std::vector<Rewrite> chosen_rewrites(const PassOptions& options);

/// Lets producers absorb the elementwise steps behind them (Layer::as_epilogue, Layer::absorbs). A value is fused away only
/// if one step alone uses it and the model does not output it.
Plan fuse(Plan plan);

/// Picks a format for each step (Layer::formats) and inserts Reformat steps where a value is needed in another one; with
/// `allow_nhwc` false everything runs in nchw that can. Model inputs keep the caller's format; outputs are given in the
/// format of the model's first rank-4 input. An output that is an input, or another output, becomes a copy. With `views`, what only looks
/// at a value (Layer::output_layout) is not given another format: its outputs have the format that their strides come nearest to.
Plan choose_formats(Plan plan, bool allow_nhwc, bool views);

/// Places every value. What only looks at a value becomes a view of its memory, and what a concatenation takes is written into the
/// concatenation's (Layer::output_layout, Layer::input_layout), without a step, where the kernels around take such strides
/// (Layer::strides); ports keep memory of their own, contiguous. Where that is not so, one step copies, and Step::note says why.
Plan find_views(Plan plan);

/// A contiguous storage for one value.
void place_own(Plan& plan, int id);
/// Storages for the ports that have none.
void place_ports(Plan& plan);
/// The same for the constants.
void place_constants(Plan& plan);

/// A plan of `steps` over the values of `plan`, renumbered so that it holds no value that nobody makes or uses.
Plan rebuilt(const Plan& plan, std::vector<Step> steps);

}  // namespace frieze
