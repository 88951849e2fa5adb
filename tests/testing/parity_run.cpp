#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/graph/reference_step.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/testing/parity.h>

#include "testing/kernel_watch.h"

#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#endif

namespace frieze::test {
namespace {

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
    default: return {op, std::make_shared<ActivationLayer>(op.activation, op.parameter), "activation"};
  }
}

void note_failure(ParityReport& report, bool ok, const Layer& layer, const ParityCase& c, const std::string& what) {
  if (!ok)
    report.failures.push_back(
        concat_text(layer.type_name(), layer.describe().empty() ? "" : " ", layer.describe(), " on ", describe(c), ": ", what));
}

std::vector<std::vector<float>> random_inputs(const std::vector<TensorSpec>& specs, const ParityCase& c, Fill fill, std::uint64_t seed) {
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < specs.size(); ++i) values.push_back(input_values(specs[i], c, fill, seed + 31 * i));
  return values;
}

// A case as one step of a plan, so that its reference and its budget are those of verify.
struct PreparedCase {
  const Layer& layer;
  ParityCase parity;
  std::vector<TensorSpec> own, specs;  // of the layer's inputs, and of the operands of the epilogue behind them
  TensorSpec out;
  std::vector<std::vector<float>> values = {};
  Truth truth = {};

  PreparedCase(const Layer& the_layer, const ParityCase& c) : layer(the_layer), parity(c) {
    if (const char* shift = std::getenv("FRIEZE_PARITY_SEED"); shift != nullptr) parity.seed += std::strtoull(shift, nullptr, 10);
    for (const Shape& shape : c.inputs) own.push_back({shape, c.dtype, c.format});
    out = layer.infer(own).out[0];
    out.format = c.format;
    specs = own;
    for (const EpilogueOp& op : c.epilogue) {
      if (op.kind != EpilogueOp::Kind::activation) specs.push_back(out);
    }
    values = c.values.empty() ? random_inputs(specs, parity, c.fill, parity.seed) : c.values;
    check<OptionError>(values.size() == specs.size(), "values of ", specs.size(), " inputs are expected, got ", values.size());
    check<OptionError>(c.expected.empty() || (c.dtype == DType::f32 && c.epilogue.empty() && !c.values.empty()),
                       "expected values go with given ones, in f32 and without an epilogue");
  }

  // False, with a failure, if the layer does not say that it can do this.
  bool takes_case(ParityReport& report) const {
    const FormatRule rule = layer.formats(own);
    const auto expect = [&](bool ok, const char* what) { note_failure(report, ok, layer, parity, what); };
    expect(parity.format == Format::nchw ? rule.nchw : rule.nhwc, "the layer does not take this format");
    expect(layer.absorbs(own, parity.epilogue) == parity.epilogue.size(), "the layer does not absorb this epilogue");
    expect(!parity.in_place || out.shape == specs[0].shape, "in place needs an output of the input's shape");
    return report.ok();
  }

  // Finds out what is true, and whether the reference knows it.
  void refer(ParityReport& report) {
    Plan plan;
    Step step;
    step.layer = std::shared_ptr<const Layer>(std::shared_ptr<const Layer>(), &layer);
    step.path = layer.type_name();
    std::vector<HostTensor> inputs;
    std::vector<TensorView> views;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      inputs.emplace_back(TensorSpec{specs[i].shape, specs[i].dtype, Format::nchw}, values[i]);
      step.inputs.push_back(static_cast<int>(plan.values.size()));
      plan.values.push_back({inputs.back().spec(), "input", -1});
    }
    for (const HostTensor& input : inputs) views.push_back(input.view());
    step.outputs = {static_cast<int>(plan.values.size())};
    plan.values.push_back({out, "output", 0});
    for (const EpilogueOp& op : parity.epilogue) step.epilogue.push_back(fused(op));
    truth.budget = step_budget(plan, step);
    const HostTensor y({out.shape, DType::f32, Format::nchw});
    const TensorView made = y.view();
    const auto run = [&](int poison) {
      std::memset(y.data(), poison, y.bytes());
      truth.scale = reference_step(step, views, {&made, 1}, parity.dtype);
      truth.values = y.floats();
    };
    run(0xFF);  // NaN
    const std::vector<float> first = truth.values;
    run(0x3F);
    const bool same = std::memcmp(first.data(), truth.values.data(), first.size() * sizeof(float)) == 0;
    note_failure(report, same, layer, parity, "the reference gives other values on other memory: it leaves some unwritten");
    if (parity.expected.empty()) return;
    const Difference d = difference(truth.values, parity.expected, DType::f32, truth.budget, truth.scale);
    report.referenced = true;
    report.reference_share = d.share;
    note_failure(report, d.share <= 1, layer, parity,
                 concat_text("the reference is ", d.share, " of the budget from the expected values, max abs ", d.max_abs, ", worst at ",
                             d.worst_index));
  }
};

