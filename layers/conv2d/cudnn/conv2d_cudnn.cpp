// Convolutions through cuDNN, where this build has it.
#include <algorithm>
#include <map>
#include <mutex>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/error.h>
#include <frieze/layers/conv2d/cuda/conv2d_paths.h>
#include <frieze/layers/conv2d/cudnn/cudnn_conv.h>
#include <frieze/layers/conv2d/cudnn/cudnn_files.h>
#include <frieze/layers/shared/cuda/gemm.h>

namespace frieze::cuda {
namespace {

const std::string kPrefix = "cudnn ";
// Below this, a first call of a third of a second would buy microseconds.
constexpr double kLeastFlops = 2e8;

CudnnConvSpec spec_of(const ConvProblem& p, const PrepareArgs& args) {
  const ConvGeometry& g = p.g;
  CudnnConvSpec s;
  s.dtype = p.dtype;
  s.allow_tf32 = args.allow_tf32;
  s.n = g.n;
  s.in_c = g.in_c, s.in_h = g.in_h, s.in_w = g.in_w;
  s.out_c = g.out_c, s.out_h = g.out_h, s.out_w = g.out_w;
  s.kernel_h = g.kernel_h, s.kernel_w = g.kernel_w;
  s.stride_h = g.stride_h, s.stride_w = g.stride_w;
  s.pad_h = g.pad_h, s.pad_w = g.pad_w;
  s.dilation_h = g.dilation_h, s.dilation_w = g.dilation_w;
  s.bias = p.weights.has_bias;
  s.chain.assign(args.epilogue.begin(), args.epilogue.end());
  return s;
}

std::string plan_key(const ConvProblem& p, const PrepareArgs& args, const std::string& name) {
  const DeviceInfo& d = *args.device;
  return concat_text(d.index, ", ", d.name, ", driver ", d.driver_version, ", ", cudnn_version_text(), ", ", spec_of(p, args).text(), ", ",
                     name);
}

// Models repeat their blocks: layers of one shape share a plan, which goes with the last of them.
class SharedPlans {
 public:
  std::shared_ptr<const CudnnConvPlan> find(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = plans_.find(key);
    return found != plans_.end() ? found->second.lock() : nullptr;
  }
  void add(const std::string& key, const std::shared_ptr<const CudnnConvPlan>& plan) {
    const std::lock_guard lock(mutex_);
    std::erase_if(plans_, [](const auto& entry) { return entry.second.expired(); });
    plans_[key] = plan;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<const CudnnConvPlan>> plans_;
};

SharedPlans& shared_plans() {
  static SharedPlans plans;
  return plans;
}

class CudnnPath final : public ConvPath {
 public:
  CudnnPath(const ConvProblem& p, const PrepareArgs& args, std::shared_ptr<const CudnnConvPlan> plan)
      : p_(p), plan_(std::move(plan)), misaligned_(make_conv_path(p, args, "direct")) {
    // The plan wants its weights without the gaps that our own kernels want.
    const auto row = static_cast<std::size_t>(p.g.taps()) * static_cast<std::size_t>(p.weights.tap_size) * size_of(p.dtype);
    const std::size_t pitch = static_cast<std::size_t>(p.weights.row) * size_of(p.dtype);
    if (row == pitch) return;
    const auto rows = static_cast<std::size_t>(p.g.out_c);
    dense_ = DeviceBuffer(row * rows);
    CUDA_CHECK(cudaMemcpy2DAsync(dense_.data(), row, p.weights.w, pitch, row, rows, cudaMemcpyDeviceToDevice, args.stream));
  }

  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const override {
    if (!is_aligned(x, 16) || !is_aligned(y, 16) || !epilogue.aligned(16)) return misaligned_->launch(x, y, epilogue, workspace, stream);
    const void* operands[EpilogueArgs::kMaxOps];
    std::size_t count = 0;
    for (int i = 0; i < epilogue.count; ++i) {
      if (epilogue.ops[i].kind != EpilogueOp::Kind::activation) operands[count++] = epilogue.ops[i].operand;
    }
    plan_->launch(x, dense_.bytes() > 0 ? dense_.data() : p_.weights.w, p_.weights.bias, {operands, count}, y, workspace, stream);
  }
  std::size_t workspace_bytes() const override { return plan_->workspace_bytes(); }
  std::size_t weight_bytes() const override { return dense_.bytes(); }
  std::string describe() const override {
    return concat_text("cuDNN ", CudnnConv::version(), " ", plan_->name(), plan_->is_compiled() ? ", fused" : "");
  }
  bool only_own_kernels() const override { return false; }
  const CudnnConvPlan& plan() const { return *plan_; }

