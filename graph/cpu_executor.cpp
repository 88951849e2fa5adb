/// Runs a plan on the CPU: its fast kernels, or the Eigen reference; in the same planned arena as a GPU would use.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>

#include <frieze/core/cpu/kernel.h>
#include <frieze/core/error.h>
#include <frieze/core/host_memory.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/memory_bill.h>
#include <frieze/graph/port_memory.h>
#include <frieze/graph/reference_step.h>
#include <frieze/graph/repeat.h>

namespace frieze {
namespace {

class HostArena final : public Arena {
 public:
  std::int64_t bytes() const override { return static_cast<std::int64_t>(memory_.bytes()); }
  std::byte* data() const { return static_cast<std::byte*>(memory_.data()); }
  void reserve(std::int64_t bytes) {
    // Steps look their addresses up at each run, so the block may move.
    if (bytes > this->bytes()) memory_ = HostTensor({Shape{(bytes + 3) / 4}, DType::f32, Format::nchw});
  }

 private:
  HostTensor memory_;
};

class CpuExecutor final : public Executor {
 public:
  /// `fast`: steps with a kernel for what they are given run that, all others the reference.
  CpuExecutor(Plan plan, const CompileOptions& options, std::shared_ptr<Arena> arena, bool fast) : Executor(std::move(plan), options) {
    arena_ = arena ? std::static_pointer_cast<HostArena>(arena) : std::make_shared<HostArena>();
    memory_ = plan_memory(plan_, {}, options_.keep_values);
    std::int64_t ports = 0;
    for (const auto* list : {&plan_.inputs, &plan_.outputs}) {
      for (const PlanPort& port : *list) ports = checked_add(ports, plan_.spec(port.value).bytes(), "bytes");
    }
    check_memory(checked_add(ports, memory_.arena_bytes, "bytes"), "a model with inputs and outputs of ", readable_bytes(ports),
                 " and intermediate values of ", readable_bytes(memory_.arena_bytes));
    receipt_.memory.arena = memory_.arena_bytes;
    receipt_.memory.arena_least = memory_.lower_bound;
    receipt_.memory.ports = ports;
    kernels_.resize(plan_.steps.size());
    for (std::size_t i = 0; fast && i < plan_.steps.size(); ++i) {
      kernels_[i] = prepare(plan_.steps[i]);
      if (kernels_[i] != nullptr) receipt_.memory.weights += static_cast<std::int64_t>(kernels_[i]->weight_bytes());
      if (options_.on_prepared) options_.on_prepared(static_cast<int>(i) + 1, static_cast<int>(plan_.steps.size()));
    }
    visit_steps(plan_, [this](const Plan&, const Step& step) {
      for (const Parameter* p : step.layer->parameters()) receipt_.memory.weights += p->shape.elements() * 4;
    });
    visit_plans(plan_, [this](const Plan& part) {
      for (const PlanConstant& c : part.constants) receipt_.memory.weights += part.spec(c.value).bytes();
    });
    check_bill(receipt_.memory, options_.max_memory);
    for (const PlanConstant& c : plan_.constants) {
      constant_tensors_.push_back(constant_tensor(plan_, c));
      constants_[c.value] = constant_tensors_.back().data();
    }
    arena_->reserve(memory_.arena_bytes);
    for (const auto* ports : {&plan_.inputs, &plan_.outputs}) {
      for (const PlanPort& port : *ports) {
        if (ports_.contains(port.value)) continue;  // of a plan that no pass has seen
        HostTensor tensor(plan_.spec(port.value));
        std::memset(tensor.data(), 0, tensor.bytes());
        memory_of_ports_.own[port.value] = memory_of_ports_.bound[port.value] = tensor.data();
        ports_.emplace(port.value, std::move(tensor));
      }
    }
    receipt_.device = fast ? "cpu" : "reference";
    receipt_.launches_per_run = 0;
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      const std::string how = kernels_[i] == nullptr ? std::string(kReferenceAlgorithm) : kernels_[i]->describe();
      receipt_.steps.push_back({step.label(), std::string(step.layer->type_name()), how, 0, 0, step.note});
    }
    list_views();
    if (options_.on_prepared && !fast) options_.on_prepared(static_cast<int>(plan_.steps.size()), static_cast<int>(plan_.steps.size()));
  }