#if FRIEZE_WITH_CUDA

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

// One case on the device: its tensors there, and the launches over them.
class Bench {
 public:
  explicit Bench(const PreparedCase& prepared)
      : layer_(prepared.layer), case_(prepared.parity), prepared_(prepared), device_(current_device()), stream_(cuda::make_stream()) {}

  // Adds to `report`, which holds what was found on the host.
  void run(ParityReport& report) {
    report_ = &report;
    report.device = device_.name;

    static std::map<std::string, std::string> lines;  // of cases under a tool, which differ in their values alone
    const std::string same_code = concat_text(layer_.type_name(), ' ', layer_.describe(), ' ', describe(without_values(case_)));
    if (each_kernel_once() && lines.contains(same_code)) {
      report.describe = lines.at(same_code);
      return;
    }
    cuda::PrepareArgs prepare{specs_, {&out_, 1}, case_.epilogue, &device_, stream_.get()};
    prepare.tune = case_.tune;
    const std::unique_ptr<cuda::Kernel> kernel = cuda::kernel_registry().prepare(layer_, prepare);
    report.describe = kernel->describe();
    if (each_kernel_once()) {
      lines.emplace(same_code, report.describe);
      launch_once(*kernel);
      return;
    }
    for (const TensorSpec& spec : specs_) tensors_.push_back(std::make_unique<FencedTensor>(spec, case_));
    if (!case_.in_place) own_output_ = std::make_unique<FencedTensor>(out_, case_);
    workspace_ = std::make_unique<FencedWorkspace>(kernel->workspace_bytes());

    std::vector<TensorView> views;
    for (const auto& tensor : tensors_) views.push_back(tensor->view());
    const TensorView made = output().view();
    const cuda::LaunchArgs args{views, {&made, 1}, workspace_->data()};
    const auto eager = [&] { kernel->launch(args, stream_.get()); };

    fill_inputs(prepared_.values);
    const auto first = observe("the first launch", eager);
    const Truth& expected = prepared_.truth;
    static_cast<Difference&>(report) = difference(output().values(), expected.values, out_.dtype, expected.budget, expected.scale);
    report.compared = true;
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

    fill_inputs(random_inputs(specs_, case_, Fill::normal, case_.seed + 7919));
    const auto changed = observe("the replay with changed inputs", replay);
    expect(observe("the launch with changed inputs", eager) == changed, "with changed inputs, replay and eager launch differ");
    fill_inputs(prepared_.values);
    expect(observe("the replay with the first inputs again", replay) == first, "the replay differs once other inputs were there");
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

  void expect(bool ok, const std::string& what) { note_failure(*report_, ok, layer_, case_, what); }

  void fill_inputs(const std::vector<std::vector<float>>& values) {
    for (std::size_t i = 0; i < specs_.size(); ++i) tensors_[i]->fill(values[i]);
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

  // See testing/kernel_watch.h.
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

  const Layer& layer_;
  const ParityCase& case_;
  const PreparedCase& prepared_;
  const std::vector<TensorSpec>& specs_ = prepared_.specs;
  const TensorSpec& out_ = prepared_.out;
  const cuda::DeviceInfo& device_;
  cuda::Stream stream_;
  std::vector<std::unique_ptr<FencedTensor>> tensors_;
  std::unique_ptr<FencedTensor> own_output_;
  std::unique_ptr<FencedWorkspace> workspace_;
  ParityReport* report_ = nullptr;
};

#endif

}  // namespace

std::string why_no_gpu() {
#if FRIEZE_WITH_CUDA
  static const bool found = [] {
    int count = 0;
    const bool ok = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
    (void)cudaGetLastError();
    return ok;
  }();
  return found ? "" : "no CUDA device";
#else
  return "this build has no CUDA";
#endif
}

ParityReport check_parity(const Layer& layer, const ParityCase& c) {
  ParityReport report;
  try {
    PreparedCase prepared(layer, c);
    if (!prepared.takes_case(report)) return report;
    report.skipped = why_no_gpu();
    if (!each_kernel_once() || !report.skipped.empty()) prepared.refer(report);
#if FRIEZE_WITH_CUDA
    if (report.skipped.empty()) Bench(prepared).run(report);
#endif
  } catch (const std::exception& e) {
    note_failure(report, false, layer, c, e.what());
  }
  return report;
}

}  // namespace frieze::test
