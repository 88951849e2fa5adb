#pragma once
/// cuBLASLt, loaded when it is first wanted: half a gigabyte that most commands never need. Internal.
#include <cublasLt.h>

namespace frieze::cuda {

/// What is called of the library.
struct LtLibrary {
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtGetStatusString) status_string = nullptr;
  decltype(&cublasLtGetStatusName) status_name = nullptr;
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescCreate) create_op = nullptr;
  decltype(&cublasLtMatmulDescDestroy) destroy_op = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_op = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&cublasLtMatrixLayoutSetAttribute) set_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulAlgoCheck) check_algorithm = nullptr;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) get_algorithm = nullptr;
};

/// The library, loaded by the first call that asks for it and never unloaded. nullptr if there is none of the version that this was
/// compiled with, or if it lacks something: one warning names what was tried. Throws CudaError if $FRIEZE_CUBLASLT_FILE names a file that
/// cannot be loaded. Safe to use from several threads.
const LtLibrary* lt_library();

}  // namespace frieze::cuda
