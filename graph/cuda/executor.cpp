/// Runs a plan on a GPU: prepared kernels, one arena, one captured graph.
#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include <frieze/core/cuda/capture_lock.h>
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/device_memory.h>
#include <frieze/core/cuda/fault.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/core/warning.h>
#include <frieze/graph/cuda/arena.h>
#include <frieze/graph/cuda/capture.h>
#include <frieze/graph/cuda/check_kernels.h>
#include <frieze/graph/cuda/constants.h>
#include <frieze/graph/cuda/executor.h>
#include <frieze/graph/cuda/port_copy.h>
#include <frieze/graph/cuda/record.h>
#include <frieze/graph/cuda/repeat.h>
#include <frieze/graph/cuda/stamps.h>
#include <frieze/graph/cuda/strided_copy.h>
#include <frieze/graph/cuda/taps.h>
#include <frieze/graph/cuda/use.h>
#include <frieze/graph/memory_bill.h>
#include <frieze/graph/port_memory.h>

namespace frieze {
namespace cuda {
namespace {

struct Stopwatch {
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  double ms() const { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); }
};

class CudaExecutor final : public Executor {
 public:
  CudaExecutor(Plan plan, const CompileOptions& options, const DeviceInfo& device, const std::string& device_name,
               std::shared_ptr<Arena> arena)
      : Executor(std::move(plan), options), device_(device), stream_(make_stream_on(device.index)) {
    const SessionScope scope(*this);
    last_use_ = std::make_shared<LastUse>();
    arena_ = arena ? std::static_pointer_cast<DeviceArena>(arena) : std::make_shared<DeviceArena>(device_.index, false);
    receipt_.device = device_name;
    receipt_.tf32 = options_.allow_tf32;
    make_ports();
    prepare();
    place();
    warm_up();
    if (options_.capture) capture();
  }

  // The graph may still run on some stream of the caller's: wait for that, for nobody else, before its memory goes. The device and the
  // captures of others are taken care of for all members.
  ~CudaExecutor() override {
    ending_.emplace(&options_.on_warning);
    try {
      const SessionScope scope(*this);
      try {
        last_use_->wait();
      } catch (const CudaError&) {
        log_warning("the device failed before a session was destroyed");
      }
      const auto lock = lock_captures();
      taps_.reset();
      exec_ = GraphExec();
      captured_ = CapturedGraph();
      steps_.clear();
      ports_.clear();
      arena_.reset();
      stream_ = Stream();
    } catch (const std::exception& e) {
      log_warning(e.what());
    }
  }

  void run() override {
    const SessionScope scope(*this);
    enqueue(stream_.get());
    last_use_->wait();
  }

  // A graph on a stream of the current device needs none of the calls around it, which cost as much as half of it.
  void launch(cudaStream_t stream) override {
    int current = -1;
    std::optional<DeviceScope> scope;
    if (!exec_ || cudaGetDevice(&current) != cudaSuccess || current != device_.index) scope.emplace(device_.index);
    check_idle_stream("launch", stream, device_.index, "a session is a graph of its own: Session::record(stream) puts its steps there");
    enqueue(stream);
  }

  void record(cudaStream_t stream) override {
    const SessionScope scope(*this);
    arena_->check_recordable();
    recordings_.record(stream, device_.index, source());
  }

  void run_eager() override {
    const SessionScope scope(*this);
    enqueue_steps(stream_.get());
    last_use_->wait();
  }

  void bind(int value, void* data) override {
    const SessionScope scope(*this);
    void*& bound = memory_of_ports_.bound.at(value);
    void* const before = bound;
    if (data == nullptr) data = memory_of_ports_.own.at(value);
    check_port_memory(plan_, memory_of_ports_, value, data, arena_->data(), arena_->bytes());
    if (data != memory_of_ports_.own.at(value)) {
      check_device_memory(data, port_bytes(value), device_.index, concat_text("bind '", port_name(plan_, value), "'"));
    }
    if (data == before) return;
    bound = data;
    try {
      refresh_views();
      if (exec_) patch(value);
      capture_taps();
    } catch (...) {
      bound = before;
      refresh_views();
      restore(value);
      throw;
    }
  }

