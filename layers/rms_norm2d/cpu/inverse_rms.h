#pragma once
/// The one place where RMSNorm2d's eps modes are a formula on the CPU.
#include <cmath>

#include <frieze/layers/rms_norm2d/rms_norm2d.h>

namespace frieze {

/// 1/rms as `mode` defines it, of a sum of squares over `c` channels. Zero for a pixel of zeros where the formula is 0/0.
inline double inverse_rms(EpsMode mode, double eps, double sum, double c) {
  const double ms = sum / c;
  double rms = 0;
  switch (mode) {
    case EpsMode::add_inside: rms = std::sqrt(ms + eps); break;
    case EpsMode::clamp_norm: rms = sum < eps * eps ? eps / std::sqrt(c) : std::sqrt(ms); break;
    case EpsMode::clamp_mean_square: rms = std::sqrt(ms < eps ? eps : ms); break;
    case EpsMode::add_to_rms: rms = std::sqrt(ms) + eps; break;
    case EpsMode::none: rms = std::sqrt(ms); break;
  }
  return rms == 0 ? 0 : 1 / rms;
}

}  // namespace frieze
