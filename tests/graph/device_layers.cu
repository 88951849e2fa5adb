#include <array>
#include <thread>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/cuda/launch.cuh>

#include "graph/device_layers.h"

namespace frieze::test {
namespace {

using cuda::dispatch;
using cuda::launch_kernel;
using cuda::LaunchArgs;
using cuda::narrow;
using cuda::PrepareArgs;
using cuda::widen;

constexpr int kMaxChain = 6;

template <class T>
struct Chain {
  int length = 0;
  EpilogueOp op[kMaxChain];
  const T* operand[kMaxChain];
};

template <class T>
__device__ float apply_chain(const Chain<T>& chain, std::int64_t i, float v) {
  for (int k = 0; k < chain.length; ++k) {
    switch (chain.op[k].kind) {
      case EpilogueOp::Kind::activation: v = cuda::activate(chain.op[k].activation, v); break;
      case EpilogueOp::Kind::add: v += widen(chain.operand[k][i]); break;
      case EpilogueOp::Kind::mul: v *= widen(chain.operand[k][i]); break;
    }
  }
  return v;
}

// One thread an element; `image` elements of x make `copies * image` elements of y.
template <class T>
__global__ void times_element_per_thread(const T* x, T* y, std::int64_t count, std::int64_t image, int copies, float factor,
                                         Chain<T> chain) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const std::int64_t from = i / (copies * image) * image + i % image;
  y[i] = narrow<T>(apply_chain(chain, i, factor * widen(x[from])));
}

template <class T>
__global__ void times_to_workspace(const T* x, float* workspace, std::int64_t count, float factor) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) workspace[i] += factor * widen(x[i]);
}

template <class T>
__global__ void workspace_to_output(const float* workspace, T* y, std::int64_t count, Chain<T> chain) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) y[i] = narrow<T>(apply_chain(chain, i, workspace[i]));
}

dim3 blocks_for(std::int64_t count) { return dim3(static_cast<unsigned>(cuda::ceil_div<std::int64_t>(count, 128))); }

class TimesKernel final : public cuda::Kernel {
 public:
  TimesKernel(const Times& layer, const PrepareArgs& args)
      : options_(layer.options()),
        inputs_(1),
        workspace_bytes_(options_.workspace ? static_cast<std::size_t>(args.out[0].shape.elements()) * 4 : 0) {
    check<CudaError>(args.epilogue.size() <= kMaxChain, "Times takes ", kMaxChain, " operations, got ", args.epilogue.size());
    check<CudaError>(!options_.workspace || !options_.large_output, "Times has no kernel for a workspace and a large output");
    ops_.assign(args.epilogue.begin(), args.epilogue.end());
    dispatch(args.out[0].dtype, [](auto t) {
      using T = decltype(t);
      cuda::preload(reinterpret_cast<const void*>(&times_element_per_thread<T>));
      cuda::preload(reinterpret_cast<const void*>(&times_to_workspace<T>));
      cuda::preload(reinterpret_cast<const void*>(&workspace_to_output<T>));
    });
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      Chain<T> chain;
      std::size_t operand = inputs_;
      for (const EpilogueOp& op : ops_) {
        chain.op[chain.length] = op;
        chain.operand[chain.length++] = op.kind == EpilogueOp::Kind::activation ? nullptr : args.in[operand++].template as<const T>();
      }
      const std::int64_t count = args.out[0].shape.elements();
      const T* x = args.in[0].template as<const T>();
      T* y = args.out[0].template as<T>();
      if (!options_.workspace) {
        const std::int64_t image = args.in[0].shape.elements() / args.in[0].shape[0];
        launch_kernel(times_element_per_thread<T>, blocks_for(count), dim3(128), 0, stream, x, y, count, image,
                      options_.large_output ? 2 : 1, options_.factor, chain);
        return;
      }
      auto* workspace = static_cast<float*>(args.workspace);
      CUDA_CHECK(cudaMemsetAsync(workspace, 0, workspace_bytes_, stream));
      launch_kernel(times_to_workspace<T>, blocks_for(count), dim3(128), 0, stream, x, workspace, count, options_.factor);
      launch_kernel(workspace_to_output<T>, blocks_for(count), dim3(128), 0, stream, workspace, y, count, chain);
    });
  }
  std::size_t workspace_bytes() const override { return workspace_bytes_; }
  bool rebindable() const override { return !options_.workspace; }
  std::string describe() const override { return options_.workspace ? "through a workspace" : "element per thread"; }

 private:
  TimesOptions options_;
  std::size_t inputs_, workspace_bytes_;
  std::vector<EpilogueOp> ops_;
};

