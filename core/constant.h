#pragma once
/// Parameters and constants as values: what a forward uses that is no input and that no layer makes.
#include <memory>
#include <string>
#include <vector>

#include <frieze/core/parameter.h>
#include <frieze/core/value.h>

namespace frieze FRIEZE_API {

/// A parameter as a value of the forward that is being traced, e.g. `return x + value_of(position_)`. Steps read it where it lies: it is
/// rounded to its type and put into memory once, when a session is made, beside the weights, and costs no step. Sessions of one model
/// share that memory on a GPU. The values are those at the time of the trace. Without `dtype` it has the type of the model's first input
/// that is no integer, else f32.
/// Throws OptionError outside of a trace, DTypeError for a type of integers. A parameter without values, or one that the model does not
/// know by add_parameter(), is refused by compile(), as those of layers are.
Value value_of(const Parameter& parameter, SourceLine where = SourceLine::here());
Value value_of(const Parameter& parameter, DType dtype, SourceLine where = SourceLine::here());

/// The values of a tensor, in its own type, integers too. Throws OptionError outside of a trace, ShapeError for a tensor without elements.
Value constant(const HostTensor& tensor, SourceLine where = SourceLine::here());
/// Row-major values, rounded to `dtype`, or to the type that value_of() takes. Throws also ShapeError on a wrong count.
Value constant(const Shape& shape, const std::vector<float>& values, SourceLine where = SourceLine::here());
Value constant(const Shape& shape, const std::vector<float>& values, DType dtype, SourceLine where = SourceLine::here());

/// What a tracer is told of such a value.
struct Constant {
  TensorSpec spec;
  ParameterValues values = {};                           ///< of floats
  std::shared_ptr<const HostTensor> integers = nullptr;  ///< of integers
  const Parameter* parameter = nullptr;                  ///< what it is of, or none
};

}  // namespace FRIEZE_API
