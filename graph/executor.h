#pragma once
/// What a Session stands on: one executor per device kind, behind one interface. Internal to graph/.
#include <algorithm>
#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <frieze/core/integers.h>
#include <frieze/core/warning.h>
#include <frieze/graph/options.h>
#include <frieze/graph/port_memory.h>
#include <frieze/graph/port_values.h>
#include <frieze/graph/receipt.h>
#include <frieze/graph/step_times.h>

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace frieze {

/// Memory for intermediate values that several sessions of one engine may share. It only grows, and its address stays.
class Arena {
 public:
  virtual ~Arena() = default;
  virtual std::int64_t bytes() const = 0;
};

/// What is tapped: a value of the plan, or one of the body of its step `loop` as iteration `iteration` makes it.
struct TapTarget {
  int value = -1;
  int loop = -1;
  int iteration = -1;
  friend auto operator<=>(const TapTarget&, const TapTarget&) = default;
};

class Executor {
 public:
  /// Throws what Plan::check_runnable throws.
  Executor(Plan plan, const CompileOptions& options) : plan_(place(std::move(plan))), options_(options) { plan_.check_runnable(); }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor() = default;

  virtual void run() = 0;
  virtual void run_eager() = 0;
  virtual void launch(cudaStream_t stream) = 0;
  virtual void record(cudaStream_t stream) = 0;
  /// Memory of a port now; `value` is the port's plan value.
  TensorView port_view(int value) const { return view(value); }
  virtual void bind(int value, void* data) = 0;
  /// True if ports lie in host memory, at port_view().
  virtual bool on_host() const = 0;
  /// From and to contiguous host memory in the port's own type and format.
  virtual void write_port(const PortPart& part, const void* from) = 0;
  virtual void read_port(const PortPart& part, void* to) const = 0;
  void write_port(int value, const HostTensor& from) { write_port({value, 0, plan_.spec(value)}, from.data()); }
  /// Port::copy_from_async() and copy_to_async(), once the arguments fit the port.
  virtual void enqueue_write(const PortPart& part, const HostValues& from, cudaStream_t stream) = 0;
  virtual void enqueue_read(const PortPart& part, const HostBuffer& to, cudaStream_t stream) = 0;
  /// Any port; with keep_values any value. In the value's own type and format.
  virtual HostTensor read_value(int value) const = 0;
  /// A value of the body of a loop, the plan's step `step`, as its last iteration left it; with keep_values on a GPU, else throws Error.
  virtual HostTensor read_loop_value(int step, int value) const;
  virtual void poison() = 0;
  /// From the next run on, exactly these are copied behind the steps that make them.
  virtual void tap(const std::vector<TapTarget>& targets) = 0;
  /// What the last run left in a tap, in the value's own type and format.
  virtual HostTensor read_tap(const TapTarget& target) const = 0;
  /// Runs many times on what the inputs hold. At least one round.
  virtual StepTimes time_steps(int rounds) = 0;

  /// Host memory for what is converted on its way to a port; kept for the next time.
  void* staging(std::size_t bytes) {
    if (bytes > staging_.bytes())
      staging_ = HostTensor({Shape{static_cast<std::int64_t>(ceil_div(bytes, size_of(DType::f32)))}, DType::f32});
    return staging_.data();
  }

  const Plan& plan() const { return plan_; }
  const CompileOptions& options() const { return options_; }
  const MemoryPlan& memory_plan() const { return memory_; }
  const Receipt& receipt() const { return receipt_; }

 protected:
  const PlanValue& value_of(int id) const { return plan_.values[static_cast<std::size_t>(id)]; }
  const Storage& storage_of(int id) const { return plan_.storages[static_cast<std::size_t>(value_of(id).storage)]; }
  /// The step behind which a value is there: the first, for what is there before it.
  std::size_t ready_behind(int id) const { return static_cast<std::size_t>(std::max(0, value_of(id).producer)); }
  /// What a tap is kept as.
  const TensorSpec& spec_of(const TapTarget& target) const;
  /// Where a value lies now.
  TensorView view(int id) const {
    const Storage& storage = storage_of(id);
    if (storage.where == Storage::Where::port) return plan_.view(id, memory_of_ports_.bound.at(storage.owner));
    if (storage.where == Storage::Where::constant) return plan_.view(id, constants_.at(storage.owner));
    return plan_.view(id, arena_data() + memory_.of_value(id)->offset);
  }
  virtual std::byte* arena_data() const = 0;
  /// What the receipt says of the views.
  void list_views();

  Plan plan_;
  CompileOptions options_;
  MemoryPlan memory_;
  PortMemory memory_of_ports_;
  std::map<int, void*> constants_;  ///< where each lies, by value
  Receipt receipt_;
  HostTensor staging_;
  std::optional<WarningScope> ending_;  ///< opened by a destructor whose members may warn when they go
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual bool is_cuda() const = 0;
  virtual bool is_reference() const { return false; }
  virtual std::string name() const = 0;
  /// Bytes of device memory in use by all programs; 0 on the CPU.
  virtual std::int64_t used_memory() const { return 0; }
  /// An empty arena to be shared; executors made with nullptr have one of their own.
  virtual std::shared_ptr<Arena> make_arena() const = 0;
  /// Takes about a second on a GPU; nothing is measured on the CPU.
  virtual DeviceRates measure_rates(DType dtype, bool allow_tf32) const = 0;
  virtual std::unique_ptr<Executor> make_executor(Plan plan, const CompileOptions& options, std::shared_ptr<Arena> arena) const = 0;
};

std::shared_ptr<const Backend> cpu_backend();
std::shared_ptr<const Backend> reference_backend();
/// Defined in graph/cuda, or in no_cuda.cpp, where it throws CudaError.
std::shared_ptr<const Backend> cuda_backend(int index);
int cuda_device_count();

/// Whether a value of a placed plan lies in the memory of an input, an output or a constant, which nothing else uses.
bool is_kept(const Plan& plan, int value);

}  // namespace frieze
