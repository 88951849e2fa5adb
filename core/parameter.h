#pragma once
/// Parameter: one named tensor of weights, and the values that it shares with what was compiled from it.
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include <frieze/core/api.h>
#include <frieze/core/tensor.h>

namespace frieze FRIEZE_API {

/// How deterministic random initialisation fills a parameter: uniform in [center - spread, center + spread].
struct Init {
  double center = 0;
  double spread = 0;
  /// The usual bound for weights that are summed over `fan_in` products: 1/sqrt(fan_in).
  static Init fan_in(std::int64_t fan_in);
  static Init around(double center, double spread) { return {center, spread}; }
};

/// The values of a parameter: a vector of floats that copies share until one of them is written to (copy on write). So a plan or a session
/// holds the values that were there when it was made, at no cost, and later writes to the model do not reach it.
/// Values are unfilled until something is assigned or written. Unfilled ones read as `count` times `value`. A write to single elements
/// of unfilled values starts from NaN, so that what was never set shows.
class ParameterValues {
 public:
  using value_type = float;
  using iterator = std::vector<float>::iterator;
  using const_iterator = std::vector<float>::const_iterator;

  ParameterValues() = default;
  /// Unfilled.
  ParameterValues(std::size_t count, float value) : count_(count), value_(value) {}

  /// False until a value was assigned or written.
  bool filled() const { return filled_; }
  /// True if elements were written one by one: only then can some have been left out.
  bool by_element() const { return by_element_; }

  std::size_t size() const { return filled_ ? data_->size() : count_; }
  bool empty() const { return size() == 0; }
  const std::vector<float>& get() const;
  operator const std::vector<float>&() const { return get(); }  // NOLINT: reads like the vector that it is
  const float* data() const { return get().data(); }
  const_iterator begin() const { return get().begin(); }
  const_iterator end() const { return get().end(); }
  const float& operator[](std::size_t i) const { return get()[i]; }
  const float& front() const { return get().front(); }
  const float& back() const { return get().back(); }

  ParameterValues& operator=(std::vector<float> values);
  ParameterValues& operator=(std::initializer_list<float> values) { return *this = std::vector<float>(values); }
  void assign(std::size_t count, float value) { *this = std::vector<float>(count, value); }
  float* data() { return own().data(); }
  iterator begin() { return own().begin(); }
  iterator end() { return own().end(); }
  float& operator[](std::size_t i) { return own()[i]; }
  float& front() { return own().front(); }
  float& back() { return own().back(); }

  friend bool operator==(const ParameterValues& a, const ParameterValues& b) { return a.get() == b.get(); }
  friend bool operator==(const ParameterValues& a, const std::vector<float>& b) { return a.get() == b; }

 private:
  std::vector<float>& own();

  std::size_t count_ = 0;  // of unfilled values
  float value_ = 0;
  mutable std::shared_ptr<std::vector<float>> data_;  // null: unfilled, and nobody has read it
  bool filled_ = false, by_element_ = false;
};

/// One named tensor of weights in host memory, kept in f32. A run in f16 or bf16 rounds it once to that type.
struct Parameter {
  std::string name;
  Shape shape;
  Init init;
  std::vector<std::string> aliases;  ///< other names a checkpoint may use, e.g. "gamma"
  bool squeeze = false;              ///< also accept shapes that differ by extents of 1, e.g. [C,1,1] for [C]
  ParameterValues values;            ///< row-major; filled by load(), init_random() or the user

  /// The values rounded to T (and widened again): what both the reference and the kernels compute with.
  std::vector<float> rounded(DType t) const;
};

}  // namespace FRIEZE_API
