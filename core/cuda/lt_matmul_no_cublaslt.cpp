// A build without cuBLASLt: there is never a plan, and Gemm takes its own kernels.
#include <frieze/core/cuda/lt_matmul.h>

namespace frieze::cuda {

struct LtMatmul::State {};

LtMatmul::LtMatmul(std::unique_ptr<State> state) : state_(std::move(state)) {}
LtMatmul::LtMatmul(LtMatmul&&) noexcept = default;
LtMatmul& LtMatmul::operator=(LtMatmul&&) noexcept = default;
LtMatmul::~LtMatmul() = default;

std::optional<LtMatmul> LtMatmul::plan(const LtMatmulSpec&, const void*, const PrepareArgs&) { return std::nullopt; }
std::string LtMatmul::library_version() { return {}; }
void LtMatmul::launch(const void*, const void*, void*, void*, cudaStream_t) const {}
void LtMatmul::launch_with(const void*, const void*, void*, void*, cudaStream_t) const {}
std::size_t LtMatmul::workspace_bytes() const { return 0; }
std::string LtMatmul::describe() const { return {}; }

}  // namespace frieze::cuda
