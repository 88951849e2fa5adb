#include <frieze/graph/cuda/repeat.h>

#include <algorithm>
#include <map>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/stream_capture.h>
#include <frieze/graph/cuda/constants.h>
#include <frieze/graph/cuda/loop.h>
#include <frieze/graph/cuda/reformat.h>
#include <frieze/graph/cuda/strided_copy.h>
#include <frieze/graph/memory_plan.h>
#include <frieze/graph/reformat.h>

namespace frieze::cuda {
namespace {

constexpr int kWhileNodes = 12040;  // the driver that has them

std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

class RepeatKernel final : public LoopKernel {
 public:
  RepeatKernel(const Repeat& loop, const PrepareArgs& args)
      : body_(place(loop.body())),
        iterations_(loop.iterations()),
        carried_(loop.carried()),
        given_(loop.given()),
        storages_(body_.storages.size(), 0) {
    preload_loop();
    preload_strided_copy();
    constants_ = upload_constants(body_, constants_at_, constant_bytes_);
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
      const std::vector<TensorView> in_views = seen_by(step, body_, step.inputs), out_views = seen_by(step, body_, step.outputs);
      one.in_views = in_views;
      one.out_views = out_views;
      kernels_.push_back(prepare_step(step, one));
      workspaces.push_back(static_cast<std::int64_t>(kernels_.back()->workspace_bytes()));
    }
    memory_ = plan_memory(body_, workspaces, args.keep_values);
    for (const Placement& placed : memory_.placements) {
      if (placed.value >= 0) storages_[storage(placed.value)] = placed.offset;
    }
    std::int64_t end = memory_.arena_bytes;
    for (std::size_t i = 0; i < storages_.size(); ++i) {
      if (body_.storages[i].where != Storage::Where::port) continue;
      storages_[i] = end;
      end += aligned(body_.storages[i].bytes);
    }
    counter_ = end;
    bytes_ = end + 256;
    for (const HostTensor& table : loop.tables()) tables_.push_back(to_device(table.data(), table.bytes()));
    builds_nodes_ = std::all_of(kernels_.begin(), kernels_.end(), [](const auto& kernel) { return kernel->builds_nodes(); });
    has_node_ = builds_nodes_ && iterations_ > 1 && args.device->driver_version >= kWhileNodes;
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override { launch_tapped(args, {}, stream); }
  void launch_tapped(const LaunchArgs& args, std::span<const BodyTap> taps, cudaStream_t stream) const override {
    const Views views = views_in(args);
    for (std::size_t i = 0; i < carried_; ++i) copy_value(next(views, i).data, args.in[i], stream);
    reset_counter(views.counter, stream);
    if (!add_loop(views, taps, stream)) {
      for (int i = 0; i < iterations_; ++i) {
        iterate(views, taps, stream, [&](const BodyTap& tap, const TensorView& from) {
          if (tap.iteration == i) launch_strided_copy(from, tap.to, stream);
        });
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
    return bytes + static_cast<std::size_t>(constant_bytes_);
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

  std::size_t storage(int value) const { return static_cast<std::size_t>(body_.values[static_cast<std::size_t>(value)].storage); }

  Views views_in(const LaunchArgs& args) const {
    auto* const base = static_cast<std::byte*>(args.workspace);
    std::vector<void*> storages;
    for (const std::int64_t offset : storages_) storages.push_back(base + offset);
    for (const auto& [value, at] : constants_at_) storages[storage(value)] = at;
    // What is the same in every iteration is read where it lies.
    for (std::size_t i = carried_; i < carried_ + given_; ++i) storages[storage(body_.inputs[i].value)] = args.in[i].data;
    Views views;
    for (int id = 0; id < static_cast<int>(body_.values.size()); ++id) views.values.push_back(body_.view(id, storages[storage(id)]));
    const auto at = [&](int id) { return views.values[static_cast<std::size_t>(id)]; };
    for (std::size_t i = 0; i < body_.steps.size(); ++i) {
      const Step& step = body_.steps[i];
      views.in.push_back(seen_by(step, body_, step.inputs, at));
      views.out.push_back(seen_by(step, body_, step.outputs, at));
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
  template <class Copy>
  void iterate(const Views& views, std::span<const BodyTap> taps, cudaStream_t stream, const Copy& copy_tap) const {
    for (std::size_t i = 0; i < carried_; ++i) copy_value(input(views, i).data, next(views, i), stream);
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      const TensorView& row = input(views, carried_ + given_ + t);
      copy_row(views.counter, iterations_, tables_[t].data(), row.data, TensorSpec{row.shape, row.dtype}.bytes(), stream);
    }
    for (std::size_t i = 0; i < std::max<std::size_t>(kernels_.size(), 1); ++i) {
      if (i < kernels_.size()) kernels_[i]->launch({views.in[i], views.out[i], views.workspaces[i]}, stream);
      for (const BodyTap& tap : taps) {  // a value that no step makes is there before the first one
        const auto id = static_cast<std::size_t>(tap.value);
        if (static_cast<std::size_t>(std::max(0, body_.values[id].producer)) == i) copy_tap(tap, views.values[id]);
      }
    }
  }

  // False where no graph is made, or the loop cannot be one of its nodes.
  bool add_loop(const Views& views, std::span<const BodyTap> taps, cudaStream_t stream) const {
    if (!has_node_) return false;
    if (GraphNodes* const nodes = recorded_nodes()) {
      add_loop_to(*nodes, views, taps, stream);
      return true;
    }
    const StreamCapture capture = stream_capture(stream);
    if (!capture.active()) return false;
    GraphNodes nodes(capture.graph, {capture.after.begin(), capture.after.end()});
    add_loop_to(nodes, views, taps, stream);
    set_capture_dependencies(stream, nodes.after());
    return true;
  }
  void add_loop_to(GraphNodes& nodes, const Views& views, std::span<const BodyTap> taps, cudaStream_t stream) const {
    const GraphNodes::Loop loop = nodes.add_loop();
    GraphNodes body(loop.body);
    const RecordNodes inside(body);
    iterate(views, taps, stream, [&](const BodyTap& tap, const TensorView& from) {
      launch_strided_copy_in(views.counter, tap.iteration, from, tap.to, stream);
    });
    advance_counter(views.counter, iterations_, loop.condition, stream);
  }

  Plan body_;
  int iterations_;
  std::size_t carried_, given_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  MemoryPlan memory_;
  std::vector<std::int64_t> storages_;  // offsets of the body's storages in the workspace
  std::int64_t counter_ = 0, bytes_ = 0, constant_bytes_ = 0;
  std::map<int, DeviceBuffer> constants_;
  std::map<int, void*> constants_at_;
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

std::vector<TensorView> seen_by(const Step& step, const Plan& plan, const std::vector<int>& values,
                                const std::function<TensorView(int)>& view) {
  std::vector<TensorView> seen;
  for (const int id : values) {
    TensorView v = view(id);
    if (const TensorSpec spec = seen_by(step, plan.spec(id)); v.is_contiguous(spec.format)) v = TensorView(v.data, spec);
    seen.push_back(v);
  }
  return seen;
}

std::vector<TensorView> seen_by(const Step& step, const Plan& plan, const std::vector<int>& values) {
  return seen_by(step, plan, values, [&](int id) {
    TensorView v = plan.view(id, nullptr);
    v.data = nullptr;
    return v;
  });
}

}  // namespace frieze::cuda
