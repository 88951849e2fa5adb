#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "support/parity.h"
#include "support/parity_record.h"

#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/graph/reference_step.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/elementwise/elementwise.h>
#endif

namespace frieze::test {

#if FRIEZE_WITH_CUDA
namespace {

// Around and between the elements of a tensor: 0x7FFF, a NaN in every type, so that a read past the edge shows as well as a
// write. The poison of outputs and workspaces is another NaN.
constexpr std::uint16_t kGuard = 0x7FFF;
constexpr int kPoison = 0xFF;
constexpr std::size_t kGuardBytes = 512;

Strides padded_strides(const Shape& shape, Format format) {
  std::vector<int> axes;  // fastest first
  if (shape.rank() == 4 && format == Format::nhwc) {
    axes = {1, 3, 2, 0};
  } else {
    for (int axis = shape.rank() - 1; axis >= 0; --axis) axes.push_back(axis);
  }
  Strides strides{};
  std::int64_t step = 1, pad = 3;
  for (const int axis : axes) {
    strides[static_cast<std::size_t>(axis)] = step;
    step = step * shape[axis] + pad;
    pad += 2;
  }
  return strides;
}

// A tensor on the device between guards, and what its memory held before the launch.
class FencedTensor {
 public:
  FencedTensor(const TensorSpec& spec, const ParityCase& c)
      : offset_(kGuardBytes + static_cast<std::size_t>(c.misalign) * size_of(spec.dtype)) {
    view_ = TensorView(nullptr, spec.shape, spec.dtype,
                       c.padded_strides ? padded_strides(spec.shape, spec.format) : contiguous_strides(spec.shape, spec.format));
    std::int64_t last = 0;
    for (int axis = 0; axis < spec.shape.rank(); ++axis) last += (spec.shape[axis] - 1) * view_.stride(axis);
    const std::size_t bytes = offset_ + (static_cast<std::size_t>(last) + 1) * size_of(spec.dtype) + kGuardBytes;
    image_.resize((bytes + 1) / 2, kGuard);
    memory_ = cuda::DeviceBuffer(image_.size() * 2);
    view_.data = static_cast<char*>(memory_.data()) + offset_;
  }

  const TensorView& view() const { return view_; }

  void fill(std::span<const float> values) {
    from_floats(values, host_view(image_));
    upload();
  }
  void poison() {
    each_element(image_, [](char* element, std::size_t size) { std::memset(element, kPoison, size); });
    upload();
  }
  void upload() { memory_.upload(image_.data(), image_.size() * 2); }

  // Downloads; true if nothing changed outside the elements, nor in them when `elements_too`.
  bool intact(bool elements_too) {
    now_.resize(image_.size());
    memory_.download(now_.data(), now_.size() * 2);
    if (elements_too) return now_ == image_;
    std::vector<std::uint16_t> masked = now_;
    const auto original = [&](char* element, std::size_t size) {
      const std::ptrdiff_t at = element - reinterpret_cast<char*>(masked.data());
      std::memcpy(element, reinterpret_cast<const char*>(image_.data()) + at, size);
    };
    each_element(masked, original);
    return masked == image_;
  }
  // Of the last intact().
  std::vector<float> values() { return to_floats(host_view(now_)); }
  const std::vector<std::uint16_t>& bits() const { return now_; }

 private:
  TensorView host_view(std::vector<std::uint16_t>& image) const {
    return TensorView(reinterpret_cast<char*>(image.data()) + offset_, view_.shape, view_.dtype, view_.strides);
  }
  template <class Visit>
  void each_element(std::vector<std::uint16_t>& image, Visit&& visit) const {
    char* base = reinterpret_cast<char*>(image.data()) + offset_;
    const std::size_t size = size_of(view_.dtype);
    std::array<std::int64_t, Shape::kMaxRank> at{};
    for (std::int64_t i = 0; i < view_.shape.elements(); ++i) {
      std::int64_t offset = 0;
      for (int axis = 0; axis < view_.shape.rank(); ++axis) offset += at[static_cast<std::size_t>(axis)] * view_.stride(axis);
      visit(base + static_cast<std::size_t>(offset) * size, size);
      for (int axis = view_.shape.rank() - 1; axis >= 0; --axis) {
        if (++at[static_cast<std::size_t>(axis)] < view_.shape[axis]) break;
        at[static_cast<std::size_t>(axis)] = 0;
      }
    }
  }

