#include <frieze/graph/random_inputs.h>

#include <cmath>

#include <frieze/core/random.h>

namespace frieze {
namespace {

// Box-Muller: the same standard normal values for the same seed on every machine.
std::vector<float> normal_values(std::size_t count, std::uint64_t seed) {
  SplitMix64 random{seed};
  const auto unit = [&random] { return static_cast<double>((random() >> 11) + 1) * 0x1p-53; };  // (0, 1]
  std::vector<float> values(count);
  for (float& v : values) {
    const double radius = std::sqrt(-2 * std::log(unit()));
    v = static_cast<float>(radius * std::cos(6.283185307179586477 * unit()));
  }
  return values;
}

}  // namespace

std::vector<HostTensor> random_inputs(const Plan& plan, std::uint64_t seed) {
  std::vector<HostTensor> inputs;
  for (const PlanPort& port : plan.inputs) {
    const TensorSpec& spec = plan.spec(port.value);
    std::vector<float> values = normal_values(static_cast<std::size_t>(spec.shape.elements()), seed * 1000003 + inputs.size());
    if (is_integer(spec.dtype)) {  // often indices, which are not negative
      for (float& v : values) v = std::abs(v);
    }
    inputs.emplace_back(spec, values);
  }
  return inputs;
}

}  // namespace frieze
