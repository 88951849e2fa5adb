#pragma once
/// The parity harness in GoogleTest.
#include <gtest/gtest.h>

#include <frieze/testing/parity.h>

namespace frieze::test {

/// First line of every GPU test: skips it, visibly, where there is no GPU.
#define FRIEZE_NEEDS_GPU() \
  if (!::frieze::test::has_gpu()) GTEST_SKIP() << "needs a CUDA device"

/// check_parity() on the GPU, with ADD_FAILURE for each failure.
/// At the end of a test program one line per layer and type tells the worst share of the budget; with FRIEZE_RESULTS_DIR
/// set, parity_<executable>.json in that folder tells the same.
ParityReport expect_parity(const Layer& layer, const ParityCase& c);

}  // namespace frieze::test
