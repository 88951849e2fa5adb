#pragma once
/// What memory a port may be bound to.
#include <cstdint>
#include <map>
#include <string>

#include <frieze/graph/plan.h>

namespace frieze {

/// Memory of a session's ports, by plan value: its own buffers, and what is used now.
struct PortMemory {
  std::map<int, void*> own, bound;
};

/// The name of an input or output.
const std::string& port_name(const Plan& plan, int value);

/// Throws OptionError if port `value` at `data` would share bytes with memory that a run writes or that is the session's own: another port,
/// unless both are inputs, which nothing writes; the buffer of another port, bound elsewhere or not; or the `arena_bytes` bytes of
/// intermediate values from `arena` on. No step may run in place over ports: which bytes it reads last nobody promises.
void check_port_memory(const Plan& plan, const PortMemory& memory, int value, const void* data, const void* arena,
                       std::int64_t arena_bytes);

}  // namespace frieze
