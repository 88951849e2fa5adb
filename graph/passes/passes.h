#pragma once
/// The passes, each a function from plan to plan. They know layers by their contract only, never by name.
#include <frieze/graph/plan.h>

namespace frieze {

/// Replaces pairs of neighbouring steps where one of the two layers offers a cheaper form for both: a factor and offset per channel goes
/// into the weights of its producer (Layer::with_channel_affine), a prologue into the layer behind it (Layer::after_prologue). A pair
/// stays if the value between is used elsewhere or is an output of the model.
Plan rewrite(Plan plan);

/// Lets producers absorb the elementwise steps behind them (Layer::as_epilogue, Layer::absorbs). A value is fused away only
/// if one step alone uses it and the model does not output it.
Plan fuse(Plan plan);

/// Picks a format for each step (Layer::formats) and inserts Reformat steps where a value is needed in another one; with
/// `allow_nhwc` false everything runs in nchw that can. Model inputs keep the caller's format; outputs are given in the
/// format of the model's first rank-4 input. An output that is an input, or another output, becomes a copy.
Plan choose_formats(Plan plan, bool allow_nhwc);

/// A plan of `steps` over the values of `plan`, renumbered so that it holds no value that nobody makes or uses.
Plan rebuilt(const Plan& plan, std::vector<Step> steps);

}  // namespace frieze