template <class T>
__device__ T towards_zero(float v) {
  T nearest = narrow<T>(v);
  if (fabsf(widen(nearest)) <= fabsf(v)) return nearest;
  // One unit towards zero: the magnitude is the low bits of the pattern.
  if constexpr (sizeof(T) == 2) {
    *reinterpret_cast<unsigned short*>(&nearest) -= 1;
  }
  return nearest;
}

template <class T>
__global__ void faulty_element_per_thread(const T* x, T* y, float* workspace, unsigned* runs, std::int64_t count, int channels, int width,
                                          int pixels, Fault fault) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  float v = 3 * widen(x[i]);
  if (fault == Fault::drops_last_channel && i / pixels % channels == channels - 1) return;
  if (fault == Fault::misses_border && i % width == width - 1) return;
  if (fault == Fault::reads_stale) v += workspace[i];
  if (fault == Fault::traps_on_nan && i == 0 && isnan(v)) __trap();
  if (fault == Fault::counts_launches && i == 0) v += static_cast<float>(++*runs);
  y[i] = fault == Fault::truncates ? towards_zero<T>(v) : narrow<T>(v);
}

// Turns the elements of a block round in shared memory, without the barrier between writing and reading. The last warp is
// late, so that the first one always reads before it.
template <class T>
__global__ void turned_without_barrier(const T* x, T* y, std::int64_t count) {
  __shared__ float turned[128];
  const std::int64_t first = std::int64_t{blockIdx.x} * blockDim.x;
  const int t = static_cast<int>(threadIdx.x), other = static_cast<int>(blockDim.x) - 1 - t;
  turned[t] = 0;
  __syncthreads();
  if (t / 32 == 3) __nanosleep(20000);
  if (first + t < count) turned[t] = 3 * widen(x[first + t]);
  if (first + other < count) y[first + other] = narrow<T>(*static_cast<volatile float*>(&turned[other]));
}

bool capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusActive;
}

void CUDART_CB do_nothing(void*) {}

class FaultyKernel final : public cuda::Kernel {
 public:
  FaultyKernel(const Faulty& layer, const PrepareArgs& args)
      : fault_(layer.fault()),
        workspace_bytes_(fault_ == Fault::reads_stale ? static_cast<std::size_t>(args.out[0].shape.elements()) * 4 : 0),
        other_(cuda::make_stream()),
        forked_(cuda::make_event()),
        runs_(sizeof(unsigned)) {
    CUDA_CHECK(cudaMemset(runs_.data(), 0, sizeof(unsigned)));
    dispatch(args.out[0].dtype, [](auto t) {
      cuda::preload(reinterpret_cast<const void*>(&faulty_element_per_thread<decltype(t)>));
      cuda::preload(reinterpret_cast<const void*>(&turned_without_barrier<decltype(t)>));
    });
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const int launched = ++launches_;
    switch (fault_) {
      case Fault::nothing: return;
      case Fault::frozen_after_two:
        if (launched > 2) CUDA_CHECK(cudaMemsetAsync(runs_.data(), 0, sizeof(unsigned), stream));
        if (launched > 2) return;
        break;
      case Fault::other_stream: return compute(args, other_.get());
      default: misbehave(args, stream);
    }
    compute(args, stream);
  }
  std::size_t workspace_bytes() const override { return workspace_bytes_; }

