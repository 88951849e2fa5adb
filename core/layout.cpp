#include <frieze/core/layout.h>

#include <vector>

namespace frieze {

std::optional<std::int64_t> channel_range_step(const Shape& shape, const Strides& strides, Format format) {
  if (shape.rank() < 2) return std::nullopt;
  const bool nhwc = shape.rank() == 4 && format == Format::nhwc;
  std::vector<int> axes;  // fastest first
  if (nhwc) {
    axes = {1, 3, 2, 0};
  } else {
    for (int axis = shape.rank() - 1; axis >= 0; --axis) axes.push_back(axis);
  }
  const std::size_t inner = nhwc ? 1 : axes.size() - 1;  // of the axes, those that are one run of memory
  std::int64_t run = 1, repeats = 1;
  std::optional<std::int64_t> step;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t extent = shape[axes[i]], stride = strides[static_cast<std::size_t>(axes[i])];
    if (extent == 1) continue;
    if (i < inner) {
      if (stride != run) return std::nullopt;
      run *= extent;
    } else {
      if (step && stride != *step * repeats) return std::nullopt;
      if (!step) step = stride;
      repeats *= extent;
    }
  }
  if (step && *step < run) return std::nullopt;
  return step.value_or(run);
}

}  // namespace frieze
