#include <frieze/graph/port_memory.h>

#include <algorithm>

#include <frieze/core/error.h>

namespace frieze {
namespace {

// In integers, as addresses of different allocations cannot be compared otherwise.
struct Range {
  std::uintptr_t begin;
  std::int64_t bytes;
  std::int64_t shared_with(const Range& other) const {
    const std::uintptr_t from = std::max(begin, other.begin);
    const std::uintptr_t to = std::min(begin + static_cast<std::uintptr_t>(bytes), other.begin + static_cast<std::uintptr_t>(other.bytes));
    return to > from ? static_cast<std::int64_t>(to - from) : 0;
  }
};

Range range_of(const void* data, std::int64_t bytes) { return {reinterpret_cast<std::uintptr_t>(data), bytes}; }

const PlanPort* port_of(const std::vector<PlanPort>& ports, int value) {
  const auto found = std::find_if(ports.begin(), ports.end(), [&](const PlanPort& port) { return port.value == value; });
  return found != ports.end() ? &*found : nullptr;
}

}  // namespace

const std::string& port_name(const Plan& plan, int value) {
  const PlanPort* port = port_of(plan.inputs, value);
  if (port == nullptr) port = port_of(plan.outputs, value);
  check<Error>(port != nullptr, "plan: value ", value, " is no port");
  return port->name;
}

void check_port_memory(const Plan& plan, const PortMemory& memory, int value, const void* data, const void* arena,
                       std::int64_t arena_bytes) {
  const std::string& name = port_name(plan, value);
  const bool is_output = port_of(plan.outputs, value) != nullptr;
  const Range wanted = range_of(data, plan.spec(value).bytes());
  for (const auto* ports : {&plan.inputs, &plan.outputs}) {
    for (const PlanPort& other : *ports) {
      const bool same = other.value == value;
      const std::int64_t bytes = plan.spec(other.value).bytes();
      const void* const own = memory.own.at(other.value);
      const bool is_own = same && data == own;
      check<OptionError>(is_own || wanted.shared_with(range_of(own, bytes)) == 0, "bind '", name,
                         "': the memory is the session's own, of '", other.name, "'");
      if (same || (!is_output && port_of(plan.outputs, other.value) == nullptr)) continue;
      const std::int64_t shared = wanted.shared_with(range_of(memory.bound.at(other.value), bytes));
      check<OptionError>(shared == 0, "bind '", name, "': ", shared, " of its ", wanted.bytes, " bytes are bound to '", other.name,
                         "': an output must not overlap another input or output");
    }
  }
  check<OptionError>(arena_bytes == 0 || wanted.shared_with(range_of(arena, arena_bytes)) == 0, "bind '", name,
                     "': the memory is the session's own, of intermediate values");
}

}  // namespace frieze
