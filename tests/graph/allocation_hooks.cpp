#include "graph/allocation_hooks.h"

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

#include "support/sanitizers.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#define FRIEZE_HOOKS (FRIEZE_ADDRESS_SANITIZER == 0)

namespace {
thread_local std::int64_t allocations = 0;
thread_local std::int64_t refuse_from = std::numeric_limits<std::int64_t>::max();
thread_local bool refused = false;
thread_local std::int64_t live = 0;
}  // namespace

namespace frieze::test {

bool counts_allocations() { return FRIEZE_HOOKS != 0; }
AllocationCounter::AllocationCounter() : before_(allocations) {}
std::int64_t AllocationCounter::count() const { return allocations - before_; }

AllocationFault::AllocationFault(std::int64_t which) : limit_(allocations + which) {
  refused = false;
  refuse_from = limit_;
}
AllocationFault::~AllocationFault() { refuse_from = std::numeric_limits<std::int64_t>::max(); }
bool AllocationFault::hit() const { return refused; }

std::int64_t live_allocations() { return live; }

std::int64_t heap_bytes() {
#if defined(__GLIBC__) && FRIEZE_HOOKS
  const struct mallinfo2 info = mallinfo2();
  return static_cast<std::int64_t>(info.uordblks + info.hblkhd);
#else
  return 0;
#endif
}

}  // namespace frieze::test

#if FRIEZE_HOOKS
namespace {

void* counted_allocation(std::size_t bytes, std::size_t alignment) {
  if (allocations++ == refuse_from) {
    refused = true;
    throw std::bad_alloc();
  }
  bytes = bytes == 0 ? 1 : bytes;
  void* memory = alignment <= alignof(std::max_align_t) ? std::malloc(bytes)
                                                        : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  ++live;
  return memory;
}

void release(void* memory) noexcept {
  if (memory != nullptr) --live;
  std::free(memory);
}

}  // namespace

// The array and nothrow forms of the standard library call these.
void* operator new(std::size_t bytes) { return counted_allocation(bytes, 0); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return counted_allocation(bytes, static_cast<std::size_t>(alignment)); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
#endif
