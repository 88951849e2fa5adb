#pragma once
/// Descriptions of tensors for the copy engine (sm_90 and later).
#include <cuda.h>

#include <frieze/core/cuda/driver.h>
#include <frieze/core/dtype.h>
#include <frieze/core/error.h>

namespace frieze::cuda {

using EncodeTensorMap = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                                     const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                     CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/// The driver's function; nullptr if it has none, or if there is no driver.
inline EncodeTensorMap tensor_map_encoder() {
  static const EncodeTensorMap found = driver_entry<EncodeTensorMap>("cuTensorMapEncodeTiled", 12000);
  return found;
}
/// The same. Throws CudaError if there is none; call it ahead of a capture.
inline EncodeTensorMap require_tensor_maps() {
  check<CudaError>(tensor_map_encoder() != nullptr, "the driver has no cuTensorMapEncodeTiled, which kernels of warp-group products need");
  return tensor_map_encoder();
}

/// A tensor of f16 or bf16 and its boxes, rows of 128 bytes swizzled by 128 bytes. `extents` and `box` in elements, fastest first;
/// `strides` in bytes, of all but the first. What lies outside is read as zero. Throws CudaError.
template <int N>
CUtensorMap tensor_map(DType dtype, const void* data, const cuuint64_t (&extents)[N], const cuuint64_t (&strides)[N - 1],
                       const cuuint32_t (&box)[N]) {
  CUtensorMap map;
  cuuint32_t steps[N];
  for (cuuint32_t& step : steps) step = 1;
  const CUresult status =
      require_tensor_maps()(&map, dtype == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, N,
                            const_cast<void*>(data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                            CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check<CudaError>(status == CUDA_SUCCESS, "cuTensorMapEncodeTiled: driver error ", static_cast<int>(status));
  return map;
}

}  // namespace frieze::cuda
