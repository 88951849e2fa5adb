#include <algorithm>
#include <iterator>
#include <list>

#include <frieze/core/error.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/session.h>

namespace frieze {

struct Engine::State {
  struct Entry {
    std::vector<InputSpec> key;
    Session session;
  };

  const Module* model;
  std::shared_ptr<const Module> owned;  // or null: the model is somebody else's
  std::weak_ptr<const void> alive;      // expires with the model
  Device device;
  CompileOptions options;
  std::size_t capacity;
  std::shared_ptr<Arena> arena;
  std::list<Entry> recent;   // most recently used first
  std::list<Entry> evicted;  // without their sessions: references that callers hold stay valid
  std::size_t captures = 0;
};

namespace {

const Module& not_null(const std::shared_ptr<const Module>& model) {
  check<OptionError>(model != nullptr, "an engine needs a model, got a null pointer");
  return *model;
}

}  // namespace

Engine::Engine(const Module& model, Device device, CompileOptions options, std::size_t capacity) {
  check<OptionError>(capacity > 0, "an engine needs room for at least one session");
  auto arena = device.backend().make_arena();
  state_ =
      std::make_unique<State>(State{&model, nullptr, model.lifetime(), std::move(device), options, capacity, std::move(arena), {}, {}, 0});
}
Engine::Engine(std::shared_ptr<const Module> model, Device device, CompileOptions options, std::size_t capacity)
    : Engine(not_null(model), std::move(device), std::move(options), capacity) {
  state_->owned = std::move(model);
}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

Engine::State& Engine::state() const {
  check<OptionError>(state_ != nullptr, "this engine was moved from");
  return *state_;
}

void Engine::evict_last(State& s) {
  s.recent.back().session.leave_engine();
  s.evicted.splice(s.evicted.end(), s.recent, std::prev(s.recent.end()));
}

// Cached sessions give way to a new one that does not fit beside them.
Session Engine::make(State& s, const Plan& plan) {
  for (;;) {
    try {
      return Session(s.device.backend().make_executor(plan, s.options, s.arena), s.device);
    } catch (const CudaError& e) {
      if (s.recent.empty() || !e.out_of_memory()) throw;
      evict_last(s);
    }
  }
}

Session& Engine::session(const std::vector<InputSpec>& inputs) {
  State& s = state();
  for (auto it = s.recent.begin(); it != s.recent.end(); ++it) {
    if (it->key == inputs) {
      if (it->session.executor_ == nullptr) {  // a caller moved it away
        s.evicted.splice(s.evicted.end(), s.recent, it);
        break;
      }
      s.recent.splice(s.recent.begin(), s.recent, it);
      return s.recent.front().session;
    }
  }
  check<OptionError>(!s.alive.expired(), "this engine's model is gone: give the engine a shared_ptr of it, or keep it alive");
  // Refuse bad shapes before anything is evicted; evict before the capture, so that memory is there for it.
  const Plan plan = optimize(trace(*s.model, inputs), s.options.passes);
  while (s.recent.size() >= s.capacity) evict_last(s);
  Session made = make(s, plan);
  const auto before = std::find_if(s.evicted.begin(), s.evicted.end(), [&](const State::Entry& e) { return e.key == inputs; });
  if (before != s.evicted.end()) {
    before->session = std::move(made);
    s.recent.splice(s.recent.begin(), s.evicted, before);
  } else {
    s.recent.push_front({inputs, std::move(made)});
  }
  ++s.captures;
  return s.recent.front().session;
}

std::size_t Engine::size() const { return state().recent.size(); }
std::size_t Engine::captures() const { return state().captures; }
std::int64_t Engine::arena_bytes() const { return state().arena->bytes(); }

}  // namespace frieze
