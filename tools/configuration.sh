# Sourced by demo.sh, test.sh, fuzz.sh and gpu_check.sh: which build this machine can make, and one quiet way to make it.
#   cuda_arguments   CMake arguments of the default build
#   default_build    its folder
#   has_nvcc, has_gpu   yes or no

# For builds from nothing: six sources are compiled as one, and headers are read once for all of them. Neighbours must not give two things
# one name. That each source compiles alone is what the builds of packaging and gpu_check.sh show.
unity=(-DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=6)

has_nvcc=no
if [[ -n "${CUDACXX:-}" ]] || command -v nvcc >/dev/null; then has_nvcc=yes; fi

# Compute capabilities of the GPUs here, as CMake wants them: "90" or "80;90".
gpu_architectures=""
if command -v nvidia-smi >/dev/null; then
  gpu_architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d '. ' | grep -E '^[0-9]+$' | sort -un | paste -sd';' || true)
fi
has_gpu=no
if [[ -n "$gpu_architectures" ]]; then has_gpu=yes; fi

if [[ $has_nvcc == yes ]]; then
  default_build=build/cuda
  cuda_arguments=(-DFRIEZE_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=${gpu_architectures:-90}")
else
  default_build=build/cpu
  cuda_arguments=(-DFRIEZE_CUDA=OFF)
fi

# CMake arguments of build/cpu where scripts need it only for its library and program: the tests belong to the default build.
cpu_arguments=(-DFRIEZE_CUDA=OFF -DFRIEZE_TOOLS=ON -DFRIEZE_WERROR=ON -DCMAKE_BUILD_TYPE=Release)
if [[ $has_nvcc == yes ]]; then cpu_arguments+=(-DFRIEZE_TESTS=OFF); else cpu_arguments+=(-DFRIEZE_TESTS=ON); fi

# With these, ccache (where it is installed) knows a file again that another build folder, or another clone, has compiled: the builds with
# and without CUDA share most of theirs.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$PWD} CCACHE_NOHASHDIR=1

# build FOLDER TARGET… -- CMAKE_ARGUMENT…: configures and builds; prints the log only if that fails.
build() {
  local folder=$1 targets=()
  shift
  while [[ $# -gt 0 && $1 != -- ]]; do targets+=("$1"); shift; done
  shift
  mkdir -p "$folder"
  local log=$folder/build.log
  if ! { cmake -S . -B "$folder" -G Ninja "$@" && cmake --build "$folder" --target "${targets[@]}"; } >"$log" 2>&1; then
    # What failed, then the end of the log.
    grep -E -A15 'error|FAILED|CMake Error' "$log" | head -60 >&2 || true
    echo "the build in $folder failed; its whole log is $log" >&2
    return 1
  fi
}

# The fuzz targets, see tests/fuzz/README.md, and how many inputs each gets in test.sh.
fuzzers=(weights_fuzz image_fuzz image_round_trip_fuzz dc_ae_config_fuzz)
fuzz_runs=20000
build_fuzzers() {
  build build/fuzz "${fuzzers[@]}" -- -DFRIEZE_CUDA=OFF -DFRIEZE_FUZZ=ON -DFRIEZE_TOOLS=OFF -DFRIEZE_TESTS=ON \
    -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=RelWithDebInfo
}
# run_fuzzer TARGET ARGUMENT…: its log is build/fuzz/TARGET.log, and an input that it finds lies beside it.
run_fuzzer() {
  local target=$1
  shift
  build/fuzz/tests/fuzz/"$target" -max_len=16384 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$target-" "$@" >"build/fuzz/$target.log" 2>&1
}
