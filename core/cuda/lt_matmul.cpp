#include <frieze/core/cuda/lt_matmul.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/lt_library.h>
#include <frieze/core/cuda/tune.h>
#include <frieze/core/integers.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/core/version.h>

namespace frieze::cuda {
namespace {

// plan() has seen to it that there is one.
const LtLibrary& lt() { return *lt_library(); }

void check_lt(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const std::string_view text = call;  // "lt().create(&handle)"
  throw CudaError(concat_text("cuBLASLt ", text.substr(text.starts_with("lt().") ? 5 : 0), ": ", lt().status_string(status), " (",
                              lt().status_name(status), ")"),
                  status == CUBLAS_STATUS_ALLOC_FAILED ? cudaErrorMemoryAllocation : cudaSuccess);
}
#define LT_CHECK(call) check_lt((call), #call)

template <class H, auto kDestroy>
struct LtDestroy {
  void operator()(H handle) const noexcept {
    if ((lt().*kDestroy)(handle) != CUBLAS_STATUS_SUCCESS) log_warning("a cuBLASLt object could not be destroyed");
  }
};
template <class H, auto kDestroy>
using LtOwner = std::unique_ptr<std::remove_pointer_t<H>, LtDestroy<H, kDestroy>>;
using Descriptor = LtOwner<cublasLtMatmulDesc_t, &LtLibrary::destroy_op>;
using Layout = LtOwner<cublasLtMatrixLayout_t, &LtLibrary::destroy_layout>;
using Preference = LtOwner<cublasLtMatmulPreference_t, &LtLibrary::destroy_preference>;

// cuBLASLt takes a tenth of a second to start and its handle is stateless and thread-safe, so all plans of a device share
// one; the last plan that goes takes it along.
std::shared_ptr<cublasLtContext> shared_handle(int device) {
  static std::mutex mutex;
  static std::map<int, std::weak_ptr<cublasLtContext>> handles;
  const std::lock_guard lock(mutex);
  auto& slot = handles[device];
  if (auto alive = slot.lock()) return alive;
  cublasLtHandle_t handle = nullptr;
  LT_CHECK(lt().create(&handle));
  const std::shared_ptr<cublasLtContext> owner(handle, LtDestroy<cublasLtHandle_t, &LtLibrary::destroy>());
  slot = owner;
  return owner;
}

cudaDataType_t data_type(DType t) { return t == DType::f32 ? CUDA_R_32F : t == DType::f16 ? CUDA_R_16F : CUDA_R_16BF; }

cublasLtEpilogue_t epilogue(const LtMatmulSpec& spec) {
  if (spec.activation == Activation::relu) return CUBLASLT_EPILOGUE_RELU_BIAS;
  if (spec.activation == Activation::gelu_tanh) return CUBLASLT_EPILOGUE_GELU_BIAS;
  return spec.bias != nullptr ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

// Column-major, `turned` with rows and columns exchanged, of `batch` matrices `step` apart.
Layout make_layout(DType t, std::int64_t rows, std::int64_t cols, std::int64_t ld, bool turned, std::int64_t batch, std::int64_t step) {
  if (turned) std::swap(rows, cols);
  cublasLtMatrixLayout_t raw = nullptr;
  LT_CHECK(lt().create_layout(&raw, data_type(t), static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols), ld));
  Layout layout(raw);
  if (batch == 1) return layout;
  const auto count = static_cast<std::int32_t>(batch);
  LT_CHECK(lt().set_layout(raw, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
  LT_CHECK(lt().set_layout(raw, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step));
  return layout;
}

template <class V>
void set(cublasLtMatmulDesc_t op, cublasLtMatmulDescAttributes_t what, const V& value) {
  LT_CHECK(lt().set_op(op, what, &value, sizeof value));
}

// Which algorithm of the library this is, and how it is set.
std::string algorithm_text(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  const auto add = [&](const char* what, cublasLtMatmulAlgoConfigAttributes_t attribute, auto value) {
    std::size_t written = 0;
    LT_CHECK(lt().get_algorithm(&algorithm, attribute, &value, sizeof value, &written));
    text += concat_text(text.empty() ? "" : " ", what, ' ', value);
  };
  add("algo", CUBLASLT_ALGO_CONFIG_ID, 0);
  add("tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 0U);
  add("stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 0U);
  add("split-k", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 0);
  add("reduction", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 0U);
  add("swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 0U);
  add("option", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 0U);
  add("shape", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, std::uint16_t{0});
  add("cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, std::uint16_t{0});
  return text;
}

constexpr const char* kNone = "none is right";  // in the tuning cache

template <class V>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t what, const V& value) {
  LT_CHECK(lt().set_preference(preference, what, &value, sizeof value));
}

}  // namespace

// Row-major y = x * w^T is column-major y^T[n,m] = (w^T)^T * x^T: the library's A is w, its B is x, and bias runs along n.
struct LtMatmul::State {
  LtMatmulSpec spec;
  const void* w = nullptr;
  std::shared_ptr<cublasLtContext> handle;
  Descriptor op;
  Layout w_layout, x_layout, y_layout;
  std::vector<cublasLtMatmulHeuristicResult_t> candidates;
  std::size_t chosen = 0;
  bool remembered = false;

  State(const LtMatmulSpec& s, const void* weight, const PrepareArgs& args)
      : spec(s),
        w(weight),
        handle(shared_handle(args.device->index)),
        w_layout(make_layout(s.in, s.k, s.n, s.ldw, s.w_turned, s.batch, s.step_w)),
        x_layout(make_layout(s.in, s.k, s.m, s.ldx, s.x_turned, s.batch, s.step_x)),
        y_layout(make_layout(s.out, s.n, s.m, row_of_y(), false, s.batch, s.step_y)) {
    check<CudaError>(s.activation == Activation::none || s.bias != nullptr, "a cuBLASLt activation needs a bias");
    check<CudaError>((s.batch == 1 && weight != nullptr) || (s.bias == nullptr && !s.residual),
                     "a cuBLASLt product of a batch, or without a fixed w, takes no bias and no residual");
    cublasLtMatmulDesc_t raw = nullptr;
    const bool tf32 = s.in == DType::f32 && s.allow_tf32;
    LT_CHECK(lt().create_op(&raw, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
    op.reset(raw);
    set(op.get(), CUBLASLT_MATMUL_DESC_TRANSA, s.w_turned ? CUBLAS_OP_N : CUBLAS_OP_T);
    set(op.get(), CUBLASLT_MATMUL_DESC_TRANSB, s.x_turned ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(op.get(), CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue(s));
    if (s.bias != nullptr) {
      set(op.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, s.bias);
      set(op.get(), CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(s.out));
    }
  }

  std::int64_t row_of_y() const { return spec.ldy > 0 ? spec.ldy : spec.n; }

  // Of every matrix of the batch.
  std::uint32_t alignment() const {
    const auto steps =
        static_cast<std::size_t>(spec.step_x | spec.step_w) * size_of(spec.in) | static_cast<std::size_t>(spec.step_y) * size_of(spec.out);
    return static_cast<std::uint32_t>(std::min<std::size_t>(16, steps == 0 ? 16 : steps & (~steps + 1)));
  }

  void find_candidates(int compute_capability) {
    cublasLtMatmulPreference_t raw = nullptr;
    LT_CHECK(lt().create_preference(&raw));
    const Preference preference(raw);
    const std::uint64_t workspace = std::uint64_t{compute_capability >= 90 ? 32U : 4U} << 20;
    set(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
    set(raw, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(raw, which, alignment());
    }
    std::array<cublasLtMatmulHeuristicResult_t, 8> offers{};
    int found = 0;
    const cublasStatus_t status = lt().heuristic(handle.get(), op.get(), w_layout.get(), x_layout.get(), y_layout.get(), y_layout.get(),
                                                 raw, static_cast<int>(offers.size()), offers.data(), &found);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) found = 0;
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) LT_CHECK(status);
    candidates.assign(offers.begin(), offers.begin() + found);
    std::erase_if(candidates, [&](const cublasLtMatmulHeuristicResult_t& c) {
      cublasLtMatmulHeuristicResult_t checked{};
      return c.state != CUBLAS_STATUS_SUCCESS ||
             lt().check_algorithm(handle.get(), op.get(), w_layout.get(), x_layout.get(), y_layout.get(), y_layout.get(), &c.algo,
                                  &checked) != CUBLAS_STATUS_SUCCESS;
    });
  }

  // What the choice depends on. A pointer's alignment is not part of it: all are multiples of 16 bytes.
  std::string key() const {
    std::string batches;
    if (spec.batch > 1)
      batches = concat_text(", ", spec.batch, " times, ", spec.step_x, " and ", spec.step_w, " to ", spec.step_y, " apart");
    return concat_text("cublasLt, ", spec.in, " -> ", spec.out, spec.allow_tf32 ? " tf32, " : ", ", spec.m, "x", spec.k, " * ", spec.k, "x",
                       spec.n, ", rows of ", spec.ldx, spec.x_turned ? " turned" : "", " and ", spec.ldw, spec.w_turned ? " turned" : "",
                       batches, row_of_y() != spec.n ? concat_text(" to rows of ", row_of_y()) : "", spec.bias != nullptr ? ", bias" : "",
                       spec.residual ? ", residual" : "",
                       spec.activation != Activation::none ? concat_text(", ", name(spec.activation)) : "");
  }

  // Keeps the candidate of this text alone, or none for kNone; false if there is no such candidate.
  bool keep_remembered(const std::string& text) {
    const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const auto& c) { return algorithm_text(c.algo) == text; });
    if (found == candidates.end() && text != kNone) return false;
    candidates = found == candidates.end() ? decltype(candidates)() : decltype(candidates)(1, *found);
    remembered = true;
    return true;
  }

  void launch(std::size_t candidate, const void* x, const void* residual, void* y, void* workspace, cudaStream_t stream) const {
    launch_with(candidate, x, w, residual, y, workspace, stream);
  }
  void launch_with(std::size_t candidate, const void* x, const void* own_w, const void* residual, void* y, void* workspace,
                   cudaStream_t stream) const {
    const float alpha = 1, beta = spec.residual ? 1 : 0;
    const cublasLtMatmulHeuristicResult_t& c = candidates[candidate];
    LT_CHECK(lt().matmul(handle.get(), op.get(), &alpha, own_w, w_layout.get(), x, x_layout.get(), &beta, spec.residual ? residual : y,
                         y_layout.get(), y, y_layout.get(), &c.algo, workspace, c.workspaceSize, stream));
  }

  // Elements of `rows` rows, or of what follows when the matrix is turned, in all products of the batch.
  std::size_t elements(std::int64_t rows, std::int64_t ld, bool turned, std::int64_t step) const {
    return static_cast<std::size_t>((turned ? spec.k : rows) * ld + (spec.batch - 1) * step);
  }

  // Memory for trying candidates: an x and a residual of zeros; a w if the plan has none.
  struct Scratch {
    DeviceBuffer x, y, residual, workspace, w;
  };
  Scratch make_scratch(cudaStream_t stream) const {
    std::size_t workspace = 0;
    for (const auto& c : candidates) workspace = std::max(workspace, c.workspaceSize);
    const std::size_t y_bytes = elements(spec.m, row_of_y(), false, spec.step_y) * size_of(spec.out);
    const std::size_t w_bytes = w != nullptr ? 0 : elements(spec.n, spec.ldw, spec.w_turned, spec.step_w) * size_of(spec.in);
    Scratch s{DeviceBuffer(elements(spec.m, spec.ldx, spec.x_turned, spec.step_x) * size_of(spec.in)), DeviceBuffer(y_bytes),
              DeviceBuffer(spec.residual ? y_bytes : 0), DeviceBuffer(workspace), DeviceBuffer(w_bytes)};
    CUDA_CHECK(cudaMemsetAsync(s.x.data(), 0, s.x.bytes(), stream));
    if (spec.residual) CUDA_CHECK(cudaMemsetAsync(s.residual.data(), 0, y_bytes, stream));
    return s;
  }

  // Keeps the candidates whose activation is ours, tried through the bias: x = 0, so y[.,j] = f(bias[j]).
  void keep_right_activations(const Scratch& scratch, cudaStream_t stream) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    std::vector<float> probes{std::numeric_limits<float>::quiet_NaN(), kInf, -kInf, 0.0F, -0.0F};
    for (int i = -40; i <= 40; ++i) probes.push_back(round_to(spec.out, 0.25 * i));
    const auto is_right = [&](float got, float probe) {
      const double ref = activate(spec.activation, probe);
      if (std::isnan(ref)) return std::isnan(got);
      if (std::isinf(ref)) return static_cast<double>(got) == ref;
      // One rounding, and 16 f32 units of 10, the largest probe: what a sum of a few dozen products may be off by anyway.
      return std::abs(got - ref) <= unit_roundoff(spec.out) * std::abs(ref) + 160 * unit_roundoff(DType::f32) + min_subnormal(spec.out);
    };
    const std::size_t n = static_cast<std::size_t>(spec.n), rounds = ceil_div(probes.size(), n);
    std::vector<bool> right(candidates.size(), true);
    for (std::size_t round = 0; round < rounds; ++round) {
      std::vector<float> values(n);
      for (std::size_t j = 0; j < n; ++j) values[j] = probes[(round * n + j) % probes.size()];
      const DeviceBuffer bias = to_device(values, spec.out);
      set(op.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.data()));
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        launch(i, scratch.x.data(), scratch.residual.data(), scratch.y.data(), scratch.workspace.data(), stream);
        CUDA_CHECK(cudaStreamSynchronize(stream));
        const HostTensor first_row({Shape{spec.n}, spec.out});
        scratch.y.download(first_row.data(), first_row.bytes());
        const std::vector<float> got = first_row.floats();
        for (std::size_t j = 0; j < n; ++j) right[i] = right[i] && is_right(got[j], values[j]);
      }
    }
    set(op.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, spec.bias);
    std::size_t index = 0;
    std::erase_if(candidates, [&](const auto&) { return !right[index++]; });
  }

  // Keeps the candidates that add bias and residual before the one rounding of a 16-bit result. (Where rows of y are not multiples of
  // 16 bytes, some kernels round the product first.) Tried with a product t^2 = 1 + 2e + e^2, e one unit of T above 1: with
  // -(1 + 2e) added, e^2 is left, or nothing if the product was rounded before; then comes the activation.
  void keep_single_roundings(const Scratch& scratch, cudaStream_t stream) {
    const float unit = static_cast<float>(2 * unit_roundoff(spec.out)), t = 1 + unit, off = -(1 + 2 * unit);
    const double expected = activate(spec.activation, static_cast<double>(unit) * unit);
    const std::size_t n = static_cast<std::size_t>(spec.n);
    std::uint16_t bits = 0;
    store_element(spec.in, &bits, 0, t);
    const DeviceBuffer probe_w(n * static_cast<std::size_t>(spec.ldw) * size_of(spec.in));
    const auto fill_first_column = [&](const DeviceBuffer& matrix, std::int64_t ld, std::int64_t rows) {
      CUDA_CHECK(cudaMemsetAsync(matrix.data(), 0, matrix.bytes(), stream));
      for (int byte = 0; byte < 2; ++byte) {
        CUDA_CHECK(cudaMemset2DAsync(matrix.as<char>() + byte, static_cast<std::size_t>(ld) * 2, bits >> (8 * byte) & 0xFF, 1,
                                     static_cast<std::size_t>(rows), stream));
      }
    };
    fill_first_column(scratch.x, spec.ldx, spec.m);
    fill_first_column(probe_w, spec.ldw, spec.n);
    const DeviceBuffer bias = to_device(std::vector<float>(n, spec.bias != nullptr ? off : 0.0F), spec.out);
    if (spec.bias != nullptr) set(op.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.data()));
    if (spec.residual && spec.bias == nullptr) {
      const DeviceBuffer row = to_device(std::vector<float>(n, off), spec.out);
      CUDA_CHECK(cudaMemcpyAsync(scratch.residual.data(), row.data(), row.bytes(), cudaMemcpyDeviceToDevice, stream));
    }
    const void* const own_w = std::exchange(w, probe_w.data());
    std::size_t index = 0;
    std::vector<bool> right;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      launch(i, scratch.x.data(), scratch.residual.data(), scratch.y.data(), scratch.workspace.data(), stream);
      CUDA_CHECK(cudaStreamSynchronize(stream));
      const HostTensor first_row({Shape{spec.n}, spec.out});
      scratch.y.download(first_row.data(), first_row.bytes());
      const std::vector<float> got = first_row.floats();
      right.push_back(std::all_of(got.begin(), got.end(), [&](float v) { return std::abs(v - expected) <= 0.1 * expected; }));
    }
    w = own_w;
    if (spec.bias != nullptr) set(op.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, spec.bias);
    if (spec.residual) CUDA_CHECK(cudaMemsetAsync(scratch.residual.data(), 0, scratch.residual.bytes(), stream));
    CUDA_CHECK(cudaMemsetAsync(scratch.x.data(), 0, scratch.x.bytes(), stream));
    std::erase_if(candidates, [&](const auto&) { return !right[index++]; });
  }

