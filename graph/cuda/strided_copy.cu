#include <algorithm>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/fault.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/graph/cuda/strided_copy.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr int kBlock = 256;

// Axes, fastest in `to` first.
struct CopyAxes {
  std::int64_t count = 1;
  int rank = 0;
  std::int64_t extent[Shape::kMaxRank]{}, from[Shape::kMaxRank]{}, to[Shape::kMaxRank]{};
};

template <class E>
__global__ void __launch_bounds__(kBlock) copy_element_per_thread(const E* from, E* to, const std::int32_t* counter, std::int32_t iteration,
                                                                  const __grid_constant__ CopyAxes axes) {
  if (counter != nullptr && *counter != iteration) return;
  const std::int64_t index = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (index >= axes.count) return;
  std::int64_t rest = index, source = 0, target = 0;
  for (int i = 0; i < axes.rank; ++i) {
    const std::int64_t next = rest / axes.extent[i], at = rest - next * axes.extent[i];
    source += at * axes.from[i];
    target += at * axes.to[i];
    rest = next;
  }
  to[target] = from[source];
}

// Neighbouring axes that are one run of memory in both views become one.
CopyAxes axes_of(const TensorView& from, const TensorView& to) {
  int order[Shape::kMaxRank];
  int rank = 0;
  for (int axis = to.shape.rank() - 1; axis >= 0; --axis) {
    if (to.shape[axis] > 1) order[rank++] = axis;
  }
  std::stable_sort(order, order + rank, [&](int a, int b) { return to.stride(a) < to.stride(b); });
  CopyAxes axes;
  for (int i = 0; i < rank; ++i) {
    const std::int64_t extent = to.shape[order[i]], source = from.stride(order[i]), target = to.stride(order[i]);
    axes.count *= extent;
    const int last = axes.rank - 1;
    if (last >= 0 && source == axes.from[last] * axes.extent[last] && target == axes.to[last] * axes.extent[last]) {
      axes.extent[last] *= extent;
      continue;
    }
    axes.extent[axes.rank] = extent;
    axes.from[axes.rank] = source;
    axes.to[axes.rank++] = target;
  }
  return axes;
}

template <class Body>
void dispatch_bits(std::size_t bytes, Body&& body) {
  if (bytes == 8) return body(std::uint64_t{});
  if (bytes == 4) return body(std::uint32_t{});
  body(std::uint16_t{});
}

void launch(const TensorView& from, const TensorView& to, const std::int32_t* counter, std::int32_t iteration, cudaStream_t stream) {
  const CopyAxes axes = axes_of(from, to);
  dispatch_bits(size_of(to.dtype), [&](auto e) {
    using E = decltype(e);
    launch_kernel(&copy_element_per_thread<E>, grid_of(ceil_div<std::int64_t>(axes.count, kBlock)), dim3(kBlock), 0, stream,
                  from.as<const E>(), to.as<E>(), counter, iteration, axes);
  });
}

}  // namespace

void launch_strided_copy(const TensorView& from, const TensorView& to, cudaStream_t stream) { launch(from, to, nullptr, 0, stream); }

void launch_strided_copy_in(const std::int32_t* counter, std::int32_t iteration, const TensorView& from, const TensorView& to,
                            cudaStream_t stream) {
  launch(from, to, counter, iteration, stream);
}

HostTensor read_view(const TensorView& from, const TensorSpec& spec, cudaStream_t stream) {
  HostTensor out(spec);
  DeviceBuffer packed;
  const void* contiguous = from.data;
  if (!from.is_contiguous(spec.format)) {
    packed = DeviceBuffer(out.bytes());
    launch_strided_copy(from, TensorView(packed.data(), spec), stream);
    contiguous = packed.data();
  }
  CUDA_CHECK_AT("cudaMemcpyAsync", cudaMemcpyAsync(out.data(), contiguous, out.bytes(), cudaMemcpyDeviceToHost, stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
  return out;
}

void preload_strided_copy() {
  for (const std::size_t bytes : {2, 4, 8}) {
    dispatch_bits(bytes, [](auto e) { preload(reinterpret_cast<const void*>(&copy_element_per_thread<decltype(e)>)); });
  }
}

}  // namespace frieze::cuda