  TensorView view_;
  std::size_t offset_;
  std::vector<std::uint16_t> image_, now_;
  cuda::DeviceBuffer memory_;
};

// Scratch of the kernel, poisoned, between guards.
class FencedWorkspace {
 public:
  explicit FencedWorkspace(std::size_t bytes) : bytes_(bytes), memory_(bytes == 0 ? 0 : bytes + 2 * kGuardBytes) { poison(); }
  void* data() const { return bytes_ == 0 ? nullptr : static_cast<char*>(memory_.data()) + kGuardBytes; }
  void poison() {
    if (bytes_ == 0) return;
    CUDA_CHECK(cudaMemset(memory_.data(), 0x7F, memory_.bytes()));
    CUDA_CHECK(cudaMemset(data(), kPoison, bytes_));
    CUDA_CHECK(cudaDeviceSynchronize());
  }
  bool intact() const {
    if (bytes_ == 0) return true;
    std::vector<unsigned char> guard(kGuardBytes);
    for (const std::size_t offset : {std::size_t{0}, kGuardBytes + bytes_}) {
      CUDA_CHECK(cudaMemcpy(guard.data(), static_cast<char*>(memory_.data()) + offset, kGuardBytes, cudaMemcpyDeviceToHost));
      if (std::any_of(guard.begin(), guard.end(), [](unsigned char b) { return b != 0x7F; })) return false;
    }
    return true;
  }

 private:
  std::size_t bytes_;
  cuda::DeviceBuffer memory_;
};

std::vector<float> input_values(const TensorSpec& spec, const ParityCase& c, Fill fill, std::uint64_t seed) {
  const std::size_t count = static_cast<std::size_t>(spec.shape.elements());
  if (spec.shape.rank() < 2) return random_values(count, seed, fill, spec.dtype, static_cast<std::int64_t>(count));
  const std::size_t images = static_cast<std::size_t>(spec.shape[0]);
  std::vector<float> values;
  values.reserve(count);
  for (std::size_t n = 0; n < images; ++n) {
    const std::vector<float> image = random_values(count / images, seed * 1009 + n, fill, c.dtype, spec.shape[1]);
    values.insert(values.end(), image.begin(), image.end());
  }
  return values;
}

// What the CPU says of a case, and how far the kernel may be from it.
struct Truth {
  std::vector<float> values;
  ErrorBudget budget;
  double scale = 0;
};

FusedOp fused(const EpilogueOp& op) {
  switch (op.kind) {
    case EpilogueOp::Kind::add: return {op, std::make_shared<Add>(), "add"};
    case EpilogueOp::Kind::mul: return {op, std::make_shared<Mul>(), "mul"};
    default: return {op, std::make_shared<ActivationLayer>(op.activation), "activation"};
  }
}

// The case as one step of a plan, so that its reference and its budget are those of verify.
Truth truth(const Layer& layer, const ParityCase& c, const TensorSpec& out, const std::vector<HostTensor>& inputs) {
  Plan plan;
  Step step;
  step.layer = std::shared_ptr<const Layer>(std::shared_ptr<const Layer>(), &layer);
  step.path = layer.type_name();
  std::vector<TensorView> views;
  for (const HostTensor& input : inputs) {
    step.inputs.push_back(static_cast<int>(plan.values.size()));
    plan.values.push_back({input.spec(), "input", -1});
    views.push_back(input.view());
  }
  step.output = static_cast<int>(plan.values.size());
  plan.values.push_back({out, "output", 0});
  for (const EpilogueOp& op : c.epilogue) step.epilogue.push_back(fused(op));
  const HostTensor y({out.shape, DType::f32, Format::nchw});
  const double scale = reference_step(step, views, y.view(), c.dtype);
  return {y.floats(), step_budget(plan, step), scale};
}

bool only_plain_nodes(cudaGraph_t graph) {
  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &count));
  std::vector<cudaGraphNode_t> nodes(count);
  CUDA_CHECK(cudaGraphGetNodes(graph, nodes.data(), &count));
  return count > 0 && std::all_of(nodes.begin(), nodes.end(), [](cudaGraphNode_t node) {
           cudaGraphNodeType type{};
           CUDA_CHECK(cudaGraphNodeGetType(node, &type));
           return type == cudaGraphNodeTypeKernel || type == cudaGraphNodeTypeMemset || type == cudaGraphNodeTypeMemcpy;
         });
}

