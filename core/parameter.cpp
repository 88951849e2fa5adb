#include <frieze/core/parameter.h>

#include <cmath>
#include <limits>
#include <mutex>

namespace frieze {

Init Init::fan_in(std::int64_t fan_in) { return {0, 1 / std::sqrt(static_cast<double>(fan_in))}; }

// Sessions of several threads may read the same unfilled values for the first time at once.
const std::vector<float>& ParameterValues::get() const {
  static std::mutex mutex;
  if (filled_) return *data_;
  const std::lock_guard lock(mutex);
  if (data_ == nullptr) data_ = std::make_shared<std::vector<float>>(count_, value_);
  return *data_;
}

ParameterValues& ParameterValues::operator=(std::vector<float> values) {
  data_ = std::make_shared<std::vector<float>>(std::move(values));
  filled_ = true;
  by_element_ = false;
  return *this;
}

std::vector<float>& ParameterValues::own() {
  if (!filled_) {
    data_ = std::make_shared<std::vector<float>>(count_, std::numeric_limits<float>::quiet_NaN());
    filled_ = by_element_ = true;
  } else if (data_.use_count() > 1) {
    data_ = std::make_shared<std::vector<float>>(*data_);
  }
  return *data_;
}

std::vector<float> Parameter::rounded(DType t) const {
  std::vector<float> out(values.get());
  if (t != DType::f32) {
    for (float& v : out) v = round_to(t, v);
  }
  return out;
}

}  // namespace frieze