 private:
  void compute(const LaunchArgs& args, cudaStream_t stream) const {
    dispatch(args.out[0].dtype, [&](auto t) {
      using T = decltype(t);
      const std::int64_t count = args.out[0].shape.elements();
      if (fault_ == Fault::unsynchronised) {
        launch_kernel(turned_without_barrier<T>, blocks_for(count), dim3(128), 0, stream, args.in[0].template as<const T>(),
                      args.out[0].template as<T>(), count);
        return;
      }
      const int width = static_cast<int>(args.out[0].shape.w()), pixels = width * static_cast<int>(args.out[0].shape.h());
      launch_kernel(faulty_element_per_thread<T>, blocks_for(count), dim3(128), 0, stream, args.in[0].template as<const T>(),
                    args.out[0].template as<T>(), static_cast<float*>(args.workspace), runs_.template as<unsigned>(), count,
                    static_cast<int>(args.out[0].shape.c()), width, pixels, fault_);
    });
  }

  void misbehave(const LaunchArgs& args, cudaStream_t stream) const {
    switch (fault_) {
      case Fault::malloc_async: {
        void* memory = nullptr;
        CUDA_CHECK(cudaMallocAsync(&memory, 1024, stream));
        CUDA_CHECK(cudaFreeAsync(memory, stream));
        return;
      }
      case Fault::host_function: CUDA_CHECK(cudaLaunchHostFunc(stream, do_nothing, nullptr)); return;
      case Fault::pageable_copy:
        CUDA_CHECK(cudaMemcpyAsync(runs_.data(), pageable_.data(), sizeof(unsigned), cudaMemcpyHostToDevice, stream));
        return;
      case Fault::malloc: {
        void* memory = nullptr;
        CUDA_CHECK(cudaMalloc(&memory, 1024));
        CUDA_CHECK(cudaFree(memory));
        return;
      }
      case Fault::unchecked_malloc: {
        void* memory = nullptr;
        if (cudaMalloc(&memory, 1024) == cudaSuccess) (void)cudaFree(memory);
        (void)cudaGetLastError();
        return;
      }
      case Fault::synchronise: CUDA_CHECK(cudaStreamSynchronize(stream)); return;
      case Fault::open_fork:
        CUDA_CHECK(cudaEventRecord(forked_.get(), stream));
        CUDA_CHECK(cudaStreamWaitEvent(other_.get(), forked_.get(), 0));
        launch_empty(other_.get());
        return;
      case Fault::invalidated_once:
      case Fault::invalidated_always:
        if (!capturing(stream) || (fault_ == Fault::invalidated_once && invalidations_++ > 0)) return;
        std::thread([] { (void)cudaDeviceSynchronize(); }).join();
        return;
      default: (void)args; return;
    }
  }

  Fault fault_;
  std::size_t workspace_bytes_;
  cuda::Stream other_;
  cuda::Event forked_;
  cuda::DeviceBuffer runs_;
  std::array<unsigned, 4> pageable_{};
  mutable int launches_ = 0, invalidations_ = 0;
};

__global__ void empty_kernel() {}

__global__ void busy_kernel(long long nanoseconds) {
  unsigned long long start = 0, now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (static_cast<long long>(now - start) < nanoseconds);
}

std::unique_ptr<cuda::Kernel> make_times(const Times& layer, const PrepareArgs& args) { return std::make_unique<TimesKernel>(layer, args); }
std::unique_ptr<cuda::Kernel> make_faulty(const Faulty& layer, const PrepareArgs& args) {
  return std::make_unique<FaultyKernel>(layer, args);
}

}  // namespace

void register_test_kernels() {
  static const bool once = [] {
    cuda::kernel_registry().add<Times>(&make_times);
    cuda::kernel_registry().add<Faulty>(&make_faulty);
    return true;
  }();
  (void)once;
}

void launch_empty(cudaStream_t stream) { launch_kernel(empty_kernel, dim3(1), dim3(1), 0, stream); }
void launch_busy(cudaStream_t stream, int microseconds) {
  launch_kernel(busy_kernel, dim3(1), dim3(1), 0, stream, static_cast<long long>(microseconds) * 1000);
}

}  // namespace frieze::test
