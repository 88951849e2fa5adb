#include <frieze/layers/conv2d/cudnn/cudnn_conv.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <optional>
#include <thread>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/warning.h>
#include <frieze/layers/conv2d/cudnn/cudnn_library.h>

namespace frieze::cuda {
namespace {

enum Uid : std::int64_t { kX = 1, kW, kY, kBias, kFirstOperand = 16, kFirstVirtual = 64 };
constexpr std::int64_t kAlignment = 16;
constexpr std::int64_t kMostWorkspace = std::int64_t{64} << 20;
constexpr unsigned kMostThreads = 8;

// It takes a third of a second to make and is wanted again by the next plan: as long as the process, as no order of destruction at its
// end suits the driver.
CudnnHandle& shared_handle() {
  static std::mutex& mutex = *new std::mutex;
  static auto& handles = *new std::map<int, CudnnHandle>;
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  return handles[device];
}

cudnnDataType_t data_type(DType t) { return t == DType::f32 ? CUDNN_DATA_FLOAT : t == DType::f16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16; }

cudnnPointwiseMode_t mode_of(const EpilogueOp& op) {
  if (op.kind == EpilogueOp::Kind::add) return CUDNN_POINTWISE_ADD;
  if (op.kind == EpilogueOp::Kind::mul) return CUDNN_POINTWISE_MUL;
  switch (op.activation) {
    case Activation::relu: return CUDNN_POINTWISE_RELU_FWD;
    case Activation::silu: return CUDNN_POINTWISE_SWISH_FWD;
    case Activation::gelu: return CUDNN_POINTWISE_GELU_FWD;
    case Activation::gelu_tanh: return CUDNN_POINTWISE_GELU_APPROX_TANH_FWD;
    case Activation::sigmoid: return CUDNN_POINTWISE_SIGMOID_FWD;
    default: break;  // none; others do not come here, see cudnn_has()
  }
  return CUDNN_POINTWISE_IDENTITY;
}

// A dense nhwc tensor; cuDNN names extents in the order n, c, h, w.
CudnnDescriptor tensor(std::int64_t uid, cudnnDataType_t type, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w,
                       bool is_virtual = false) {
  CudnnDescriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, {n, c, h, w});
  t.set(CUDNN_ATTR_TENSOR_STRIDES, {c * h * w, 1, w * c, c});
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment);
  if (is_virtual) t.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  t.finalize();
  return t;
}

// Which engine a configuration is of, and its settings.
struct Offer {
  CudnnDescriptor config;
  std::string name;
  bool compiled = false;
};

template <class Note>
std::vector<Note> notes(const CudnnDescriptor& engine, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        std::size_t most) {
  std::vector<Note> found(most);
  found.resize(static_cast<std::size_t>(engine.get(name, type, static_cast<std::int64_t>(most), found.data())));
  return found;
}

template <class Note>
bool holds(const std::vector<Note>& notes, Note note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

std::string settings_text(const CudnnDescriptor& config) {
  std::vector<CudnnDescriptor> choices;
  std::vector<cudnnBackendDescriptor_t> raw;
  const std::int64_t count = config.count(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR);
  for (std::int64_t i = 0; i < count; ++i) raw.push_back(choices.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR).get());
  if (count > 0) (void)config.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, raw.data());
  std::string text;
  for (const CudnnDescriptor& choice : choices) {
    cudnnBackendKnobType_t type{};
    (void)choice.get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
    text += concat_text(" k", static_cast<int>(type), "=", choice.get_int64(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
  }
  return text;
}

}  // namespace

std::string CudnnConvSpec::text() const {
  std::string line = concat_text(dtype, allow_tf32 ? " tf32" : "", ", ", n, "x", in_c, "x", in_h, "x", in_w, " -> ", out_c, "x", out_h, "x",
                                 out_w, ", kernel ", kernel_h, "x", kernel_w, ", stride ", stride_h, "x", stride_w, ", padding ", pad_h,
                                 "x", pad_w, ", dilation ", dilation_h, "x", dilation_w, bias ? ", bias" : "");
  for (const EpilogueOp& op : chain) {
    const bool f = op.kind == EpilogueOp::Kind::activation;
    line += f ? concat_text(", ", name(op.activation)) : op.kind == EpilogueOp::Kind::add ? ", add" : ", mul";
  }
  return line;
}

struct CudnnConv::State {
  CudnnConvSpec spec;
  std::vector<CudnnDescriptor> parts;  // of the graph: kept as long as it
  CudnnDescriptor graph;
  std::vector<Offer> offers;