  void choose_fastest(const Scratch& scratch, cudaStream_t stream) {
    // Numbers near one, so that the sums are neither zero nor overflow; 0x3C3C is 1.06 in f16, 0.011 in bf16 and f32.
    CUDA_CHECK(cudaMemsetAsync(scratch.x.data(), 0x3C, scratch.x.bytes(), stream));
    if (w == nullptr) CUDA_CHECK(cudaMemsetAsync(scratch.w.data(), 0x3C, scratch.w.bytes(), stream));
    const void* const own_w = w != nullptr ? w : scratch.w.data();
    std::vector<std::function<void()>> runs;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      runs.emplace_back([&, i, own_w] {
        launch_with(i, scratch.x.data(), own_w, scratch.residual.data(), scratch.y.data(), scratch.workspace.data(), stream);
      });
    }
    chosen = fastest(stream, runs);
  }
};

LtMatmul::LtMatmul(std::unique_ptr<State> state) : state_(std::move(state)) {}
LtMatmul::LtMatmul(LtMatmul&&) noexcept = default;
LtMatmul& LtMatmul::operator=(LtMatmul&&) noexcept = default;
LtMatmul::~LtMatmul() = default;

std::optional<LtMatmul> LtMatmul::plan(const LtMatmulSpec& spec, const void* w, const PrepareArgs& args) {
  if (lt_library() == nullptr) return std::nullopt;
  auto state = std::make_unique<State>(spec, w, args);
  state->find_candidates(args.device->compute_capability);
  // Another process, and another layer of the same shape, gets the same algorithm and so the same bits; and it need not wait.
  const std::string machine = tuned_machine(*args.device, concat_text("cuBLASLt ", lt().version())), key = state->key();
  if (args.tune) {
    const auto known = tuning_cache().find(machine, key);
    if (known && state->keep_remembered(*known)) {
      if (state->candidates.empty()) return std::nullopt;
      return LtMatmul(std::move(state));
    }
  }
  const bool rounds = spec.out != DType::f32 && (spec.bias != nullptr || spec.residual);
  if (!args.tune && !rounds && !state->candidates.empty() && spec.activation == Activation::none)
    state->candidates.erase(state->candidates.begin() + 1, state->candidates.end());
  if (rounds || spec.activation != Activation::none || state->candidates.size() > 1) {
    const State::Scratch scratch = state->make_scratch(args.stream);
    if (rounds) state->keep_single_roundings(scratch, args.stream);
    if (spec.activation != Activation::none) state->keep_right_activations(scratch, args.stream);
    if (args.tune && state->candidates.size() > 1) state->choose_fastest(scratch, args.stream);
    CUDA_CHECK(cudaStreamSynchronize(args.stream));
  }
  if (args.tune) {
    const bool none = state->candidates.empty();
    tuning_cache().store(machine, key, none ? kNone : algorithm_text(state->candidates[state->chosen].algo));
  }
  if (state->candidates.empty()) return std::nullopt;
  return LtMatmul(std::move(state));
}

