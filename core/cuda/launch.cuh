#pragma once
/// Kernel launches, and the device-side helpers that every kernel shares: widening loads, single-rounding stores,
/// activations, dependent launch. For .cu files only.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include <frieze/core/cuda/checked_call.h>
#include <frieze/core/cuda/graph_nodes.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/integers.h>
#include <frieze/core/layer.h>

namespace frieze::cuda {

using frieze::ceil_div;  // for layers that name it with this namespace

/// The only place that launches, or adds a node while the thread records (core/cuda/graph_nodes.h): a bad launch is reported here, not
/// three layers later. `shared_bytes`: up to what the device allows; any number of threads may launch one kernel with different sizes. A
/// dependent launch is asked for only where the kernel's code for this device has the wait. Throws CudaError.
template <class... P, class... A>
void launch_kernel(void (*kernel)(P...), const LaunchShape& shape, cudaStream_t stream, A... args) {
  const auto* const function = reinterpret_cast<const void*>(kernel);
  if (shape.shared_bytes > 0) allow_shared_memory(function, shape.shared_bytes);
  if (GraphNodes* const nodes = recorded_nodes()) {
    const auto add = [&](P... converted) {
      void* pointers[] = {const_cast<void*>(static_cast<const void*>(&converted))..., nullptr};
      nodes->add_kernel(function, shape, pointers);
    };
    return add(P(args)...);
  }
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  if (shape.cluster > 1) {
    cudaLaunchAttribute& cluster = attributes[config.numAttrs++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(shape.cluster);
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  }
  if (shape.dependent && waits_on_device(function)) {
    cudaLaunchAttribute& dependent = attributes[config.numAttrs++];
    dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    dependent.val.programmaticStreamSerializationAllowed = 1;
  }
  FRIEZE_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, P(args)...));
}

/// As above, with nothing but grid and block to say.
template <class... P, class... A>
void launch_kernel(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream, A... args) {
  launch_kernel(kernel, LaunchShape{.grid = grid, .block = block, .shared_bytes = shared_bytes}, stream, args...);
}

/// A grid of that many blocks along x. Throws CudaError where a cast to 32 bits would leave some out.
inline dim3 grid_of(std::int64_t blocks) {
  check<CudaError>(blocks >= 1 && blocks <= 0x7FFFFFFF, "a launch of ", blocks, " blocks: a grid takes 1 to 2^31 - 1");
  return dim3(static_cast<unsigned>(blocks));
}

/// Calls body(T{}) with the C++ element type of `t`: float, __half or __nv_bfloat16.
template <class Body>
decltype(auto) dispatch(DType t, Body&& body) {
  switch (t) {
    case DType::f16: return body(__half{});
    case DType::bf16: return body(__nv_bfloat16{});
    default: return body(float{});
  }
}

__device__ __forceinline__ float widen(float v) { return v; }
__device__ __forceinline__ float widen(__half v) { return __half2float(v); }
__device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }

/// One rounding to nearest even.
template <class T>
__device__ __forceinline__ T narrow(float v);
template <>
__device__ __forceinline__ float narrow<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ __half narrow<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

/// N elements of T that move with one instruction when 4, 8 or 16 bytes long and aligned so.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};

/// The functions of frieze::activate that models use rarely. Out of line: kernels that apply chains hold the code once, behind a call that
/// others do not make.
__device__ __noinline__ inline float activate_rare(Activation a, float x, float parameter) {
  switch (a) {
    case Activation::tanh: return tanhf(x);
    case Activation::softplus: return x > 20.0F ? x : log1pf(expf(x));
    case Activation::mish: {  // see core/layer.cpp; above 20 the quotient is 1
      if (x > 20.0F) return x;
      const float e = expf(x), n = e * (e + 2.0F);
      return x == -INFINITY ? -0.0F : x * (n / (n + 2.0F));
    }
    case Activation::hardsigmoid: return x <= -3.0F ? 0.0F : x >= 3.0F ? 1.0F : (x + 3.0F) / 6.0F;
    case Activation::hardswish: return x <= -3.0F ? -0.0F : x >= 3.0F ? x : x * ((x + 3.0F) / 6.0F);
    case Activation::leaky_relu: return x < 0.0F ? parameter * x : x;
    case Activation::elu: return x < 0.0F ? parameter * expm1f(x) : x;
    default: return x;
  }
}

/// The same functions as frieze::activate, in f32. -inf gives the limit (-0), never NaN.
__device__ __forceinline__ float activate(Activation a, float x, float parameter = 0.0F) {
  switch (a) {
    case Activation::relu: return x < 0.0F ? 0.0F : x;
    case Activation::silu: return x == -INFINITY ? -0.0F : x / (1.0F + expf(-x));
    case Activation::gelu: return x == -INFINITY ? -0.0F : 0.5F * x * erfcf(-x * 0.70710678F);
    case Activation::gelu_tanh: {
      if (x == -INFINITY) return -0.0F;
      // 0.5 * (1 + tanh(u)) = 1 / (1 + exp(-2u)), without the cancellation that leaves no digit below x = -4.
      return x / (1.0F + expf(-1.59576912F * (x + 0.044715F * x * x * x)));
    }
    case Activation::sigmoid: return 1.0F / (1.0F + expf(-x));
    case Activation::none: return x;
    default: return activate_rare(a, x, parameter);
  }
}

/// Programmatic dependent launch (sm_90 and later; nothing below). pdl_wait() comes before the first access to activations
/// or workspace, reads and writes; pdl_trigger() after the loads, before the stores.
__device__ __forceinline__ void pdl_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
__device__ __forceinline__ void pdl_trigger() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

}  // namespace frieze::cuda
