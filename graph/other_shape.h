#pragma once
/// A plan for another batch, made from a plan alone.
#include <optional>

#include <frieze/graph/plan.h>

namespace frieze {

/// `plan` with one image more in every input. nullopt where that is another computation: a layer refuses the shapes, or would
/// not absorb or not run in the format that the plan gave it, or an input has no batch.
std::optional<Plan> with_one_image_more(const Plan& plan);

}  // namespace frieze