template <class Body>
cuda::Graph capture(cudaStream_t stream, Body&& body) {
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);
    const cuda::Graph drop(graph);
    (void)cudaGetLastError();
    throw;
  }
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  return cuda::Graph(graph);
}

// One case: its tensors on the device, and the launches over them.
class Bench {
 public:
  Bench(const Layer& layer, const ParityCase& c)
      : layer_(layer), case_(c), device_(cuda::device_info(current_device())), stream_(cuda::make_stream()) {
    if (const char* shift = std::getenv("FRIEZE_PARITY_SEED"); shift != nullptr) case_.seed += std::strtoull(shift, nullptr, 10);
    for (const Shape& shape : c.inputs) specs_.push_back({shape, c.dtype, c.format});
    out_ = layer.infer(specs_).out;
    out_.format = c.format;
    own_ = specs_;
    for (const EpilogueOp& op : c.epilogue) {
      if (op.kind != EpilogueOp::Kind::activation) specs_.push_back(out_);
    }
  }

  ParityReport run() {
    ParityReport report;
    const FormatRule rule = layer_.formats(own_);
    expect(case_.format == Format::nchw ? rule.nchw : rule.nhwc, "the layer does not take this format");
    expect(layer_.absorbs(own_, case_.epilogue) == case_.epilogue.size(), "the layer does not absorb this epilogue");
    expect(!case_.in_place || out_.shape == specs_[0].shape, "in place needs an output of the input's shape");
    if (!passed_) return finish(report);

    cuda::PrepareArgs prepare{specs_, out_, case_.epilogue, &device_, stream_.get()};
    prepare.tune = case_.tune;
    const std::unique_ptr<cuda::Kernel> kernel = cuda::kernel_registry().prepare(layer_, prepare);
    report.describe = kernel->describe();
    for (const TensorSpec& spec : specs_) tensors_.push_back(std::make_unique<FencedTensor>(spec, case_));
    if (!case_.in_place) own_output_ = std::make_unique<FencedTensor>(out_, case_);
    workspace_ = std::make_unique<FencedWorkspace>(kernel->workspace_bytes());

    std::vector<TensorView> views;
    for (const auto& tensor : tensors_) views.push_back(tensor->view());
    const cuda::LaunchArgs args{views, output().view(), workspace_->data()};
    const auto eager = [&] { kernel->launch(args, stream_.get()); };

    const std::vector<HostTensor> inputs = fill_inputs(case_.fill, case_.seed);
    const auto first = observe("the first launch", eager);
    const Truth expected = truth(layer_, case_, out_, inputs);
    const std::string line = report.describe;
    report = to_report(difference(output().values(), expected.values, out_.dtype, expected.budget, expected.scale));
    report.describe = line;
    expect(report.share <= 1, concat_text("error is ", report.share, " of the budget (", expected.budget.roundings, " roundings, ",
                                          expected.budget.terms, " terms), max abs ", report.max_abs, ", max ulp ", report.max_ulp,
                                          ", NMSE ", report.nmse, ", worst at ", report.worst_index));
    expect(observe("the second launch", eager) == first, "a second launch gave other bits");

    const cuda::Graph graph = capture(stream_.get(), eager);
    expect(only_plain_nodes(graph.get()), "the captured launch is empty or holds other nodes than kernel, memset and memcpy");
    cudaGraphExec_t raw = nullptr;
    CUDA_CHECK(cudaGraphInstantiate(&raw, graph.get(), 0));
    const cuda::GraphExec exec(raw);
    const auto replay = [&] { CUDA_CHECK(cudaGraphLaunch(exec.get(), stream_.get())); };
    expect(observe("the replay", replay) == first, "the replay gave other bits than the eager launch");

    fill_inputs(Fill::normal, case_.seed + 7919);
    const auto changed = observe("the replay with changed inputs", replay);
    expect(observe("the launch with changed inputs", eager) == changed, "with changed inputs, replay and eager launch differ");
    fill_inputs(case_.fill, case_.seed);
    expect(observe("the replay with the first inputs again", replay) == first, "the replay differs once other inputs were there");
    return finish(report);
  }

