#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "support/kernel_watch.h"
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

// A tensor as the case places it, at no address yet.
TensorView view_of(const TensorSpec& spec, const ParityCase& c) {
  return TensorView(nullptr, spec.shape, spec.dtype,
                    c.padded_strides ? padded_strides(spec.shape, spec.format) : contiguous_strides(spec.shape, spec.format));
}

// From a multiple of 256 bytes to the tensor's last element.
std::size_t bytes_to_the_end(const TensorView& view, const ParityCase& c) {
  std::int64_t elements = c.misalign + 1;
  for (int axis = 0; axis < view.shape.rank(); ++axis) elements += (view.shape[axis] - 1) * view.stride(axis);
  return static_cast<std::size_t>(elements) * size_of(view.dtype);
}

std::size_t misaligned_bytes(const TensorView& view, const ParityCase& c) {
  return static_cast<std::size_t>(c.misalign) * size_of(view.dtype);
}

// A tensor on the device between guards, and what its memory held before the launch.
class FencedTensor {
 public:
  FencedTensor(const TensorSpec& spec, const ParityCase& c) : view_(view_of(spec, c)), offset_(kGuardBytes + misaligned_bytes(view_, c)) {
    const std::size_t bytes = kGuardBytes + bytes_to_the_end(view_, c) + kGuardBytes;
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
  step.outputs = {static_cast<int>(plan.values.size())};
  plan.values.push_back({out, "output", 0});
  for (const EpilogueOp& op : c.epilogue) step.epilogue.push_back(fused(op));
  const HostTensor y({out.shape, DType::f32, Format::nchw});
  const TensorView made = y.view();
  const double scale = reference_step(step, views, {&made, 1}, c.dtype);
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

ParityCase without_values(ParityCase c) {
  c.fill = Fill::normal;
  return c;
}

// One case: its tensors on the device, and the launches over them.
class Bench {
 public:
  Bench(const Layer& layer, const ParityCase& c) : layer_(layer), case_(c), device_(current_device()), stream_(cuda::make_stream()) {
    if (const char* shift = std::getenv("FRIEZE_PARITY_SEED"); shift != nullptr) case_.seed += std::strtoull(shift, nullptr, 10);
    for (const Shape& shape : c.inputs) specs_.push_back({shape, c.dtype, c.format});
    out_ = layer.infer(specs_).out[0];
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

    static std::map<std::string, std::string> lines;  // of cases under a tool, which differ in their values alone
    const std::string same_code = concat_text(layer_.type_name(), ' ', layer_.describe(), ' ', describe(without_values(case_)));
    if (each_kernel_once() && lines.contains(same_code)) {
      report.describe = lines.at(same_code);
      return report;
    }
    cuda::PrepareArgs prepare{specs_, {&out_, 1}, case_.epilogue, &device_, stream_.get()};
    prepare.tune = case_.tune;
    const std::unique_ptr<cuda::Kernel> kernel = cuda::kernel_registry().prepare(layer_, prepare);
    report.describe = kernel->describe();
    if (each_kernel_once()) {
      lines.emplace(same_code, report.describe);
      launch_once(*kernel);
      return report;
    }
    for (const TensorSpec& spec : specs_) tensors_.push_back(std::make_unique<FencedTensor>(spec, case_));
    if (!case_.in_place) own_output_ = std::make_unique<FencedTensor>(out_, case_);
    workspace_ = std::make_unique<FencedWorkspace>(kernel->workspace_bytes());

    std::vector<TensorView> views;
    for (const auto& tensor : tensors_) views.push_back(tensor->view());
    const TensorView made = output().view();
    const cuda::LaunchArgs args{views, {&made, 1}, workspace_->data()};
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

    const cuda::Graph graph = captured(stream_.get(), eager);
    note_launched(kernels_of(graph.get()));
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
  static const cuda::DeviceInfo& current_device() {
    static const cuda::DeviceInfo info = [] {
      int index = 0;
      CUDA_CHECK(cudaGetDevice(&index));
      return cuda::device_info(index);
    }();
    return info;
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

  // See support/kernel_watch.h.
  void launch_once(const cuda::Kernel& kernel) const {
    const std::vector<std::string> kernels = kernels_on_paper(kernel);
    if (!first_time(kernels, path_of(kernel))) return;
    std::vector<cuda::DeviceBuffer> memory;
    std::vector<TensorView> in;
    const auto place = [&](const TensorSpec& spec) {
      TensorView view = view_of(spec, case_);
      memory.emplace_back(bytes_to_the_end(view, case_));
      view.data = memory.back().as<char>() + misaligned_bytes(view, case_);
      return view;
    };
    for (const TensorSpec& spec : specs_) {
      in.push_back(place(spec));
      const std::vector<float> some = random_values(1021, case_.seed, case_.fill, spec.dtype, 1);
      std::vector<std::uint8_t> bytes(memory.back().bytes());
      const std::size_t size = size_of(spec.dtype);
      for (std::size_t i = 0; i < bytes.size() / size; ++i) store_element(spec.dtype, bytes.data(), i, some[i % some.size()]);
      memory.back().upload(bytes.data(), bytes.size());
    }
    const TensorView out = case_.in_place ? in[0] : place(out_);
    const cuda::DeviceBuffer workspace(kernel.workspace_bytes());
    // The tool is told to leave libraries out, and then does not know what they write for our kernels to read.
    if (!std::all_of(kernels.begin(), kernels.end(), is_own_kernel)) {
      if (workspace.bytes() > 0) CUDA_CHECK(cudaMemset(workspace.data(), 0, workspace.bytes()));
      if (!case_.in_place) CUDA_CHECK(cudaMemset(memory.back().data(), 0, memory.back().bytes()));
      CUDA_CHECK(cudaDeviceSynchronize());
    }
    kernel.launch({in, {&out, 1}, workspace.data()}, stream_.get());
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    note_launched(kernels);
  }

  // The kernels that a launch would run, from a capture in memory that all cases share.
  std::vector<std::string> kernels_on_paper(const cuda::Kernel& kernel) const {
    static const cuda::DeviceBuffer& shared = *new cuda::DeviceBuffer(std::size_t{1} << 29);  // never freed: no driver at exit
    std::size_t used = 0;
    const auto take = [&](std::size_t bytes) {
      char* at = shared.as<char>() + used;
      used = (used + bytes + 255) / 256 * 256;
      check<CudaError>(used <= shared.bytes(), "the case takes more memory than cases under a tool share");
      return at;
    };
    std::vector<TensorView> views;
    for (const TensorSpec& spec : specs_) views.push_back(view_of(spec, case_));
    if (!case_.in_place) views.push_back(view_of(out_, case_));
    for (TensorView& view : views) view.data = take(bytes_to_the_end(view, case_)) + misaligned_bytes(view, case_);
    const TensorView& made = case_.in_place ? views[0] : views.back();
    const cuda::LaunchArgs args{std::span(views).first(specs_.size()), {&made, 1}, take(kernel.workspace_bytes())};
    return kernels_of(captured(stream_.get(), [&] { kernel.launch(args, stream_.get()); }).get());
  }

  // What a kernel's way depends on besides its own name: how it says that it works, where tensors begin, whether packs of 16 bytes fill
  // their channels and pixels.
  std::string path_of(const cuda::Kernel& kernel) const {
    const Shape& x = specs_[0].shape;
    const auto size = static_cast<std::int64_t>(size_of(case_.dtype));
    const std::int64_t channels = x.rank() < 2 ? 1 : x[1], images = x.rank() < 2 ? 1 : x[0];
    const bool whole_channels = channels * size % 16 == 0, whole_pixels = x.elements() / images / channels * size % 16 == 0;
    return concat_text(kernel.describe(), ' ', case_.format, ' ', case_.misalign * size % 16, case_.padded_strides, case_.in_place,
                       images > 1, whole_channels, whole_pixels);
  }

  ParityReport finish(const ParityReport& report) {
    record_parity(layer_.type_name(), case_.dtype, device_.name, case_, report, passed_);
    return report;
  }

  const Layer& layer_;
  ParityCase case_;
  const cuda::DeviceInfo& device_;
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