  void run() override {
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      run_step(plan_.steps[i], static_cast<int>(i));
      for (const auto& [target, tensor] : taps_) {
        if (target.loop < 0 && ready_behind(target.value) == i) convert(view(target.value), tensor.view());
      }
    }
  }
  void run_eager() override { run(); }
  void launch(cudaStream_t) override { run(); }
  void record(cudaStream_t) override {
    throw OptionError("record: this session runs on the CPU, where there is no stream to record into; use run()");
  }

  void bind(int value, void* data) override {
    if (data == nullptr) data = memory_of_ports_.own.at(value);
    check_port_memory(plan_, memory_of_ports_, value, data, arena_->data(), arena_->bytes());
    memory_of_ports_.bound[value] = data;
  }
  bool on_host() const override { return true; }
  void write_port(const PortPart& part, const void* from) override { std::memcpy(at(part), from, part.bytes()); }
  void read_port(const PortPart& part, void* to) const override { std::memcpy(to, at(part), part.bytes()); }
  void enqueue_write(const PortPart& part, const HostValues& from, cudaStream_t) override { write_values(from, at(part), part.spec); }
  void enqueue_read(const PortPart& part, const HostBuffer& to, cudaStream_t) override { read_values(at(part), part.spec, to); }

  HostTensor read_value(int value) const override {
    HostTensor out(plan_.spec(value));
    convert(view(value), out.view());
    return out;
  }

  void tap(const std::vector<TapTarget>& targets) override {
    std::map<TapTarget, HostTensor> taps;
    for (const TapTarget& target : targets) {
      HostTensor tensor(spec_of(target));
      std::memset(tensor.data(), 0xFF, tensor.bytes());
      taps.emplace(target, std::move(tensor));
    }
    taps_ = std::move(taps);
  }

  HostTensor read_tap(const TapTarget& target) const override {
    const HostTensor& from = taps_.at(target);
    HostTensor out(from.spec());
    std::memcpy(out.data(), from.data(), out.bytes());
    return out;
  }

  void poison() override {
    for (const auto& [target, tensor] : taps_) std::memset(tensor.data(), 0xFF, tensor.bytes());
    if (memory_.arena_bytes > 0) std::memset(arena_->data(), 0xFF, static_cast<std::size_t>(memory_.arena_bytes));
    for (const PlanPort& port : plan_.outputs) std::memset(memory_of_ports_.bound.at(port.value), 0xFF, ports_.at(port.value).bytes());
  }

  // The host's clock at the borders; reading it costs nothing against a step of the reference.
  StepTimes time_steps(int rounds) override {
    using Clock = std::chrono::steady_clock;
    const auto microseconds = [](Clock::time_point from, Clock::time_point to) {
      return std::chrono::duration<double, std::micro>(to - from).count();
    };
    std::vector<double> whole, stamped;
    std::vector<std::vector<double>> steps(plan_.steps.size());
    run();  // the first one finds cold caches
    for (int round = 0; round < rounds; ++round) {
      const Clock::time_point begin = Clock::now();
      run();
      const Clock::time_point first = Clock::now();
      whole.push_back(microseconds(begin, first));
      Clock::time_point before = first;
      for (std::size_t i = 0; i < steps.size(); ++i) {
        run_step(plan_.steps[i], static_cast<int>(i));
        const Clock::time_point after = Clock::now();
        steps[i].push_back(microseconds(before, after));
        before = after;
      }
      stamped.push_back(microseconds(first, before));
    }
    StepTimes times;
    times.rounds = rounds;
    times.run = spread_of(std::move(whole));
    times.stamped_run = spread_of(std::move(stamped));
    for (std::vector<double>& us : steps) times.steps.push_back(spread_of(std::move(us)));
    return times;
  }

 private:
  std::byte* at(const PortPart& part) const { return static_cast<std::byte*>(memory_of_ports_.bound.at(part.value)) + part.offset; }