 private:
  static int current_device() {
    int index = 0;
    CUDA_CHECK(cudaGetDevice(&index));
    return index;
  }

  FencedTensor& output() { return case_.in_place ? *tensors_[0] : *own_output_; }

  void expect(bool ok, const std::string& what) {
    if (ok) return;
    passed_ = false;
    ADD_FAILURE() << layer_.type_name() << ' ' << layer_.describe() << " on " << describe(case_) << ": " << what;
  }

  std::vector<HostTensor> fill_inputs(Fill fill, std::uint64_t seed) {
    std::vector<HostTensor> host;
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      const std::vector<float> values = input_values(specs_[i], case_, fill, seed + 31 * i);
      host.emplace_back(TensorSpec{specs_[i].shape, specs_[i].dtype, Format::nchw}, values);
      tensors_[i]->fill(values);
    }
    return host;
  }

  // Poisons, enqueues, waits, checks every fence and the inputs; gives the output's memory as it is then.
  template <class Enqueue>
  std::vector<std::uint16_t> observe(const char* what, Enqueue&& enqueue) {
    if (case_.in_place) {
      output().upload();
    } else {
      output().poison();
    }
    workspace_->poison();
    enqueue();
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    expect(output().intact(false), concat_text(what, " wrote outside its output"));
    expect(workspace_->intact(), concat_text(what, " wrote outside its workspace"));
    for (std::size_t i = case_.in_place ? 1 : 0; i < tensors_.size(); ++i) {
      expect(tensors_[i]->intact(true), concat_text(what, " changed input ", i));
    }
    return output().bits();
  }

  ParityReport finish(const ParityReport& report) {
    record_parity(layer_.type_name(), case_.dtype, device_.name, case_, report, passed_);
    return report;
  }

  const Layer& layer_;
  ParityCase case_;
  cuda::DeviceInfo device_;
  cuda::Stream stream_;
  std::vector<TensorSpec> specs_, own_;
  TensorSpec out_;
  std::vector<std::unique_ptr<FencedTensor>> tensors_;
  std::unique_ptr<FencedTensor> own_output_;
  std::unique_ptr<FencedWorkspace> workspace_;
  bool passed_ = true;
};

}  // namespace

bool has_gpu() {
  static const bool found = [] {
    int count = 0;
    const bool ok = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
    (void)cudaGetLastError();
    return ok;
  }();
  return found;
}

ParityReport expect_parity(const Layer& layer, const ParityCase& c) {
  try {
    return Bench(layer, c).run();
  } catch (const std::exception& e) {
    ADD_FAILURE() << layer.type_name() << ' ' << layer.describe() << " on " << describe(c) << ": " << e.what();
    record_parity(layer.type_name(), c.dtype, "", c, {}, false);
    return {};
  }
}

#else  // without CUDA

bool has_gpu() { return false; }

ParityReport expect_parity(const Layer& layer, const ParityCase& c) {
  ADD_FAILURE() << layer.type_name() << " on " << describe(c) << ": this build has no CUDA";
  return {};
}

#endif

}  // namespace frieze::test
