#pragma once
/// Weights and images by formula, so that golden values need no file. The formula is the one that the golden values were made with.
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <frieze/core/weights.h>
#include <frieze/models/dc_ae/checkpoint.h>

namespace frieze::test {

/// FNV-1a, 32 bits.
inline std::uint32_t fnv1a(const std::string& text) {
  std::uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

/// In [0,1): element `i` of the tensor of this name.
inline double formula_unit(std::uint32_t hash, std::uint32_t i) {
  std::uint32_t s = hash ^ (i * 0x9E3779B1U);
  s ^= s >> 16, s *= 0x85EBCA6BU, s ^= s >> 13, s *= 0xC2B2AE35U, s ^= s >> 16;
  return s / 4294967296.0;
}

inline std::vector<float> formula_image(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(2 * formula_unit(fnv1a("input"), static_cast<std::uint32_t>(i)) - 1);
  }
  return values;
}

/// The value of a checkpoint's tensor, by its name in diffusers.
inline std::vector<float> formula_weights(const DcAeTensor& tensor) {
  const std::uint32_t hash = fnv1a(tensor.name);
  const bool matrix = tensor.shape.rank() >= 2;
  const double spread = matrix ? std::sqrt(3.0 / (static_cast<double>(tensor.shape.elements()) / static_cast<double>(tensor.shape[0]))) : 1;
  const bool around_zero = tensor.name.ends_with(".bias") || tensor.name.ends_with(".running_mean");
  std::vector<float> values(static_cast<std::size_t>(tensor.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double u = formula_unit(hash, static_cast<std::uint32_t>(i));
    values[i] = static_cast<float>(matrix ? (2 * u - 1) * spread : around_zero ? 0.25 * (2 * u - 1) : 0.5 + u);
  }
  return values;
}

inline std::map<std::string, HostTensor> formula_checkpoint(const DcAe& model) {
  std::map<std::string, HostTensor> tensors;
  for (const DcAeTensor& t : dc_ae_tensors(model)) {
    tensors.emplace(t.name, HostTensor({t.shape, DType::f32}, formula_weights(t)));
  }
  return tensors;
}

}  // namespace frieze::test
