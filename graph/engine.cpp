#include <list>

#include <frieze/core/error.h>
#include <frieze/graph/executor.h>

namespace frieze {

struct Engine::State {
  struct Entry {
    std::vector<InputSpec> key;
    Session session;
  };

  const Module* model;
  Device device;
  CompileOptions options;
  std::size_t capacity;
  std::shared_ptr<Arena> arena;
  std::list<Entry> recent;  // most recently used first
  std::size_t captures = 0;
};

Engine::Engine(const Module& model, Device device, CompileOptions options, std::size_t capacity) {
  check<OptionError>(capacity > 0, "an engine needs room for at least one session");
  auto arena = device.backend().make_arena();
  state_ = std::make_unique<State>(State{&model, std::move(device), options, capacity, std::move(arena), {}, 0});
}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

// Cached sessions give way to a new one that does not fit beside them.
Session Engine::make(State& s, const Plan& plan) {
  for (;;) {
    try {
      return Session(s.device.backend().make_executor(plan, s.options, s.arena), s.device);
    } catch (const CudaError& e) {
      if (s.recent.empty() || !e.out_of_memory()) throw;
      s.recent.pop_back();
    }
  }
}

Session& Engine::session(const std::vector<InputSpec>& inputs) {
  State& s = *state_;
  for (auto it = s.recent.begin(); it != s.recent.end(); ++it) {
    if (it->key == inputs) {
      s.recent.splice(s.recent.begin(), s.recent, it);
      return s.recent.front().session;
    }
  }
  // Refuse bad shapes before anything is evicted; evict before the capture, so that memory is there for it.
  const Plan plan = optimize(trace(*s.model, inputs), s.options.passes);
  while (s.recent.size() >= s.capacity) s.recent.pop_back();
  Session made = make(s, plan);
  s.recent.push_front({inputs, std::move(made)});
  ++s.captures;
  return s.recent.front().session;
}

std::size_t Engine::size() const { return state_->recent.size(); }
std::size_t Engine::captures() const { return state_->captures; }
std::int64_t Engine::arena_bytes() const { return state_->arena->bytes(); }

}  // namespace frieze