  bool on_host() const override { return false; }
  void write_port(const PortPart& part, const void* from) override {
    const SessionScope scope(*this);
    last_use_->wait();
    copy(at(part), from, part.bytes(), cudaMemcpyHostToDevice);
  }

  void read_port(const PortPart& part, void* to) const override {
    const SessionScope scope(*this);
    last_use_->wait();
    copy(to, at(part), part.bytes(), cudaMemcpyDeviceToHost);
  }

  void enqueue_write(const PortPart& part, const HostValues& from, cudaStream_t stream) override {
    const SessionScope scope(*this);
    copies_.prepare("copy_from_async: port '" + port_name(plan_, part.value) + "'", part, from, stream, device_.index, *last_use_);
    Use use = use_on(stream);
    copies_.write(part, from, at(part), stream);
    use.done();
  }

  void enqueue_read(const PortPart& part, const HostBuffer& to, cudaStream_t stream) override {
    const SessionScope scope(*this);
    copies_.prepare("copy_to_async: port '" + port_name(plan_, part.value) + "'", part, read_only(to), stream, device_.index, *last_use_);
    Use use = use_on(stream);
    copies_.read(part, at(part), to, stream);
    use.done();
  }

  HostTensor read_value(int value) const override {
    const SessionScope scope(*this);
    last_use_->wait();
    if (!is_kept(plan_, value)) arena_->begin_use(stream_.get(), last_use_);
    return read_view(view(value), plan_.spec(value), stream_.get());
  }

  HostTensor read_loop_value(int step, int value) const override {
    const SessionScope scope(*this);
    last_use_->wait();
    const auto i = static_cast<std::size_t>(step);
    const Prepared& prepared = steps_[i];
    const auto* const loop = dynamic_cast<const LoopKernel*>(prepared.kernel.get());
    check<Error>(loop != nullptr, plan_.steps[i].path, " is no loop");
    return read_view(loop->body_value({prepared.in, prepared.out, prepared.workspace}, value), loop_of(plan_.steps[i])->body().spec(value),
                     stream_.get());
  }

  void tap(const std::vector<TapTarget>& targets) override {
    const SessionScope scope(*this);
    last_use_->wait();
    std::vector<Taps::Tapped> wanted;
    for (const TapTarget& target : targets) {
      if (target.loop < 0) {
        wanted.push_back({target, ready_behind(target.value), view(target.value), spec_of(target)});
      } else {
        wanted.push_back({target, static_cast<std::size_t>(target.loop), {}, spec_of(target)});
      }
    }
    std::unique_ptr<Taps> fresh;
    if (!targets.empty()) {
      fresh = std::make_unique<Taps>(wanted, stream_.get());
      if (exec_) {
        fresh->capture(source(fresh.get()), stream_.get());
        check_only_copies_added(captured_, *fresh, source());
      }
      CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    }
    taps_ = std::move(fresh);
  }

  HostTensor read_tap(const TapTarget& target) const override {
    const SessionScope scope(*this);
    last_use_->wait();
    HostTensor out(spec_of(target));
    copy(out.data(), taps_->memory(target).data(), out.bytes(), cudaMemcpyDeviceToHost);
    return out;
  }

  void poison() override {
    const SessionScope scope(*this);
    Use use = use_on(stream_.get());
    if (taps_) taps_->poison(stream_.get());
    if (memory_.arena_bytes > 0)
      CUDA_CHECK(cudaMemsetAsync(arena_->data(), 0xFF, static_cast<std::size_t>(memory_.arena_bytes), stream_.get()));
    for (const PlanPort& port : plan_.outputs)
      CUDA_CHECK(cudaMemsetAsync(memory_of_ports_.bound.at(port.value), 0xFF, port_bytes(port.value), stream_.get()));
    use.done();
    last_use_->wait();
  }

  StepTimes time_steps(int rounds) override {
    const SessionScope scope(*this);
    last_use_->wait();
    // The stamped graph runs over the same arena: what it enqueues last is waited for in there.
    return cuda::time_steps(
        source(), [this](cudaStream_t s) { enqueue(s); }, rounds, stream_.get());
  }