void LtMatmul::launch(const void* x, const void* residual, void* y, void* workspace, cudaStream_t stream) const {
  state_->launch(state_->chosen, x, residual, y, workspace, stream);
}

void LtMatmul::launch_with(const void* x, const void* w, void* y, void* workspace, cudaStream_t stream) const {
  state_->launch_with(state_->chosen, x, w, nullptr, y, workspace, stream);
}

std::string LtMatmul::library_version() {
  if (lt_library() == nullptr) return {};
  const std::size_t v = lt().version();
  return concat_text(v / 10000, '.', v / 100 % 100, '.', v % 100);
}

std::size_t LtMatmul::workspace_bytes() const { return state_->candidates[state_->chosen].workspaceSize; }

std::string LtMatmul::describe() const {
  const LtMatmulSpec& s = state_->spec;
  int id = -1;
  std::size_t written = 0;
  LT_CHECK(lt().get_algorithm(&state_->candidates[state_->chosen].algo, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, &written));
  std::string text = concat_text("cublasLt algo ", id);
  text += state_->remembered ? " (tuned, from the cache)" : concat_text(" (", state_->chosen + 1, " of ", state_->candidates.size(), ")");
  if (s.in == DType::f32 && s.allow_tf32) text += ", tf32";
  if (s.bias != nullptr) text += ", bias";
  if (s.residual) text += ", residual";
  if (s.batch > 1) text += concat_text(", batch of ", s.batch);
  if (s.activation != Activation::none) text += concat_text(", ", name(s.activation));
  return text;
}

}  // namespace frieze::cuda
