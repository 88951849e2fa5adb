#pragma once
/// Counts this thread's heap allocations through operator new. The hooks replace the global operators of the test binary.
#include <cstdint>

namespace frieze::test {

/// False under AddressSanitizer, whose own operators stay.
bool counts_allocations();

/// Allocations of the current thread between construction and count().
class AllocationCounter {
 public:
  AllocationCounter();
  std::int64_t count() const;

 private:
  std::int64_t before_;
};

/// While it lives, this thread's allocation number `which`, counted from 0, throws std::bad_alloc.
class AllocationFault {
 public:
  explicit AllocationFault(std::int64_t which);
  ~AllocationFault();
  AllocationFault(const AllocationFault&) = delete;
  AllocationFault& operator=(const AllocationFault&) = delete;
  bool hit() const;

 private:
  std::int64_t limit_;
};

/// Allocations of this thread through operator new less what it has deleted.
std::int64_t live_allocations();

/// Bytes of the process's heap in use, whoever asked for them (libraries and the driver too); 0 if it cannot be told.
std::int64_t heap_bytes();

}  // namespace frieze::test
