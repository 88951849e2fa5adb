#include <frieze/models/quickstart.h>

namespace frieze {

void sharpen(Quickstart& model) {
  model.visit_parameters([](const std::string& key, Parameter& p) {
    const bool norm = key.ends_with("norm.weight"), stem = key == "stem.weight";
    p.values.assign(static_cast<std::size_t>(p.shape.elements()), norm ? 1.0f : 0.0f);
    // Channels 2i and 2i + 1 carry +detail and -detail of colour i: silu(d) - silu(-d) = d. Channels 6 to 15 are constant,
    // so that the root mean square, which the norm divides by, has a floor and flat areas stay flat.
    for (int c = 6; key == "stem.bias" && c < 16; ++c) p.values[static_cast<std::size_t>(c)] = 0.06f;
    if (p.shape.rank() != 4) return;
    const auto k = p.shape.h(), middle = (k * k) / 2;
    const auto set = [&](std::int64_t out, std::int64_t in, std::int64_t tap, double v) {
      p.values[static_cast<std::size_t>((out * p.shape.c() + in) * k * k + tap)] = static_cast<float>(v);
    };
    for (int i = 0; i < 6; ++i) {
      const double sign = i % 2 == 0 ? 1 : -1;
      for (int tap = 0; stem && tap < 25; ++tap) set(i, i / 2, tap, sign * ((tap == middle) - 1 / 25.0));  // x minus its mean
      if (key.ends_with("conv1.weight")) set(i, i, middle, 1);
      if (key.ends_with("conv2.weight")) set(i, i, middle, 0.03), set(i, i ^ 1, middle, -0.03);
      if (key == "head.weight") set(i / 2, i, middle, sign * 0.5);
    }
  });
}

}  // namespace frieze
