#pragma once
/// Session: a compiled model. With the headers of models and layers, all that a user includes: weights and errors come along.
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <frieze/core/error.h>
#include <frieze/core/load.h>
#include <frieze/core/module_list.h>
#include <frieze/graph/options.h>
#include <frieze/graph/plan.h>
#include <frieze/graph/port.h>
#include <frieze/graph/receipt.h>

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace frieze FRIEZE_API {

class Executor;

/// One model, one set of input shapes, one device. A copy is another handle of the same session: copies share ports, taps and memory, which
/// go with the last of them. Not thread-safe: one thread at a time. Every member of a session that was moved from throws OptionError.
/// It shares the layers and the values of their parameters as they were when the model was traced. The model may die before it, temporaries
/// included, and what is loaded or written into the model later does not reach it: compile again for that. Only a layer of the
/// program's own without Layer::shared_copy() must live as long; after its death every member throws OptionError.
class Session {
 public:
  Session(const Session&);
  Session& operator=(const Session&);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// One replay, then wait: on CUDA one cudaGraphLaunch on a stream of its own, which waits for no other: have bound memory ready before.
  void run();
  /// One replay on the caller's stream; never synchronises, never allocates. CPU sessions run at once and ignore `stream`.
  /// Any stream of the session's device will do, default streams too (nullptr: the legacy one), and another one each time: each run comes
  /// after the one before, and reading or writing a port waits for it, even if the stream is gone by then. Throws OptionError for a stream
  /// of another device, CaptureError for one that is being captured: see record() (or that must wait for such a one, as the legacy stream
  /// must for every blocking stream).
  void launch(cudaStream_t stream);
  /// Enqueues the steps into the caller's own capture of `stream`, for a program that builds a larger graph: behind what the stream holds,
  /// before what comes next, bit for bit what run() computes. Runs nothing, never synchronises, never allocates. Neither ends nor restarts
  /// the capture: an error in the middle of it (CaptureError naming the step) leaves its end to the caller.
  /// The graph holds the addresses of now: of ports as they are bound, of the session's memory and its weights. The session (a copy of it,
  /// or a Port) must live as long as the graph can run, and so must bound memory. A later bind() reaches run() and launch(), not a graph
  /// that was recorded before. The session does not see the graph's replays: the caller keeps them apart from each other, from the
  /// session's own runs, and from what reads or writes its ports, on one stream, by events, or by waiting. Recordings of one session in one
  /// capture wait for each other. Taps observe runs and launches; a recording has none. Throws CaptureError if `stream` is not being
  /// captured; OptionError if it is another device's, if the session is an Engine's (those share memory, which the graph could overwrite
  /// while another session runs: compile() one of its own) or on the CPU.
  void record(cudaStream_t stream);
  /// The same steps, enqueued one by one without the graph, then wait. Bit for bit equal to run().
  void run_eager();

  Port input(std::string_view name) const;
  Port output(std::string_view name) const;
  /// The only input or output. Throws OptionError if there are several.
  Port input() const;
  Port output() const;
  /// Makes an input or output port use the caller's memory (on the session's device or managed, contiguous in the port's format,
  /// 16-byte aligned, alive until rebound and no longer used) from the next launch on; nullptr gives the session's own buffer back.
  /// An output shares no byte with another port; two inputs may share memory, which is only read. Patches the graph in place: no
  /// re-capture. Throws OptionError for anything else: on CUDA the driver is asked for what lies at `data`, and host memory (pinned too),
  /// memory of another device and an allocation that ends too early are refused. Then everything is as it was.
  void bind(std::string_view name, void* data);

  const Plan& plan() const;
  const MemoryPlan& memory_plan() const;
  const Receipt& receipt() const;
  const CompileOptions& options() const;
  Device device() const;

  /// A value after a run; only for ports, or for sessions compiled with keep_values. Throws OptionError.
  HostTensor value(int plan_value) const;
  /// Observes what steps make: from the next run or launch on, every value that `pattern` means is copied into memory of its
  /// own behind its producer. No kernel, launch parameter or address of the model changes: on CUDA the taps are copy nodes of a
  /// sibling graph, captured now, and without taps the production graph runs, which has none. `pattern` is a module path or a
  /// name out of tapped_names(), with '*' and '?' as wildcards. The path of a container ("layer.0") means every step below it. Adds to the
  /// taps there are; returns the names of those it means. An operation that another step absorbed, or that a rewrite folded into it, has no
  /// value of its own: its path means what the whole step makes. A value of a loop's body is taken in the loop's last iteration; "conv1@7"
  /// means iteration 7, counted from 0, and "conv1@*" each; what a loop inside a loop makes cannot be tapped. Waits until the session is
  /// idle. Throws OptionError if nothing matches, or if what matches was replaced by a rewrite, naming the step that computes it now;
  /// CudaError, CaptureError. Then the taps are as before.
  std::vector<std::string> tap(std::string_view pattern = "*");
  /// Removes all taps, and their memory.
  void untap();
  std::vector<std::string> tapped_names() const;
  /// What the last run left in a tap, by its name or an exact module path; a container's path if one tapped step alone lies below it. In a
  /// loop, the last iteration unless the name ends with another, "conv1@7". NaN before the first run. Throws OptionError.
  HostTensor tapped(std::string_view name) const;
  /// Fills intermediate values, workspaces, taps and outputs with NaN bytes (0xFF), so that a stale result cannot pass for a new one.
  void poison();

  /// Throws OptionError if the session was moved from or evicted from its engine, or one of its layers died with its model.
  Executor& executor() const;

 private:
  friend Session compile(Plan, const Device&, const CompileOptions&);
  friend class Engine;
  Session(std::shared_ptr<Executor> executor, Device device);
  void leave_engine();
  std::shared_ptr<Executor> executor_;
  Device device_;
  struct Taps;
  std::shared_ptr<Taps> taps_;
  bool evicted_ = false;
};

/// Traces, optimises, plans memory; on CUDA also prepares (tunes, warms up), builds the graph and uploads it. Other threads, and this one,
/// may have captures open and use CUDA meanwhile. A model of the library's own kernels alone is built node by node, which no thread
/// disturbs. One that calls cuBLASLt or cuDNN, or has a kernel of the program's that does not derive from NodeKernel, is captured, and
/// cudaDeviceSynchronize on another thread would break that in every mode: such calls are kept waiting while a capture is open, as far as
/// that goes, and a capture that is broken even so is tried again for up to two seconds, after which CaptureError says so. Driver 580 may
/// crash in such a call (core/cuda/capture_gate.h): a program that makes them in a loop should not compile such a model meanwhile.
/// `model` may be a temporary.
/// Throws what trace() and Plan::check_runnable() throw: a parameter without values or a layer that was never add()ed is refused.
Session compile(const Module& model, const std::vector<InputSpec>& inputs, const Device& device, const CompileOptions& options = {});
/// The same from a plan that is already optimised.
Session compile(Plan plan, const Device& device, const CompileOptions& options = {});

/// Several shapes of one model. The key is exact (every name, shape, dtype, format); the least recently used session goes
/// when the cache is full, before the next one is captured. All sessions share one arena, sized by the largest, and, as
/// all sessions of a process do, the weights that they have in common; they are ordered among each other on the device,
/// whatever streams they are launched on. Not thread-safe. Every member of an engine that was moved from throws OptionError.
class Engine {
 public:
  /// `capacity` sessions at most, at least 1. The engine traces the model for each new shape, so it shares it…
  Engine(std::shared_ptr<const Module> model, Device device, CompileOptions options = {}, std::size_t capacity = 8);
  /// … or refers to it: once the model is gone, new shapes are refused with OptionError; the sessions that are there keep working.
  Engine(const Module& model, Device device, CompileOptions options = {}, std::size_t capacity = 8);
  Engine(const Module&&, Device, CompileOptions = {}, std::size_t = 8) = delete;  // a temporary would be gone before the first shape
  ~Engine();
  Engine(Engine&&) noexcept;

  /// The session for these inputs, which is compiled now if there is none. The reference is valid as long as the engine. After the
  /// session's eviction, `capacity` other shapes later, every member behind the reference throws OptionError, until the same inputs are
  /// asked for again. A copy (`Session net = engine.session(…)`) keeps the session, and its device memory, beyond eviction and engine.
  Session& session(const std::vector<InputSpec>& inputs);
  std::size_t size() const;
  std::size_t captures() const;  ///< how many sessions were compiled so far
  std::int64_t arena_bytes() const;

 private:
  struct State;
  static Session make(State& state, const Plan& plan);
  static void evict_last(State& state);
  State& state() const;
  std::unique_ptr<State> state_;
};

}  // namespace FRIEZE_API
