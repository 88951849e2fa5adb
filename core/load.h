#pragma once
/// The weights of a module, out of a checkpoint.
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <frieze/core/module.h>
#include <frieze/core/weights.h>

namespace frieze FRIEZE_API {

/// Selects and renames the tensors of a checkpoint before they are matched with parameters. The first three are applied in this order.
/// Patterns are globs that must match a whole name: '*' matches any characters, dots included, '?' matches one.
struct LoadOptions {
  /// Takes only tensors whose names begin with these parts, and removes the parts: with "vae" or "vae.", "vae.encoder.conv_in.weight"
  /// becomes "encoder.conv_in.weight". Other tensors are left alone. If empty, a prefix that all names share and the model's do not
  /// ("model.", "module.") is removed after `rename`, see without_foreign_prefix().
  std::string prefix = {};
  /// Leaves out tensors whose names match, as if the file did not have them: {"*.num_batches_tracked"}. A pattern may match none.
  std::vector<std::string> ignore = {};
  /// Pairs {from, to}. Each name is renamed once, by the first rule that matches it. There are three kinds of rules:
  ///   {"*.gamma", "*.weight"}  wildcards in `from`: the n-th wildcard of `to` becomes what the n-th of `from` matched; each '*' but
  ///                            the last matches as little as possible
  ///   {"stem", "conv1"}        no wildcard: that name, and names below it ("stem.weight" becomes "conv1.weight")
  ///   {"backbone.", ""}        a dot at the end: all names that begin so
  /// A rule may match none. Two tensors that end up with one name are an error.
  std::vector<std::pair<std::string, std::string>> rename = {};
  /// Accepts tensors that no parameter uses.
  bool allow_unused = false;
  /// Accepts weights that are NaN, Inf or too large for f32. By default they are refused, since no model computes anything with them.
  bool allow_non_finite = false;
};

/// Fills every parameter from the tensor of its key. Unless the options say otherwise, every tensor of the file must be used. Sessions that
/// were compiled before keep the values they had.
/// Throws WeightsError. A mismatch lists the parameters without a tensor (with the nearest unused names), tensors of another shape, and
/// unused tensors, at most five of each. Other errors: values that are NaN or Inf, two tensors renamed to one name, a prefix that no name
/// has. Throws OptionError on an empty pattern and on a `to` with more wildcards than its `from`. The module is then unchanged.
void load(Module& module, const Weights& weights, const LoadOptions& options = {});

/// Fills each parameter from the tensors named beside it, one after the other where there are several; for loaders that know other names
/// than the parameters' own. Callers check names and shapes before. Throws as Weights::floats() does, and on values that are NaN
/// or Inf; the parameters are then left as they were.
void fill_parameters(std::span<const std::pair<Parameter*, std::vector<std::string>>> sources, const Weights& weights,
                     const LoadOptions& options = {});

}  // namespace FRIEZE_API
