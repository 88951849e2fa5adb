#include <frieze/graph/session.h>

#include <algorithm>
#include <unordered_map>

#include <frieze/core/error.h>
#include <frieze/core/warning.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/taps.h>

namespace frieze {

struct Session::Taps {
  std::vector<int> set;  // indices of points, ascending
  // All of the plan's, made when first asked for.
  std::vector<TapPoint> points;
  std::unordered_map<std::string, int> by_name;

  std::vector<int> values(const std::vector<int>& indices) const {
    std::vector<int> ids;
    for (const int i : indices) ids.push_back(at(i).value);
    return ids;
  }
  const TapPoint& at(int i) const { return points[static_cast<std::size_t>(i)]; }
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
  check<OptionError>(options().keep_values || is_port(plan(), plan_value), "value '",
                     plan().values[static_cast<std::size_t>(plan_value)].name,
                     "' shares its memory with others: compile with keep_values to read it");
  return executor().read_value(plan_value);
}

std::vector<std::string> Session::tap(std::string_view pattern) {
  Executor& own = executor();
  Taps& taps = *taps_;
  if (taps.points.empty()) {
    taps.points = tap_points(plan());
    for (std::size_t i = 0; i < taps.points.size(); ++i) taps.by_name.emplace(taps.points[i].name, static_cast<int>(i));
  }
  const std::vector<int> more = points_matching(taps.points, pattern);
  std::vector<int> all;
  std::set_union(taps.set.begin(), taps.set.end(), more.begin(), more.end(), std::back_inserter(all));
  if (all != taps.set) own.tap(taps.values(all));
  taps.set = std::move(all);
  std::vector<std::string> meant;
  for (const int i : more) meant.push_back(taps.at(i).name);
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
  for (const int i : taps_->set) tapped.push_back(taps_->at(i).name);
  return tapped;
}

HostTensor Session::tapped(std::string_view name) const {
  Executor& own = executor();
  const Taps& taps = *taps_;
  const auto named = taps.by_name.find(std::string(name));
  if (named != taps.by_name.end() && std::binary_search(taps.set.begin(), taps.set.end(), named->second)) {
    return own.read_tap(taps.at(named->second).value);
  }
  std::vector<int> below;
  for (const int i : taps.set) {
    if (stands_for(taps.at(i), name)) return own.read_tap(taps.at(i).value);
    if (lies_below(taps.at(i), name)) below.push_back(i);
  }
  if (below.size() == 1) return own.read_tap(taps.at(below.front()).value);
  constexpr std::size_t kListed = 12;
  std::string list;
  const std::vector<int>& candidates = below.empty() ? taps.set : below;
  for (std::size_t i = 0; i < std::min(kListed, candidates.size()); ++i) list += (i == 0 ? "" : ", ") + taps.at(candidates[i]).name;
  if (candidates.size() > kListed) list += concat_text(" and ", candidates.size() - kListed, " more");
  check<OptionError>(below.empty(), "'", name, "' stands for several tapped values: name one of ", list);
  throw OptionError(concat_text("'", name, "' is not tapped: ", list.empty() ? "nothing is" : "these are: " + list));
}

Session compile(Plan plan, const Device& device, const CompileOptions& options) {
  const WarningScope warnings(&options.on_warning);
  return Session(device.backend().make_executor(std::move(plan), options, nullptr), device);
}

Session compile(const Module& model, const std::vector<InputSpec>& inputs, const Device& device, const CompileOptions& options) {
  return compile(optimize(trace(model, inputs), options.passes), device, options);
}

}  // namespace frieze