  explicit State(const CudnnConvSpec& s) : spec(s) {
    const cudnnDataType_t type = data_type(s.dtype);
    std::vector<cudnnBackendDescriptor_t> operations;
    const std::size_t pointwise = (s.bias ? 1U : 0U) + s.chain.size();
    // What operation `i` of the chain, bias first, writes.
    const auto output = [&](std::size_t i) {
      const bool last = i == pointwise;
      return tensor(last ? std::int64_t{kY} : kFirstVirtual + static_cast<std::int64_t>(i), last ? type : CUDNN_DATA_FLOAT, s.n, s.out_c,
                    s.out_h, s.out_w, !last);
    };
    CudnnDescriptor x = tensor(kX, type, s.n, s.in_c, s.in_h, s.in_w), w = tensor(kW, type, s.out_c, s.in_c, s.kernel_h, s.kernel_w);
    CudnnDescriptor value = output(0);
    operations.push_back(keep(convolution(x, w, value)));
    keep(std::move(x));
    keep(std::move(w));
    std::int64_t operand = kFirstOperand;
    for (std::size_t i = 0; i < pointwise; ++i) {
      const bool is_bias = s.bias && i == 0;
      const EpilogueOp op = is_bias ? EpilogueOp{EpilogueOp::Kind::add, Activation::none} : s.chain[i - (s.bias ? 1U : 0U)];
      CudnnDescriptor other, next = output(i + 1);
      if (is_bias) other = tensor(kBias, type, 1, s.out_c, 1, 1);
      if (!is_bias && op.kind != EpilogueOp::Kind::activation) other = tensor(operand++, type, s.n, s.out_c, s.out_h, s.out_w);
      operations.push_back(keep(pointwise_operation(op, value, other, next)));
      keep(std::move(other));
      keep(std::exchange(value, std::move(next)));
    }
    keep(std::move(value));
    graph = CudnnDescriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    const std::lock_guard lock(shared_handle().mutex());
    const cudnnHandle_t handle = shared_handle().get();
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(operations.size()),
              operations.data());
    graph.finalize();
  }

  cudnnBackendDescriptor_t keep(CudnnDescriptor part) { return parts.emplace_back(std::move(part)).get(); }

  CudnnDescriptor convolution(const CudnnDescriptor& x, const CudnnDescriptor& w, const CudnnDescriptor& y) {
    CudnnDescriptor c(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    c.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    c.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    c.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
    c.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, {spec.dilation_h, spec.dilation_w});
    c.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {spec.stride_h, spec.stride_w});
    c.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {spec.pad_h, spec.pad_w});
    c.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {spec.pad_h, spec.pad_w});
    c.finalize();
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    const float one = 1, zero = 0;
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, c);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    op.finalize();
    keep(std::move(c));
    return op;
  }

  CudnnDescriptor pointwise_operation(const EpilogueOp& what, const CudnnDescriptor& x, const CudnnDescriptor& operand,
                                      const CudnnDescriptor& y) {
    CudnnDescriptor p(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    const cudnnPointwiseMode_t mode = mode_of(what);
    p.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    p.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    p.finalize();
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, p);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (operand.get() != nullptr) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, operand);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    op.finalize();
    keep(std::move(p));
    return op;
  }

  bool wanted(const std::vector<cudnnBackendNumericalNote_t>& notes) const {
    for (const auto note : {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, CUDNN_NUMERICAL_NOTE_FFT,
                            CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4,
                            CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13}) {
      if (holds(notes, note)) return false;
    }
    const bool true_f32 = spec.dtype == DType::f32 && !spec.allow_tf32;
    return !true_f32 || (!holds(notes, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) && !holds(notes, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
  }

  // Nothing of a mode that does not know the graph.
  void ask(cudnnBackendHeurMode_t mode, std::size_t most) {
    const std::lock_guard lock(shared_handle().mutex());
    std::vector<CudnnDescriptor> configs;
    try {
      CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
      heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
      heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
      heuristics.finalize();
      std::vector<cudnnBackendDescriptor_t> raw;
      const std::int64_t count = heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR);
      for (std::int64_t i = 0; i < count; ++i) raw.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
      const std::int64_t got =
          count > 0 ? heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, raw.data()) : 0;
      configs.resize(static_cast<std::size_t>(std::clamp<std::int64_t>(got, 0, count)));
    } catch (const CudaError&) {
      return;
    }
    for (CudnnDescriptor& config : configs) {
      if (offers.size() == most) return;
      CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
      cudnnBackendDescriptor_t raw = engine.get();
      (void)config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
      if (!wanted(notes<cudnnBackendNumericalNote_t>(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 32))) continue;
      const auto behaviour = notes<cudnnBackendBehaviorNote_t>(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, 32);
      std::string name = concat_text("engine ", engine.get_int64(CUDNN_ATTR_ENGINE_GLOBAL_INDEX), settings_text(config));
      if (std::any_of(offers.begin(), offers.end(), [&](const Offer& o) { return o.name == name; })) continue;
      offers.push_back({std::move(config), std::move(name), holds(behaviour, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)});
    }
  }
};

struct CudnnConvPlan::State {
  std::shared_ptr<CudnnConv::State> of;  // the graph that the plan was made from
  CudnnDescriptor plan;
  std::string name;
  bool compiled = false;
  std::int64_t workspace = 0;
  int device = 0;
};

