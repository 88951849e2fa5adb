#include <frieze/graph/cuda/repeat.h>

#include <algorithm>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/cuda/loop.h>
#include <frieze/graph/cuda/reformat.h>
#include <frieze/graph/memory_plan.h>
#include <frieze/graph/reformat.h>

namespace frieze::cuda {
namespace {

constexpr int kWhileNodes = 12040;  // the driver that has them

std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

// A stream that is being captured: its graph, and what the next call would depend on.
struct OpenCapture {
  cudaGraph_t graph = nullptr;
  std::vector<cudaGraphNode_t> after;

  explicit OpenCapture(cudaStream_t stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    const cudaGraphNode_t* nodes = nullptr;
    const cudaGraphEdgeData* edges = nullptr;
    std::size_t count = 0;
#if CUDART_VERSION >= 13000
    CUDA_CHECK(cudaStreamGetCaptureInfo(stream, &status, nullptr, &graph, &nodes, &edges, &count));
#else
    CUDA_CHECK(cudaStreamGetCaptureInfo_v3(stream, &status, nullptr, &graph, &nodes, &edges, &count));
#endif
    if (status != cudaStreamCaptureStatusActive) graph = nullptr;
    if (graph != nullptr && nodes != nullptr) after.assign(nodes, nodes + count);
  }
  static void go_on_after(cudaStream_t stream, std::span<const cudaGraphNode_t> nodes) {
    std::vector<cudaGraphNode_t> all(nodes.begin(), nodes.end());
#if CUDART_VERSION >= 13000
    CUDA_CHECK(cudaStreamUpdateCaptureDependencies(stream, all.data(), nullptr, all.size(), cudaStreamSetCaptureDependencies));
#else
    CUDA_CHECK(cudaStreamUpdateCaptureDependencies(stream, all.data(), all.size(), cudaStreamSetCaptureDependencies));
#endif
  }
};

class RepeatKernel final : public LoopKernel {
 public:
  RepeatKernel(const Repeat& loop, const PrepareArgs& args)
      : body_(loop.body()),
        iterations_(loop.iterations()),
        carried_(loop.carried()),
        given_(loop.given()),
        ports_(body_.values.size(), -1) {
    preload_loop();
    std::vector<std::int64_t> workspaces;
    for (const Step& step : body_.steps) {
      std::vector<TensorSpec> in, out;
      for (const int id : step.inputs) in.push_back(seen_by(step, body_.spec(id)));
      for (const int id : step.outputs) out.push_back(seen_by(step, body_.spec(id)));
      const std::vector<EpilogueOp> ops = step.ops();
      PrepareArgs one = args;
      one.in = in;
      one.out = out;
      one.epilogue = ops;
      one.in_views = one.out_views = {};
      kernels_.push_back(prepare_step(step, one));
      workspaces.push_back(static_cast<std::int64_t>(kernels_.back()->workspace_bytes()));
    }
    memory_ = plan_memory(body_, workspaces, args.keep_values);
    std::int64_t end = memory_.arena_bytes;
    for (const auto* ports : {&body_.inputs, &body_.outputs}) {
      for (const PlanPort& port : *ports) {
        std::int64_t& at = ports_[static_cast<std::size_t>(port.value)];
        if (at >= 0) continue;
        at = end;
        end += aligned(body_.spec(port.value).bytes());
      }
    }
    counter_ = end;
    bytes_ = end + 256;
    for (const HostTensor& table : loop.tables()) tables_.push_back(to_device(table.data(), table.bytes()));
    builds_nodes_ = std::all_of(kernels_.begin(), kernels_.end(), [](const auto& kernel) { return kernel->builds_nodes(); });
    has_node_ = builds_nodes_ && iterations_ > 1 && args.device->driver_version >= kWhileNodes;
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const Views views = views_in(args);
    for (std::size_t i = 0; i < carried_; ++i) copy_value(next(views, i).data, args.in[i], stream);
    reset_counter(views.counter, stream);
    if (!add_loop(views, stream)) {
      for (int i = 0; i < iterations_; ++i) {
        iterate(views, stream);
        advance_counter(views.counter, stream);
      }
    }
    for (std::size_t i = 0; i < carried_; ++i) copy_value(args.out[i].data, next(views, i), stream);
  }
  TensorView body_value(const LaunchArgs& args, int value) const override { return views_in(args).values[static_cast<std::size_t>(value)]; }

  std::size_t workspace_bytes() const override { return static_cast<std::size_t>(bytes_); }
  std::size_t weight_bytes() const override {
    std::size_t bytes = 0;
    for (const auto& kernel : kernels_) bytes += kernel->weight_bytes();
    for (const DeviceBuffer& table : tables_) bytes += table.bytes();
    return bytes;
  }
  std::string describe() const override {
    const std::string times = concat_text(iterations_, iterations_ == 1 ? " iteration" : " iterations", " of ", kernels_.size(),
                                          kernels_.size() == 1 ? " step" : " steps");
    return has_node_ ? "WHILE node, " + times : "unrolled, " + times;
  }
  bool rebindable() const override { return false; }
  bool builds_nodes() const override { return builds_nodes_; }

 private:
  struct Views {
    std::vector<TensorView> values;
    std::vector<std::vector<TensorView>> in, out;  // of each step
    std::vector<void*> workspaces;
    std::int32_t* counter;
  };

