#include <frieze/graph/session.h>

#include <algorithm>
#include <charconv>

#include <frieze/core/error.h>
#include <frieze/core/warning.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/taps.h>

namespace frieze {

Device Device::cpu() { return Device(cpu_backend()); }
Device Device::cuda(int index) { return Device(cuda_backend(index)); }
int Device::cuda_count() { return cuda_device_count(); }
bool Device::is_cuda() const { return backend_->is_cuda(); }
std::string Device::name() const { return backend_->name(); }

Device Device::parse(std::string_view text) {
  if (text == "cpu") return cpu();
  if (text == "cuda") return cuda(0);
  if (text.starts_with("cuda:")) {
    const std::string_view digits = text.substr(5);
    int index = -1;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (status == std::errc() && end == digits.data() + digits.size() && index >= 0) return cuda(index);
  }
  throw OptionError(concat_text("unknown device '", text, "': expected cpu, cuda or cuda:N"));
}

const std::string& Port::name() const { return port_->name; }
const TensorSpec& Port::spec() const { return executor_->plan().spec(port_->value); }
TensorView Port::view() const { return executor_->port_view(port_->value); }

void Port::copy_from(std::span<const float> values) {
  check<ShapeError>(static_cast<std::int64_t>(values.size()) == spec().shape.elements(), "port '", name(), "': expected ",
                    spec().shape.elements(), " values for ", spec().shape, ", got ", values.size());
  executor_->write_port(port_->value, HostTensor(spec(), values));
}

void Port::copy_from(const HostTensor& tensor) {
  check<ShapeError>(tensor.spec().shape == spec().shape, "port '", name(), "': expected shape ", spec().shape, ", got ",
                    tensor.spec().shape);
  if (tensor.spec() == spec()) {
    executor_->write_port(port_->value, tensor);
  } else {
    executor_->write_port(port_->value, tensor.converted(spec().dtype, spec().format));
  }
}

HostTensor Port::to_host() const { return executor_->read_value(port_->value); }

Session::Session(std::unique_ptr<Executor> executor, Device device) : executor_(std::move(executor)), device_(std::move(device)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

void Session::run() { executor_->run(); }
void Session::launch(cudaStream_t stream) { executor_->launch(stream); }
void Session::run_eager() { executor_->run_eager(); }
void Session::poison() { executor_->poison(); }
const Plan& Session::plan() const { return executor_->plan(); }
const MemoryPlan& Session::memory_plan() const { return executor_->memory_plan(); }
const Receipt& Session::receipt() const { return executor_->receipt(); }
const CompileOptions& Session::options() const { return executor_->options(); }
Device Session::device() const { return device_; }

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

Port Session::input(std::string_view name) const { return Port(*executor_, port_named(plan().inputs, plan().input(name))); }
Port Session::output(std::string_view name) const { return Port(*executor_, port_named(plan().outputs, plan().output(name))); }
Port Session::input() const { return Port(*executor_, only_port(plan().inputs, "input")); }
Port Session::output() const { return Port(*executor_, only_port(plan().outputs, "output")); }

void Session::bind(std::string_view name, void* data) {
  constexpr std::uintptr_t kAlign = 16;
  check<OptionError>(reinterpret_cast<std::uintptr_t>(data) % kAlign == 0, "bind '", name, "': the memory must be ", kAlign,
                     "-byte aligned");
  for (const auto* ports : {&plan().inputs, &plan().outputs}) {
    for (const PlanPort& port : *ports) {
      if (port.name == name) return executor_->bind(port.value, data);
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
  return executor_->read_value(plan_value);
}

std::vector<std::string> Session::tap(std::string_view pattern) {
  const std::vector<int> more = steps_matching(plan(), pattern);
  std::vector<int> all;
  std::set_union(taps_.begin(), taps_.end(), more.begin(), more.end(), std::back_inserter(all));
  if (all != taps_) executor_->tap(all);
  taps_ = std::move(all);
  const std::vector<std::string> names = tap_names(plan());
  std::vector<std::string> meant;
  for (const int step : more) meant.push_back(names[static_cast<std::size_t>(step)]);
  return meant;
}

void Session::untap() {
  if (!taps_.empty()) executor_->tap({});
  taps_.clear();
}

std::vector<std::string> Session::tapped_names() const {
  const std::vector<std::string> names = tap_names(plan());
  std::vector<std::string> tapped;
  for (const int step : taps_) tapped.push_back(names[static_cast<std::size_t>(step)]);
  return tapped;
}

HostTensor Session::tapped(std::string_view name) const {
  const std::vector<std::string> names = tap_names(plan());
  for (const int step : taps_) {
    const auto i = static_cast<std::size_t>(step);
    if (names[i] == name || plan().steps[i].path == name) return executor_->read_tap(step);
  }
  std::string list;
  for (const std::string& tapped : tapped_names()) list += (list.empty() ? "" : ", ") + tapped;
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