CudnnConvPlan::CudnnConvPlan(std::unique_ptr<State> state) : state_(std::move(state)) {}
CudnnConvPlan::~CudnnConvPlan() = default;
std::size_t CudnnConvPlan::workspace_bytes() const { return static_cast<std::size_t>(state_->workspace); }
const std::string& CudnnConvPlan::name() const { return state_->name; }
bool CudnnConvPlan::is_compiled() const { return state_->compiled; }

std::string CudnnConvPlan::json() const {
  const std::int64_t bytes = state_->plan.count(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR);
  std::string text(static_cast<std::size_t>(std::max<std::int64_t>(bytes, 0)), '\0');
  text.resize(
      static_cast<std::size_t>(state_->plan.get(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, bytes, text.data())));
  return text;
}

void CudnnConvPlan::launch(const void* x, const void* w, const void* bias, std::span<const void* const> operands, void* y, void* workspace,
                           cudaStream_t stream) const {
  std::vector<std::int64_t> uids{kX, kW, kY};
  std::vector<const void*> pointers{x, w, y};
  if (state_->of->spec.bias) {
    uids.push_back(kBias);
    pointers.push_back(bias);
  }
  for (std::size_t i = 0; i < operands.size(); ++i) {
    uids.push_back(kFirstOperand + static_cast<std::int64_t>(i));
    pointers.push_back(operands[i]);
  }
  CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, static_cast<std::int64_t>(pointers.size()), pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  CudnnHandle& handle = shared_handle();
  const std::lock_guard lock(handle.mutex());
  CUDNN_CHECK(cudnn_library()->set_stream(handle.get(), stream));
  CUDNN_CHECK(cudnn_library()->execute(handle.get(), state_->plan.get(), pack.get()));
}

bool CudnnConv::available() { return cudnn_library() != nullptr; }

std::string CudnnConv::version() {
  const std::size_t v = cudnn_library()->version();
  return concat_text(v / 10000, ".", v / 100 % 100, ".", v % 100);
}

CudnnConv::CudnnConv(const CudnnConvSpec& spec) : state_(std::make_shared<State>(spec)) {}
CudnnConv::~CudnnConv() = default;

std::vector<std::string> CudnnConv::offers(std::size_t most) {
  state_->offers.clear();
  state_->ask(CUDNN_HEUR_MODE_A, most);
  if (state_->offers.empty()) state_->ask(CUDNN_HEUR_MODE_FALLBACK, most);
  std::vector<std::string> names;
  for (const Offer& offer : state_->offers) names.push_back(offer.name);
  return names;
}

std::vector<std::shared_ptr<const CudnnConvPlan>> CudnnConv::plans(std::span<const std::string> names) {
  std::vector<std::shared_ptr<const CudnnConvPlan>> made(names.size());
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  const auto finalise = [&](std::size_t i, cudnnHandle_t handle) {
    const auto offer = std::find_if(state_->offers.begin(), state_->offers.end(), [&](const Offer& o) { return o.name == names[i]; });
    if (offer == state_->offers.end()) return;
    try {
      auto plan = std::make_unique<CudnnConvPlan::State>();
      plan->of = state_;
      plan->plan = CudnnDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan->plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
      plan->plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, offer->config);
      plan->plan.finalize();
      plan->name = offer->name;
      plan->compiled = offer->compiled;
      plan->workspace = plan->plan.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
      if (plan->workspace <= kMostWorkspace) made[i] = std::make_shared<const CudnnConvPlan>(std::move(plan));
    } catch (const CudaError&) {
      // Heuristics name engines that then refuse; the others remain.
    }
  };
  if (names.size() == 1) {
    const std::lock_guard lock(shared_handle().mutex());
    finalise(0, shared_handle().get());
    return made;
  }
  std::atomic<std::size_t> next{0};
  const auto work = [&, hook = current_warning_hook()] {
    const WarningScope warnings(hook);
    try {
      const DeviceScope scope(device);
      const CudnnHandle own;
      for (std::size_t i = next++; i < names.size(); i = next++) finalise(i, own.get());
    } catch (const CudaError&) {
      // Without a handle: the other threads do the work.
    }
  };
  std::vector<std::jthread> threads;
  const std::size_t count =
      std::min({names.size(), std::size_t{std::max(std::thread::hardware_concurrency(), 1U)}, std::size_t{kMostThreads}});
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back(work);
  threads.clear();
  return made;
}

std::shared_ptr<const CudnnConvPlan> CudnnConv::restored(const std::string& name, const std::string& json) {
  try {
    auto plan = std::make_unique<CudnnConvPlan::State>();
    const std::lock_guard lock(shared_handle().mutex());
    const cudnnHandle_t handle = shared_handle().get();
    plan->of = state_;
    plan->plan = CudnnDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    plan->plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    plan->plan.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, static_cast<std::int64_t>(json.size()), json.data());
    plan->plan.finalize();
    plan->name = name;
    plan->compiled = true;
    plan->workspace = plan->plan.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    if (plan->workspace > kMostWorkspace) return nullptr;
    return std::make_shared<const CudnnConvPlan>(std::move(plan));
  } catch (const CudaError&) {
    return nullptr;
  }
}

}  // namespace frieze::cuda
