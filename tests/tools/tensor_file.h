#pragma once
/// Tensors of a test, copyable so that they can be written down in a list, and the file that holds them.
#include <map>
#include <string>
#include <vector>

#include <frieze/core/weights.h>

namespace frieze::test {

struct RawTensor {
  Shape shape;
  DType dtype = DType::f32;
  std::vector<float> values;
};
using RawTensors = std::map<std::string, RawTensor>;

inline void save(const std::string& path, const RawTensors& tensors) {
  std::map<std::string, HostTensor> owned;
  for (const auto& [name, t] : tensors) owned.emplace(name, HostTensor({t.shape, t.dtype}, t.values));
  save_safetensors(path, owned);
}

}  // namespace frieze::test
