#include <frieze/graph/cuda/constants.h>

namespace frieze::cuda {

std::map<int, DeviceBuffer> upload_constants(const Plan& plan, std::map<int, void*>& at, std::int64_t& bytes) {
  std::map<int, DeviceBuffer> buffers;
  for (const PlanConstant& c : plan.constants) {
    const HostTensor tensor = constant_tensor(plan, c);
    const TensorSpec& spec = tensor.spec();
    // Floats in the order in which they lie, whatever the format is.
    DeviceBuffer buffer = is_integer(spec.dtype)
                              ? to_device(tensor.data(), tensor.bytes())
                              : to_device(to_floats(TensorView(tensor.data(), {Shape{spec.shape.elements()}, spec.dtype})), spec.dtype);
    at[c.value] = buffer.data();
    bytes += static_cast<std::int64_t>(buffer.bytes());
    buffers.emplace(c.value, std::move(buffer));
  }
  return buffers;
}

}  // namespace frieze::cuda