 private:
  struct SessionScope {  // the session's device is current, and its warnings go where they should
    explicit SessionScope(const CudaExecutor& of) : warnings(&of.options_.on_warning), device(of.device_.index) {}
    WarningScope warnings;
    DeviceScope device;
  };

  struct Prepared {
    std::unique_ptr<Kernel> kernel;
    std::vector<TensorView> in, out;
    void* workspace = nullptr;
  };

  Use use_on(cudaStream_t stream, cudaGraphExec_t graph = nullptr) { return Use(last_use_, last_graph_, *arena_, stream, graph); }

  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) const {
    CUDA_CHECK_AT("cudaMemcpyAsync", cudaMemcpyAsync(to, from, bytes, kind, stream_.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
  }

  std::byte* at(const PortPart& part) const { return static_cast<std::byte*>(memory_of_ports_.bound.at(part.value)) + part.offset; }
  std::size_t port_bytes(int value) const { return static_cast<std::size_t>(plan_.spec(value).bytes()); }

  void make_ports() {
    for (const auto* list : {&plan_.inputs, &plan_.outputs}) {
      for (const PlanPort& port : *list) {
        if (ports_.contains(port.value)) continue;  // of a plan that no pass has seen
        DeviceBuffer buffer(static_cast<std::size_t>(plan_.spec(port.value).bytes()));
        CUDA_CHECK(cudaMemsetAsync(buffer.data(), 0, buffer.bytes(), stream_.get()));
        receipt_.memory.ports += static_cast<std::int64_t>(buffer.bytes());
        memory_of_ports_.own[port.value] = memory_of_ports_.bound[port.value] = buffer.data();
        ports_.emplace(port.value, std::move(buffer));
      }
    }
    ports_.merge(upload_constants(plan_, constants_, receipt_.memory.weights));
  }

  void prepare() {
    const Stopwatch watch;
    const TuningCacheScope cache(options_.tuning_cache);
    check_kernels(plan_);  // before anything is tuned, which may take long
    for (const Step& step : plan_.steps) {
      std::vector<TensorSpec> in, out;
      for (const int id : step.inputs) in.push_back(seen_by(step, plan_.spec(id)));
      for (const int id : step.outputs) out.push_back(seen_by(step, plan_.spec(id)));
      const std::vector<EpilogueOp> ops = step.ops();
      const std::vector<TensorView> in_views = seen_by(step, plan_, step.inputs), out_views = seen_by(step, plan_, step.outputs);
      const PrepareArgs args{
          in, out, ops, &device_, stream_.get(), options_.allow_tf32, options_.tune, in_views, out_views, options_.keep_values};
      Prepared prepared;
      prepared.kernel = prepare_step(step, args);
      receipt_.memory.weights += static_cast<std::int64_t>(prepared.kernel->weight_bytes());
      steps_.push_back(std::move(prepared));
      if (options_.on_prepared) options_.on_prepared(static_cast<int>(steps_.size()), static_cast<int>(plan_.steps.size()));
    }
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    receipt_.prepare_ms = watch.ms();
  }

  void place() {
    std::vector<std::int64_t> workspace;
    for (const Prepared& step : steps_) workspace.push_back(static_cast<std::int64_t>(step.kernel->workspace_bytes()));
    memory_ = plan_memory(plan_, workspace, options_.keep_values);
    receipt_.memory.arena = memory_.arena_bytes;
    receipt_.memory.arena_least = memory_.lower_bound;
    receipt_.memory.workspace = workspace.empty() ? 0 : *std::max_element(workspace.begin(), workspace.end());
    check_bill(receipt_.memory, options_.max_memory);
    arena_->reserve(memory_.arena_bytes);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const Placement* placed = memory_.workspace_of(static_cast<int>(i));
      if (placed != nullptr) steps_[i].workspace = arena_->data() + placed->offset;
      receipt_.steps.push_back({plan_.steps[i].label(), std::string(plan_.steps[i].layer->type_name()), steps_[i].kernel->describe(), 0,
                                workspace[i], plan_.steps[i].note});
    }
    list_views();
    refresh_views();
  }

  std::byte* arena_data() const override { return arena_->data(); }

  void refresh_views() {
    const auto at = [this](int id) { return view(id); };
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const Step& step = plan_.steps[i];
      steps_[i].in = seen_by(step, plan_, step.inputs, at);
      steps_[i].out = seen_by(step, plan_, step.outputs, at);
    }
  }

