#pragma once
/// The worst share of the error budget per layer and type, kept for the whole test program.
#include <string>
#include <string_view>

#include <frieze/graph/verify.h>
#include "support/parity.h"

namespace frieze::test {

/// Adds one finished case; `device` is the GPU's name, empty if it is not known. `passed` covers fences, replays and inputs too, not only
/// the values.
void record_parity(std::string_view layer, DType dtype, std::string_view device, const ParityCase& c, const ParityReport& report,
                   bool passed);

inline ParityReport to_report(const Difference& d) { return {d}; }

}  // namespace frieze::test
