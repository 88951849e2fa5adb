#pragma once
/// The inputs that verify makes up where it is given none.
#include <vector>

#include <frieze/graph/plan.h>

namespace frieze {

/// Standard normal values for every input of the plan, the same for one seed on every machine.
std::vector<HostTensor> random_inputs(const Plan& plan, std::uint64_t seed);

}  // namespace frieze
