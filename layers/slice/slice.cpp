#include <frieze/layers/slice/slice.h>

#include <frieze/core/error.h>

namespace frieze {

Slice::Slice(std::int64_t begin, std::int64_t end) : begin_(begin), end_(end) {
  check<OptionError>(0 <= begin && begin < end, "Slice expects 0 <= begin < end, got [", begin, ",", end, ")");
}

Inferred Slice::infer(std::span<const TensorSpec> in) const {
  check_any_inputs(type_name(), in, 1);
  const Shape& x = in[0].shape;
  check<ShapeError>(x.rank() >= 2, type_name(), " expects rank 2 or more as [N,C,...], got ", x, " of rank ", x.rank());
  check<ShapeError>(end_ <= x[1], type_name(), " expects at least ", end_, " channels for [", begin_, ",", end_, "), got ", x[1], " (x ", x,
                    ")");
  const TensorSpec out{x.with(1, end_ - begin_), in[0].dtype};
  return {out, 0, 2 * static_cast<double>(out.bytes())};
}

void Slice::reference(const ReferenceArgs& args) const {
  TensorView part = args.in[0];
  part.shape = args.out[0].shape;
  part.data = part.as<char>() + begin_ * part.stride(1) * static_cast<std::int64_t>(size_of(part.dtype));
  convert(part, args.out[0]);
}

std::string Slice::describe() const { return concat_text("channels [", begin_, ",", end_, ")"); }

Value slice(Operand x, std::int64_t begin, std::int64_t end) { return apply_new<Slice>("slice", {x}, begin, end); }

std::vector<Value> chunk(Operand x, std::int64_t n) {
  std::int64_t length = 0;
  check_at("chunk", x, [&] {
    const Shape& shape = x.value.shape();
    check<OptionError>(n >= 1, "chunk expects at least 1 part, got ", n);
    check<ShapeError>(shape.rank() >= 2 && shape[1] % n == 0, "chunk expects channels that ", n, " divides, got x ", shape);
    length = shape[1] / n;
  });
  std::vector<Value> parts;
  for (std::int64_t i = 0; i < n; ++i) parts.push_back(slice(x, i * length, (i + 1) * length));
  return parts;
}

}  // namespace frieze
