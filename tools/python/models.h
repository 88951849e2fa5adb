#pragma once
/// The models that come along, each behind a lock: calls of several threads run one after the other, without the GIL.
#include <mutex>
#include <optional>
#include <string>

#include <frieze/models/autoencoder.h>
#include <frieze/models/denoiser/denoise.h>

#include "tools/python/binding.h"

namespace frieze::python {

class PyAutoencoder {
 public:
  PyAutoencoder(const std::string& path, const std::string& device, const AutoencoderOptions& options);

  /// Arrays on the host of any strides and types; or, if the model is on CUDA, contiguous ones there of its type, used where they lie, on
  /// this stream.
  void run(bool encode, const Array& in, const Output& out, std::uintptr_t stream);
  void enable_tiling(int size, int stride);
  void disable_tiling();
  bool tiles(std::int64_t height, std::int64_t width);
  /// "receipt", "verify" (`number`: seed) or "profile" (rounds) of a part for an input of this shape.
  std::string text(const std::string& what, const std::string& part, const nb::tuple& input, int number);
  nb::dict planned_memory(const std::string& part, const nb::tuple& input);
  std::size_t captures();
  void close();
  const std::string& device() const { return device_.name; }
  const AutoencoderInfo& info() const { return info_; }

 private:
  Autoencoder& model();
  NamedDevice device_;
  AutoencoderInfo info_;
  std::optional<Autoencoder> model_;
  std::mutex mutex_;
  ProcessCheck process_;
};

class PyDenoiser {
 public:
  PyDenoiser(const std::string& device, const DenoiseOptions& options);

  /// [N,3,H,W] in [0,1] on the host. `limit_sigma`: in levels of 255.
  void run(const Array& x, const Output& out, std::optional<double> limit_sigma);
  void close();
  const std::string& device() const { return device_.name; }

 private:
  NamedDevice device_;
  std::optional<PhotoDenoiser> model_;
  std::mutex mutex_;
  ProcessCheck process_;
};

}  // namespace frieze::python
