#include <frieze/layers/concat/concat.h>

#include <frieze/core/error.h>

namespace frieze {

Inferred Concat::infer(std::span<const TensorSpec> in) const {
  check<ShapeError>(!in.empty(), type_name(), " takes at least 1 input, got 0");
  check_any_inputs(type_name(), in, in.size());
  const Shape& first = in[0].shape;
  check<ShapeError>(first.rank() >= 2, type_name(), " expects rank 2 or more as [N,C,...], got ", first, " of rank ", first.rank());
  std::int64_t channels = 0;
  for (const TensorSpec& x : in) {
    check<ShapeError>(x.shape.rank() == first.rank() && x.shape.with(1, first[1]) == first, type_name(),
                      " expects inputs that differ along axis 1 only, got ", first, " and ", x.shape);
    channels = checked_add(channels, x.shape[1], "channels");
  }
  return elementwise_cost(in, {first.with(1, channels), in[0].dtype}, 0);
}

void Concat::reference(const ReferenceArgs& args) const {
  TensorView part = args.out[0];
  std::int64_t channel = 0;
  for (const TensorView& x : args.in) {
    part.shape = x.shape;
    part.data = args.out[0].as<char>() + channel * args.out[0].stride(1) * static_cast<std::int64_t>(size_of(args.out[0].dtype));
    convert(x, part);
    channel += x.shape[1];
  }
}

Value concat(const std::vector<Value>& values, SourceLine where) { return apply(std::make_shared<Concat>(), "concat", values, where); }

}  // namespace frieze
