#include <frieze/graph/reformat.h>

namespace frieze {

Inferred Reformat::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  return elementwise_cost(in, {in[0].shape, in[0].dtype}, 0);
}

void Reformat::reference(const ReferenceArgs& args) const { convert(args.in[0], args.out[0]); }

}  // namespace frieze
