#include <frieze/core/cuda/launch.cuh>

#include <chrono>
#include <map>
#include <memory>
#include <new>
#include <thread>

#include <frieze/core/cuda/capture_gate.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>

namespace frieze::cuda {
namespace {

// Numbers in the host's memory: which gate the kernel has begun to keep, and up to which one the host has let go.
struct Numbers {
  std::uint32_t begun = 0, released = 0;
};

__global__ void keep_gate_one_thread(volatile Numbers* numbers, std::uint32_t gate, unsigned long long most_nanoseconds) {
  unsigned long long start = 0, now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  numbers->begun = gate;
  __threadfence_system();
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (numbers->released < gate && now - start < most_nanoseconds);
}

// Waits until `done` or for that long.
template <class Done>
void wait_for(std::chrono::microseconds most, Done&& done) {
  const auto until = std::chrono::steady_clock::now() + most;
  while (!done() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
}

}  // namespace

struct CaptureGate::State {
  Stream stream = make_stream();
  Event behind = make_event();
  volatile Numbers* numbers = nullptr;
  std::uint32_t gate = 0;

  State() {
    void* memory = nullptr;
    CUDA_CHECK(cudaHostAlloc(&memory, sizeof(Numbers), cudaHostAllocMapped));
    numbers = new (memory) Numbers;
    preload(reinterpret_cast<const void*>(&keep_gate_one_thread));
  }
  // One a device, for as long as the process: the capture lock is held.
  static State* of_current_device() {
    static auto& all = *new std::map<int, std::unique_ptr<State>>;
    int device = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    std::unique_ptr<State>& state = all[device];
    if (state == nullptr) state = std::make_unique<State>();
    return state.get();
  }
};

CaptureGate::CaptureGate() noexcept {
  using namespace std::chrono_literals;
  using Clock = std::chrono::steady_clock;
  constexpr auto kStart = 500us;    // a device that does not begin in that time has work that others wait for
  constexpr auto kGatherIn = 50us;  // a thread that synchronises in a loop comes by within a few
  constexpr auto kSpent = std::chrono::microseconds(kMostMicroseconds / 2);
  constexpr int kTries = 5;
  try {
    const BesideCaptures scope;
    State* const state = State::of_current_device();
    for (int tried = 0; tried < kTries; ++tried) {
      state->numbers->released = state->gate;
      const std::uint32_t gate = ++state->gate;
      const auto began = Clock::now();
      launch_kernel(keep_gate_one_thread, dim3(1), dim3(1), 0, state->stream.get(), state->numbers, gate, kMostMicroseconds * 1000ULL);
      state_ = state;
      wait_for(kStart, [&] { return state->numbers->begun == gate; });
      wait_for(kGatherIn, [] { return false; });
      // A cudaFree that waits for the device holds up other calls, and would hold up the capture until the gate's time is over.
      CUDA_CHECK(cudaEventRecord(state->behind.get(), state->stream.get()));
      if (Clock::now() - began < kSpent) return;
    }
  } catch (const std::exception&) {
    (void)cudaGetLastError();
  }
}

CaptureGate::~CaptureGate() {
  if (state_ != nullptr) state_->numbers->released = state_->gate;
}

}  // namespace frieze::cuda
