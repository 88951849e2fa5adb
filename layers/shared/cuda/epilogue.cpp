#include <frieze/layers/shared/cuda/epilogue.h>

#include <frieze/core/error.h>

namespace frieze::cuda {

EpilogueArgs make_epilogue(std::span<const EpilogueOp> ops, std::span<const TensorView> operands) {
  check<CudaError>(ops.size() <= EpilogueArgs::kMaxOps, "an epilogue has at most ", EpilogueArgs::kMaxOps, " operations, got ", ops.size());
  EpilogueArgs args;
  std::size_t next = 0;
  for (const EpilogueOp& op : ops) {
    EpilogueArgs::Op& out = args.ops[args.count++];
    out.kind = op.kind;
    out.activation = op.activation;
    out.parameter = op.parameter;
    if (op.kind == EpilogueOp::Kind::activation) continue;
    check<CudaError>(next < operands.size(), "an epilogue of ", ops.size(), " operations lacks an operand: got ", operands.size());
    out.operand = operands[next++].data;
  }
  check<CudaError>(next == operands.size(), "an epilogue takes ", next, " operands, got ", operands.size());
  return args;
}

}  // namespace frieze::cuda