  void run_step(const Step& step, int index) const {
    std::vector<TensorView> in, out;
    for (const int id : step.inputs) in.push_back(view(id));
    for (const int id : step.outputs) out.push_back(view(id));
    if (const auto& kernel = kernels_[static_cast<std::size_t>(index)]) return kernel->run({in, out});
    const bool tapped_inside = std::any_of(taps_.begin(), taps_.end(), [&](const auto& tap) { return tap.first.loop == index; });
    if (!tapped_inside) {
      reference_step(step, in, out, run_dtype(plan_, step));
      return;
    }
    const Repeat& loop = *loop_of(step);
    loop.run({in, out, run_dtype(plan_, step)}, [&](int iteration, std::size_t behind, const std::function<TensorView(int)>& value) {
      for (const auto& [target, tensor] : taps_) {
        if (target.loop != index || target.iteration != iteration) continue;
        const int producer = loop.body().values[static_cast<std::size_t>(target.value)].producer;
        if (static_cast<std::size_t>(std::max(0, producer)) == behind) convert(value(target.value), tensor.view());
      }
    });
  }

  // nullptr: the reference runs.
  std::unique_ptr<cpu::Kernel> prepare(const Step& step) const {
    std::vector<TensorSpec> in, out;
    std::vector<TensorView> in_views, out_views;
    const auto add = [&](const std::vector<int>& ids, std::vector<TensorSpec>& specs, std::vector<TensorView>& views) {
      for (const int id : ids) {
        specs.push_back(plan_.spec(id));
        views.push_back(plan_.view(id, nullptr));
        views.back().data = nullptr;
        if (specs.back().dtype != DType::f32) return false;
      }
      return true;
    };
    if (!add(step.inputs, in, in_views) || !add(step.outputs, out, out_views)) return nullptr;
    const std::vector<EpilogueOp> ops = step.ops();
    return cpu::kernel_registry().prepare(*step.layer, {in, out, ops, in_views, out_views, step.format});
  }

  std::byte* arena_data() const override { return arena_->data(); }

  std::shared_ptr<HostArena> arena_;
  std::vector<std::unique_ptr<cpu::Kernel>> kernels_;  // of the steps; nullptr: the reference runs
  std::vector<HostTensor> constant_tensors_;
  std::map<int, HostTensor> ports_;
  std::map<TapTarget, HostTensor> taps_;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(bool fast) : fast_(fast) {}
  bool is_cuda() const override { return false; }
  bool is_reference() const override { return !fast_; }
  std::string name() const override { return fast_ ? "cpu" : "reference"; }
  std::shared_ptr<Arena> make_arena() const override { return std::make_shared<HostArena>(); }
  DeviceRates measure_rates(DType, bool) const override { return {}; }
  std::unique_ptr<Executor> make_executor(Plan plan, const CompileOptions& options, std::shared_ptr<Arena> arena) const override {
    return std::make_unique<CpuExecutor>(std::move(plan), options, std::move(arena), fast_);
  }

 private:
  bool fast_;
};

}  // namespace

std::shared_ptr<const Backend> cpu_backend() {
  static const auto backend = std::make_shared<const CpuBackend>(true);
  return backend;
}

std::shared_ptr<const Backend> reference_backend() {
  static const auto backend = std::make_shared<const CpuBackend>(false);
  return backend;
}

HostTensor Executor::read_loop_value(int, int) const { throw Error("the values of a loop's body are not kept on the CPU"); }

const TensorSpec& Executor::spec_of(const TapTarget& target) const {
  if (target.loop < 0) return plan_.spec(target.value);
  return loop_of(plan_.steps[static_cast<std::size_t>(target.loop)])->body().spec(target.value);
}

bool is_kept(const Plan& plan, int value) {
  const int storage = plan.values[static_cast<std::size_t>(value)].storage;
  return plan.storages[static_cast<std::size_t>(storage)].where != Storage::Where::arena;
}

void Executor::list_views() {
  for (const PlanView& view : plan_.views) {
    const PlanValue& first = plan_.values[static_cast<std::size_t>(view.step.outputs.front())];
    const int owner = plan_.storages[static_cast<std::size_t>(first.storage)].owner;
    receipt_.views.push_back(
        {view.step.path, std::string(view.step.layer->type_name()), plan_.values[static_cast<std::size_t>(owner)].name});
  }
}

}  // namespace frieze
