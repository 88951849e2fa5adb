#include <frieze/graph/session.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/core/warning.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/taps.h>

namespace frieze {

struct Session::Taps {
  std::vector<Tap> set;          // in order
  std::vector<TapPoint> points;  // all of the plan's, made when first asked for

  TapTarget target(const Tap& tap) const { return {at(tap).value, at(tap).loop, tap.iteration}; }
  std::string name(const Tap& tap) const { return tap_name(at(tap), tap.iteration); }
  const TapPoint& at(const Tap& tap) const { return points[static_cast<std::size_t>(tap.point)]; }
};

Session::Session(std::shared_ptr<Executor> executor, Device device)
    : executor_(std::move(executor)), device_(std::move(device)), taps_(std::make_shared<Taps>()) {}
Session::Session(const Session&) = default;
Session& Session::operator=(const Session&) = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

void Session::leave_engine() {
  executor_.reset();
  taps_.reset();
  evicted_ = true;
}

Executor& Session::executor() const {
  check<OptionError>(!evicted_, "this session was evicted from its engine: ask the engine for it again, or keep a copy of it");
  check<OptionError>(executor_ != nullptr, "this session was moved from");
  executor_->plan().check_alive();
  return *executor_;
}

void Session::run() { executor().run(); }
void Session::launch(cudaStream_t stream) { executor().launch(stream); }
void Session::record(cudaStream_t stream) { executor().record(stream); }
void Session::run_eager() { executor().run_eager(); }
void Session::poison() { executor().poison(); }
const Plan& Session::plan() const { return executor().plan(); }
const MemoryPlan& Session::memory_plan() const { return executor().memory_plan(); }
const Receipt& Session::receipt() const { return executor().receipt(); }
const CompileOptions& Session::options() const { return executor().options(); }
Device Session::device() const { return executor(), device_; }

namespace {

const PlanPort& port_named(const std::vector<PlanPort>& ports, int value) {
  for (const PlanPort& port : ports) {
    if (port.value == value) return port;
  }
  throw Error("plan: a port leads nowhere");  // Plan::input and Plan::output only give values of ports
}

const PlanPort& only_port(const std::vector<PlanPort>& ports, const char* what) {
  check<OptionError>(ports.size() == 1, "the model has ", ports.size(), " ", what, "s: name one");
  return ports.front();
}

}  // namespace

Port Session::input(std::string_view name) const { return Port(executor_, port_named(plan().inputs, plan().input(name))); }
Port Session::output(std::string_view name) const { return Port(executor_, port_named(plan().outputs, plan().output(name))); }
Port Session::input() const { return Port(executor_, only_port(plan().inputs, "input")); }
Port Session::output() const { return Port(executor_, only_port(plan().outputs, "output")); }

void Session::bind(std::string_view name, void* data) {
  constexpr std::uintptr_t kAlign = 16;
  check<OptionError>(reinterpret_cast<std::uintptr_t>(data) % kAlign == 0, "bind '", name, "': the memory must be ", kAlign,
                     "-byte aligned");
  for (const auto* ports : {&plan().inputs, &plan().outputs}) {
    for (const PlanPort& port : *ports) {
      if (port.name == name) return executor().bind(port.value, data);
    }
  }
  std::string names;
  for (const auto* ports : {&plan().inputs, &plan().outputs}) {
    for (const PlanPort& port : *ports) names += (names.empty() ? "" : ", ") + port.name;
  }
  throw OptionError(concat_text("no input or output named '", name, "': the model has ", names));
}

HostTensor Session::value(int plan_value) const {
  check<OptionError>(plan_value >= 0 && plan_value < static_cast<int>(plan().values.size()), "no plan value ", plan_value);
  check<OptionError>(options().keep_values || is_kept(plan(), plan_value), "value '",
                     plan().values[static_cast<std::size_t>(plan_value)].name,
                     "' shares its memory with others: compile with keep_values to read it");
  return executor().read_value(plan_value);
}

std::vector<std::string> Session::tap(std::string_view pattern) {
  Executor& own = executor();
  Taps& taps = *taps_;
  if (taps.points.empty()) taps.points = tap_points(plan());
  const std::vector<Tap> more = taps_matching(taps.points, pattern);
  std::vector<Tap> all;
  std::set_union(taps.set.begin(), taps.set.end(), more.begin(), more.end(), std::back_inserter(all));
  if (all != taps.set) {
    std::vector<TapTarget> targets;
    for (const Tap& tap : all) targets.push_back(taps.target(tap));
    own.tap(targets);
  }
  taps.set = std::move(all);
  std::vector<std::string> meant;
  for (const Tap& tap : more) meant.push_back(taps.name(tap));
  return meant;
}

void Session::untap() {
  Executor& own = executor();
  if (!taps_->set.empty()) own.tap({});
  taps_->set.clear();
}

std::vector<std::string> Session::tapped_names() const {
  (void)executor();
  std::vector<std::string> tapped;
  for (const Tap& tap : taps_->set) tapped.push_back(taps_->name(tap));
  return tapped;
}

HostTensor Session::tapped(std::string_view name) const {
  Executor& own = executor();
  return own.read_tap(taps_->target(tap_named(taps_->points, taps_->set, name)));
}

Session compile(Plan plan, const Device& device, const CompileOptions& options) {
  const WarningScope warnings(&options.on_warning);
  return Session(device.backend().make_executor(std::move(plan), options, nullptr), device);
}

Session compile(const Module& model, const std::vector<InputSpec>& inputs, const Device& device, const CompileOptions& options) {
  return compile(optimize(trace(model, inputs), options.passes), device, options);
}

}  // namespace frieze