 private:
  const ConvProblem& p_;
  std::shared_ptr<const CudnnConvPlan> plan_;
  std::unique_ptr<ConvPath> misaligned_;
  DeviceBuffer dense_;
};

// cuDNN adds the same on both sides. Where that makes the same number of outputs, what is added behind does not matter.
bool padded_alike(const ConvGeometry& g) {
  const auto outputs = [](int in, int pad, int kernel, int dilation, int stride) {
    return (std::int64_t{in} + 2 * std::int64_t{pad} - std::int64_t{dilation} * (kernel - 1) - 1) / stride + 1;
  };
  return outputs(g.in_h, g.pad_h, g.kernel_h, g.dilation_h, g.stride_h) == g.out_h &&
         outputs(g.in_w, g.pad_w, g.kernel_w, g.dilation_w, g.stride_w) == g.out_w;
}

// Activations that cuDNN computes as we do.
bool cudnn_has(Activation f) {
  return f == Activation::none || f == Activation::relu || f == Activation::silu || f == Activation::gelu || f == Activation::gelu_tanh ||
         f == Activation::sigmoid;
}

}  // namespace

bool cudnn_takes(const ConvProblem& p, const PrepareArgs& args) {
  const CudnnUse use = cudnn_use();
  const ConvGeometry& g = p.g;
  const bool half = p.dtype != DType::f32;
  // Channels in chunks of 16 bytes, as the packed weights have them.
  const bool known = std::all_of(args.epilogue.begin(), args.epilogue.end(), [](const EpilogueOp& op) { return cudnn_has(op.activation); });
  if (use == CudnnUse::off || !known || g.strided() || !padded_alike(g) || p.format != Format::nhwc || g.groups != 1 ||
      g.in_c != p.weights.tap_size)
    return false;
  if (use == CudnnUse::automatic) {
    if (2.0 * static_cast<double>(g.pixels) * g.taps() * g.in_c * g.out_c < kLeastFlops) return false;
    // In f32 it is no sure winner, in 1x1 only where cuBLASLt lacks the epilogue: worth timing, not worth trusting.
    if (!args.tune && (!half || g.taps() == 1)) return false;
    if (g.taps() == 1 && Gemm::library_takes(p.dtype, args.epilogue)) return false;
  }
  return CudnnConv::available();
}

std::string cudnn_version_text() { return "cuDNN " + CudnnConv::version(); }

std::vector<NamedConvPath> make_cudnn_paths(const ConvProblem& p, const PrepareArgs& args, std::size_t first, std::size_t most) {
  std::vector<NamedConvPath> paths;
  try {
    CudnnConv conv(spec_of(p, args));
    std::vector<std::string> names = conv.offers(first + most);
    names.erase(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(first, names.size())));
    std::vector<std::shared_ptr<const CudnnConvPlan>> plans(names.size());
    std::vector<std::string> missing;
    for (std::size_t i = 0; i < names.size(); ++i) {
      plans[i] = shared_plans().find(plan_key(p, args, names[i]));
      if (plans[i] == nullptr) missing.push_back(names[i]);
    }
    if (!missing.empty()) {
      auto made = conv.plans(missing);
      for (std::size_t i = 0, next = 0; i < names.size(); ++i) {
        if (plans[i] != nullptr) continue;
        plans[i] = std::move(made[next++]);
        if (plans[i] != nullptr) shared_plans().add(plan_key(p, args, names[i]), plans[i]);
      }
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      paths.push_back({kPrefix + names[i], plans[i] != nullptr ? std::make_unique<CudnnPath>(p, args, plans[i]) : nullptr});
    }
  } catch (const CudaError& e) {
    log_warning(concat_text("cuDNN has nothing for a convolution: ", e.what()).c_str());
  }
  return paths;
}

std::unique_ptr<ConvPath> make_cudnn_path(const ConvProblem& p, const PrepareArgs& args, const std::string& id) {
  if (!id.starts_with(kPrefix)) return nullptr;
  const std::string name = id.substr(kPrefix.size()), key = plan_key(p, args, name);
  std::shared_ptr<const CudnnConvPlan> plan = shared_plans().find(key);
  try {
    if (plan == nullptr) {
      CudnnConv conv(spec_of(p, args));
      if (const auto json = find_plan_file(key)) plan = conv.restored(name, *json);
      if (plan == nullptr) {
        const std::vector<std::string> offers = conv.offers(10);
        if (std::find(offers.begin(), offers.end(), name) == offers.end()) return nullptr;
        plan = conv.plans(std::span(&name, 1))[0];
      }
      if (plan == nullptr) return nullptr;
      shared_plans().add(key, plan);
    }
    return std::make_unique<CudnnPath>(p, args, plan);
  } catch (const CudaError&) {
    return nullptr;
  }
}

void remember_cudnn_path(const ConvProblem& p, const PrepareArgs& args, const std::string& id, const ConvPath& path) {
  const CudnnConvPlan& plan = static_cast<const CudnnPath&>(path).plan();
  if (!plan.is_compiled()) return;
  try {
    store_plan_file(plan_key(p, args, id.substr(kPrefix.size())), plan.json());
  } catch (const CudaError&) {
    // It is compiled again next time.
  }
}

}  // namespace frieze::cuda
