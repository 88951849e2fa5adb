#pragma once
/// Loops inside a model: a body that is traced once and runs a fixed number of times, on a GPU in one launch of the graph.
#include <functional>
#include <string>
#include <vector>

#include <frieze/core/value.h>

namespace frieze FRIEZE_API {

/// Numbers of which iteration i is given row i: coefficients of a sampler, embeddings of its time steps. Computed while the model is
/// traced.
struct LoopTable {
  Shape row;                  ///< shape of one row, as the body sees it
  std::vector<float> values;  ///< iterations * row.elements() numbers, row after row; rounded to `dtype`
  DType dtype = DType::f32;   ///< a type of floats
};

struct LoopInputs {
  std::vector<Value> carried = {};     ///< the first iteration's; each later one is given what the body made of them
  std::vector<Value> given = {};       ///< the same in every iteration
  std::vector<LoopTable> tables = {};  ///< a row for each iteration
};

/// What the body is given, in the order of LoopInputs.
struct LoopValues {
  std::vector<Value> carried, given, rows;
};
/// Gives the next `carried`: as many values, of the same shapes and types. It may use no value of the model but those that it is given.
using LoopBody = std::function<std::vector<Value>(const LoopValues&)>;

/// carried_{i+1} = body(carried_i, given, row i) for i = 0 … iterations - 1; gives carried_iterations. One step of the plan, whose layer is
/// Repeat (graph/repeat.h). On a GPU the body becomes a WHILE node of the graph where all its steps build nodes and the driver has such
/// nodes (CUDA 12.4), else its steps stand in the graph as often as it runs; both give the same bits, and the receipt says which.
/// Throws OptionError if iterations < 1, nothing is carried, the body makes other values than it is given or uses others of the model, or a
/// table has another number of values; ShapeError, DTypeError as the body's layers do.
/// The loop's own messages end with the program's line; those of the body's layers name their own.
std::vector<Value> repeat(int iterations, const LoopInputs& inputs, const LoopBody& body, SourceLine where = SourceLine::here());
/// The same with one value and nothing else.
Value repeat(int iterations, Operand x, const std::function<Value(Value)>& body);

}  // namespace FRIEZE_API
