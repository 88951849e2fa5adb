#pragma once
/// Finds the first step of a model that makes NaN or Inf. Programs call it before they write a result.
#include <span>
#include <string>

#include <frieze/core/api.h>
#include <frieze/graph/session.h>

namespace frieze FRIEZE_API {

/// A model made NaN or Inf from finite inputs.
class NonFiniteError : public Error {
  using Error::Error;
};

/// To be called after a run of `net`, with what it put out and before its inputs change. Finite `output`: returns "" at once. Otherwise
/// runs again with taps, some steps at a time so that at most 256 MiB are observed at once, until the first step is found whose values
/// are not finite, and throws NonFiniteError with its path, its layer, how many values, and which types would hold them. The taps that
/// there were are set again, and hold nothing until the next run.
/// If the inputs hold NaN or Inf themselves, nothing is wrong with the model: returns a sentence that says so.
std::string check_finite(Session& net, std::span<const float> output);

}  // namespace FRIEZE_API
