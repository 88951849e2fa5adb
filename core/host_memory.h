#pragma once
/// How much host memory there is, asked before it is allocated: what no machine could give is refused in one clear line.
#include <cstdint>

#include <frieze/core/error.h>

namespace frieze {

/// Bytes of memory and swap that this machine has in all, whoever uses them now. Past every request if unknown.
std::int64_t machine_memory();

/// "12.0 MiB", "3.5 TiB": bytes with the largest unit that keeps the number at 1 or more.
std::string readable_bytes(std::int64_t bytes);

/// Throws MemoryError "<what> needs 3.5 TiB, this machine has 15.6 GiB of memory and swap" if `bytes` exceed all of it.
/// The parts of `what` are formatted only on failure.
template <class... Parts>
void check_memory(std::int64_t bytes, const Parts&... what) {
  check<MemoryError>(bytes <= machine_memory(), what..., " needs ", readable_bytes(bytes), ", this machine has ",
                     readable_bytes(machine_memory()), " of memory and swap");
}

}  // namespace frieze