  Views views_in(const LaunchArgs& args) const {
    auto* const base = static_cast<std::byte*>(args.workspace);
    Views views;
    for (std::size_t id = 0; id < body_.values.size(); ++id) {
      const TensorSpec& spec = body_.values[id].spec;
      const Placement* placed = memory_.of_value(static_cast<int>(id));
      const std::int64_t at = ports_[id] >= 0 ? ports_[id] : placed != nullptr ? placed->offset : 0;
      views.values.emplace_back(base + at, spec);
    }
    // What is the same in every iteration is read where it lies.
    for (std::size_t i = carried_; i < carried_ + given_; ++i) {
      views.values[static_cast<std::size_t>(body_.inputs[i].value)].data = args.in[i].data;
    }
    for (std::size_t i = 0; i < body_.steps.size(); ++i) {
      const Step& step = body_.steps[i];
      const auto seen = [&](const std::vector<int>& ids) {
        std::vector<TensorView> all;
        for (const int id : ids) all.emplace_back(views.values[static_cast<std::size_t>(id)].data, seen_by(step, body_.spec(id)));
        return all;
      };
      views.in.push_back(seen(step.inputs));
      views.out.push_back(seen(step.outputs));
      const Placement* placed = memory_.workspace_of(static_cast<int>(i));
      views.workspaces.push_back(placed != nullptr ? base + placed->offset : nullptr);
    }
    views.counter = reinterpret_cast<std::int32_t*>(base + counter_);
    return views;
  }

  const TensorView& input(const Views& views, std::size_t i) const { return views.values[static_cast<std::size_t>(body_.inputs[i].value)]; }

  const TensorView& next(const Views& views, std::size_t i) const { return views.values[static_cast<std::size_t>(body_.outputs[i].value)]; }

  static void copy_value(void* to, const TensorView& from, cudaStream_t stream) {
    enqueue_copy(to, from.data, static_cast<std::size_t>(TensorSpec{from.shape, from.dtype}.bytes()), stream);
  }

  // What the iteration is given stays in its place until the next one begins, so that it can be read after the last.
  void iterate(const Views& views, cudaStream_t stream) const {
    for (std::size_t i = 0; i < carried_; ++i) copy_value(input(views, i).data, next(views, i), stream);
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      const TensorView& row = input(views, carried_ + given_ + t);
      copy_row(views.counter, iterations_, tables_[t].data(), row.data, TensorSpec{row.shape, row.dtype}.bytes(), stream);
    }
    for (std::size_t i = 0; i < kernels_.size(); ++i) kernels_[i]->launch({views.in[i], views.out[i], views.workspaces[i]}, stream);
  }

  // False where no graph is made, or the loop cannot be one of its nodes.
  bool add_loop(const Views& views, cudaStream_t stream) const {
    if (!has_node_) return false;
    if (GraphNodes* const nodes = recorded_nodes()) {
      add_loop_to(*nodes, views, stream);
      return true;
    }
    const OpenCapture capture(stream);
    if (capture.graph == nullptr) return false;
    GraphNodes nodes(capture.graph, capture.after);
    add_loop_to(nodes, views, stream);
    OpenCapture::go_on_after(stream, nodes.after());
    return true;
  }
  void add_loop_to(GraphNodes& nodes, const Views& views, cudaStream_t stream) const {
    const GraphNodes::Loop loop = nodes.add_loop();
    GraphNodes body(loop.body);
    const RecordNodes inside(body);
    iterate(views, stream);
    advance_counter(views.counter, iterations_, loop.condition, stream);
  }

  Plan body_;
  int iterations_;
  std::size_t carried_, given_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  MemoryPlan memory_;
  std::vector<std::int64_t> ports_;  // offsets of the body's ports in the workspace, by value; -1: none
  std::int64_t counter_ = 0, bytes_ = 0;
  std::vector<DeviceBuffer> tables_;
  bool builds_nodes_ = false, has_node_ = false;
};

}  // namespace

std::unique_ptr<LoopKernel> make_repeat_kernel(const Repeat& loop, const PrepareArgs& args) {
  return std::make_unique<RepeatKernel>(loop, args);
}

std::unique_ptr<Kernel> prepare_step(const Step& step, const PrepareArgs& args) {
  if (const Repeat* const loop = loop_of(step)) return make_repeat_kernel(*loop, args);
  try {
    if (dynamic_cast<const Reformat*>(step.layer.get()) != nullptr) {
      if (args.in_views.empty()) return make_reformat_kernel(args.in[0], args.out[0]);
      return make_reformat_kernel(args.in[0], args.out[0], args.in_views[0], args.out_views[0]);
    }
    return kernel_registry().prepare(*step.layer, args);
  } catch (const CudaError& e) {
    throw CudaError(step.path + ": " + e.what(), e.code());
  } catch (const CaptureError& e) {  // while it was tuned
    throw CaptureError(step.path + ": " + e.what());
  }
}

TensorSpec seen_by(const Step& step, TensorSpec spec) {
  if (dynamic_cast<const Reformat*>(step.layer.get()) == nullptr) spec.format = step.format;
  return spec;
}

}  // namespace frieze::cuda
