#include <frieze/core/rewrite.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/layers/merge_phases/merge_phases.h>

namespace frieze {
namespace {

// merge(x) + duplicate(s): the shortcut costs less to make again where it is added than to write and to read.
std::optional<Replacement> shortcut_where_added(const StepView& shown) {
  if (shown.as<Add>() == nullptr) return std::nullopt;
  for (const std::size_t i : {0, 1}) {
    const std::optional<StepView> merge = shown.maker_for_this_alone(i), shortcut = shown.maker_for_this_alone(1 - i);
    const auto* phases = merge ? merge->as<MergePhases>() : nullptr;
    const auto* duplicate = shortcut ? shortcut->as<DuplicatingShortcut>() : nullptr;
    if (phases == nullptr || phases->shortcut_channels() > 0 || duplicate == nullptr || duplicate->factor() != 2) continue;
    if (merge->out().shape != shortcut->out().shape) continue;  // the addition broadcasts
    return Replacement{
        .steps = {{std::make_shared<MergePhases>(shortcut->in(0).shape.c()), {merge->input(0), shortcut->input(0)}}},
        .absorbed = {*merge, *shortcut},
        .named_after = 0,
    };
  }
  return std::nullopt;
}

}  // namespace

void register_rewrites_merge_phases(RewriteRegistry& registry);
void register_rewrites_merge_phases(RewriteRegistry& registry) { registry.add("shortcut where it is added", shortcut_where_added); }

}  // namespace frieze
