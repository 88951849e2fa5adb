#include <frieze/core/constant.h>

#include <utility>

#include <frieze/core/error.h>

namespace frieze {

Value Tracer::constant(const Constant&) { throw OptionError("this tracer has no constants"); }

namespace {

// Calls body(tracer); what it throws leaves with the line behind.
template <class Body>
Value traced(std::string_view who, SourceLine where, Body&& body) {
  try {
    return body(current_tracer(who));
  } catch (const Error&) {
    rethrow_with("", *where.file == '\0' ? "" : concat_text(" (", where, ")"));
  }
}

Value parameter_value(Tracer& tracer, const Parameter& parameter, DType dtype) {
  check<DTypeError>(!is_integer(dtype), "value_of: a parameter is of floats, got ", dtype);
  return tracer.constant({.spec = {parameter.shape, dtype}, .values = parameter.values, .parameter = &parameter});
}

Value float_constant(Tracer& tracer, const Shape& shape, const std::vector<float>& values, DType dtype) {
  check<DTypeError>(!is_integer(dtype), "constant: expected a type of floats, got ", dtype);
  check<ShapeError>(static_cast<std::int64_t>(values.size()) == shape.elements() && !values.empty(), "constant: ", shape, " takes ",
                    shape.elements(), " values and at least one, got ", values.size());
  Constant constant{.spec = {shape, dtype}};
  constant.values = values;
  return tracer.constant(constant);
}

}  // namespace

Value value_of(const Parameter& parameter, SourceLine where) {
  return traced("value_of", where, [&](Tracer& tracer) { return parameter_value(tracer, parameter, tracer.run_dtype()); });
}
Value value_of(const Parameter& parameter, DType dtype, SourceLine where) {
  return traced("value_of", where, [&](Tracer& tracer) { return parameter_value(tracer, parameter, dtype); });
}

Value constant(const HostTensor& tensor, SourceLine where) {
  return traced("constant", where, [&](Tracer& tracer) {
    const TensorSpec& spec = tensor.spec();
    check<ShapeError>(tensor.bytes() > 0, "constant: expected a tensor with elements, got ", spec.shape);
    Constant constant{.spec = {spec.shape, spec.dtype}};
    if (is_integer(spec.dtype)) {
      constant.integers = std::make_shared<const HostTensor>(tensor.converted(spec.dtype, Format::nchw));
    } else {
      constant.values = tensor.floats();
    }
    return tracer.constant(constant);
  });
}
Value constant(const Shape& shape, const std::vector<float>& values, SourceLine where) {
  return traced("constant", where, [&](Tracer& tracer) { return float_constant(tracer, shape, values, tracer.run_dtype()); });
}
Value constant(const Shape& shape, const std::vector<float>& values, DType dtype, SourceLine where) {
  return traced("constant", where, [&](Tracer& tracer) { return float_constant(tracer, shape, values, dtype); });
}

}  // namespace frieze