  // `taps`: what a loop copies out of its body on the way, nullptr: nothing.
  void enqueue_step(std::size_t i, cudaStream_t stream, const Taps* taps = nullptr) const {
    const Prepared& step = steps_[i];
    const LaunchArgs args{step.in, step.out, step.workspace};
    CUDA_CHECK_AT("kernel", cudaSuccess);
    if (taps != nullptr && !taps->inside(i).empty()) {
      dynamic_cast<const LoopKernel&>(*step.kernel).launch_tapped(args, taps->inside(i), stream);
    } else {
      step.kernel->launch(args, stream);
    }
  }

  void enqueue_steps(cudaStream_t stream) {
    Use use = use_on(stream);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      enqueue_step(i, stream, taps_.get());
      if (taps_) taps_->enqueue(i, stream);
    }
    use.done();
  }

  void enqueue(cudaStream_t stream) {
    check_alive();
    if (!exec_) return enqueue_steps(stream);
    const cudaGraphExec_t graph = taps_ ? taps_->exec() : exec_.get();
    Use use = use_on(stream, graph);
    CUDA_CHECK_AT("cudaGraphLaunch", cudaGraphLaunch(graph, stream));
    use.done();
  }

  // The first, uncaptured pass: whatever loads lazily does so here, and an error is named after its step. It reads zeroed
  // inputs and leaves nothing behind that a user sees.
  void warm_up() {
    Use use = use_on(stream_.get());
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      try {
        enqueue_step(i, stream_.get());
        CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
      } catch (const CudaError& e) {
        throw CudaError(plan_.steps[i].path + ": " + e.what(), e.code());
      }
    }
    clear_outputs();
    use.done();
    last_use_->wait();
  }

  void clear_outputs() {
    for (const PlanPort& port : plan_.outputs)
      CUDA_CHECK(cudaMemsetAsync(memory_of_ports_.bound.at(port.value), 0, port_bytes(port.value), stream_.get()));
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
  }

  CaptureSource source(const Taps* taps = nullptr) const {
    return {steps_.size(), [this, taps](std::size_t i, cudaStream_t s) { enqueue_step(i, s, taps); },
            [this](std::size_t i) { return plan_.steps[i].path; }, [this](std::size_t i) { return steps_[i].kernel->builds_nodes(); }};
  }

  void capture() {
    const Stopwatch watch;
    captured_ = capture_steps(stream_.get(), source());
    receipt_.capture_ms = watch.ms();
    InstantiatedGraph made = instantiate(captured_, stream_.get(), source());
    exec_ = std::move(made.exec);
    receipt_.instantiate_ms = made.instantiate_ms;
    receipt_.upload_ms = made.upload_ms;
    receipt_.memory.graph = made.driver_bytes;
    check_bill(receipt_.memory, options_.max_memory);
    receipt_.captured = true;
    receipt_.launches_per_run = 1;
    receipt_.capture_attempts = captured_.attempts;
    receipt_.edges = captured_.edges;
    receipt_.edge_list = captured_.edge_list;
    receipt_.streams = chains_of(captured_.node_count(), captured_.edge_list);
    receipt_.dependent_launches = captured_.dependent_launches;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const std::vector<ReceiptNode> nodes = describe_nodes(plan_.steps[i].label(), captured_.nodes[i]);
      receipt_.steps[i].nodes = static_cast<int>(nodes.size());
      receipt_.nodes.insert(receipt_.nodes.end(), nodes.begin(), nodes.end());
    }
    // One checked replay: an executable graph that faults is reported here, not to the first user.
    run();
    clear_outputs();
  }

  // After a failed bind: the graphs back to the addresses of before. If even that fails, no launch may use them any more.
  void restore(int value) noexcept {
    try {
      if (exec_) patch(value);
      capture_taps();
    } catch (...) {
      dead_ = true;
    }
  }

  void check_alive() const {
    check<CaptureError>(!dead_, "this session's graph holds stale addresses after a bind that failed: compile a new one");
  }

  // Behind a change of addresses. The sibling is for looking, not for speed: it is captured again, not patched.
  void capture_taps() {
    if (!taps_) return;
    last_use_->wait();
    taps_->moved([this](int id) { return view(id); });
    if (exec_) taps_->capture(source(taps_.get()), stream_.get());
  }

  // Gives the executable graph the new address of a port. Steps made of our own kernels are captured alone, into a scratch
  // graph, and their parameters are copied over. Parameters of library nodes are private: where one touches the port, the
  // whole model is captured again and the executable graph updated from it, which instantiates nothing either.
  void patch(int value) {
    std::vector<std::size_t> touching;
    bool rebindable = true;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const Step& step = plan_.steps[i];
      const auto holds = [&](const std::vector<int>& ids) {  // the port's memory, whole or in part
        return std::any_of(ids.begin(), ids.end(), [&](int id) { return value_of(id).storage == value_of(value).storage; });
      };
      if (!holds(step.outputs) && !holds(step.inputs)) continue;
      touching.push_back(i);
      rebindable &= steps_[i].kernel->rebindable();
    }
    if (touching.empty()) return;
    if (!rebindable) return update_all();
    const CaptureSource border{touching.size(), [&](std::size_t i, cudaStream_t s) { enqueue_step(touching[i], s); },
                               [&](std::size_t i) { return plan_.steps[touching[i]].path; },
                               [&](std::size_t i) { return steps_[touching[i]].kernel->builds_nodes(); }};
    const CapturedGraph scratch = capture_steps(stream_.get(), border);
    for (std::size_t i = 0; i < touching.size(); ++i) {
      const auto &fresh = scratch.nodes[i], &old = captured_.nodes[touching[i]];
      if (fresh.size() != old.size()) return update_all();
      for (std::size_t n = 0; n < fresh.size(); ++n) {
        cudaGraphNodeType type{};
        CUDA_CHECK(cudaGraphNodeGetType(fresh[n], &type));
        if (type != cudaGraphNodeTypeKernel) return update_all();
        cudaKernelNodeParams params{};
        CUDA_CHECK(cudaGraphKernelNodeGetParams(fresh[n], &params));
        CUDA_CHECK(cudaGraphExecKernelNodeSetParams(exec_.get(), old[n], &params));
      }
    }
  }

  // The nodes that later patches name stay those of the graph that the executable was instantiated from.
  void update_all() {
    CapturedGraph fresh = capture_steps(stream_.get(), source());
    cudaGraphExecUpdateResultInfo info{};
    if (cudaGraphExecUpdate(exec_.get(), fresh.graph.get(), &info) == cudaSuccess) return;
    (void)cudaGetLastError();
    last_use_->wait();  // the one that goes may be running
    exec_ = instantiate(fresh, stream_.get(), source()).exec;
    captured_ = std::move(fresh);
  }

  DeviceInfo device_;
  Stream stream_;
  std::shared_ptr<DeviceArena> arena_;
  std::map<int, DeviceBuffer> ports_;  // and constants
  std::vector<Prepared> steps_;        // library plans in here outlive the graph that was captured from them
  CapturedGraph captured_;
  GraphExec exec_;
  bool dead_ = false;
  std::unique_ptr<Taps> taps_;            // nullptr: the production graph runs
  cudaGraphExec_t last_graph_ = nullptr;  // nullptr: the last work was none
  std::shared_ptr<LastUse> last_use_;     // what the arena waits for too, after this session is gone
  Recordings recordings_;
  PortCopies copies_;
};

}  // namespace

std::unique_ptr<Executor> make_executor(Plan plan, const CompileOptions& options, const DeviceInfo& device, const std::string& device_name,
                                        std::shared_ptr<Arena> arena) {
  return std::make_unique<CudaExecutor>(std::move(plan), options, device, device_name, std::move(arena));
}

}  // namespace cuda
}  // namespace frieze
