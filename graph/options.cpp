#include <frieze/graph/options.h>

#include <charconv>

#include <frieze/core/error.h>
#include <frieze/graph/executor.h>

namespace frieze {

Device Device::cpu() { return Device(cpu_backend()); }
Device Device::reference() { return Device(reference_backend()); }
Device Device::cuda(int index) { return Device(cuda_backend(index)); }
int Device::cuda_count() { return cuda_device_count(); }
bool Device::is_cuda() const { return backend().is_cuda(); }
bool Device::is_reference() const { return backend().is_reference(); }
std::string Device::name() const { return backend().name(); }

const Backend& Device::backend() const {
  check<OptionError>(backend_ != nullptr, "this device was moved from");
  return *backend_;
}

Device Device::parse(std::string_view text) {
  if (text == "cpu") return cpu();
  if (text == "reference") return reference();
  if (text == "cuda") return cuda(0);
  if (text.starts_with("cuda:")) {
    const std::string_view digits = text.substr(5);
    int index = -1;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (status == std::errc() && end == digits.data() + digits.size() && index >= 0) return cuda(index);
  }
  throw OptionError(concat_text("unknown device '", text, "': expected cpu, reference, cuda or cuda:N"));
}

}  // namespace frieze
