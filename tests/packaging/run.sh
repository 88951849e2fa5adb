#!/usr/bin/env bash
# Installs Frieze into a temporary folder and builds programs around it, as its users do: through find_package and through
# add_subdirectory, without CUDA and, where there is nvcc, with it. Uses build/cpu and build/cuda, which
# it builds if need be.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
source tools/configuration.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '== %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
# quietly COMMAND…: shows the output only if it fails.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }; }
# expect NAME PATTERN STATUS COMMAND…: runs a program, shows what it says, checks both.
expect() {
  local name=$1 pattern=$2 wanted=$3 status=0 text
  shift 3
  text=$("$@" 2>&1) || status=$?
  echo "   $text"
  [[ $status == "$wanted" ]] || fail "$name: expected exit status $wanted, got $status"
  [[ $text =~ $pattern ]] || fail "$name: expected output like '$pattern'"
}

version=$(sed -nE 's/^project\(frieze VERSION ([0-9.]+) .*/\1/p' CMakeLists.txt)
[[ -n $version ]] || fail "project(frieze VERSION …) not found in CMakeLists.txt"
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# consumers NAME BUILD: installs a build, checks what came out, builds and runs the consumers of the package.
consumers() {
  local name=$1 build=$2 prefix=$work/$1/prefix out=$work/$1/consumers own=OFF cuda_line headers=
  say "$name: cmake --install $build"
  quietly cmake --install "$build" --prefix "$prefix"
  [[ -f $prefix/include/frieze/graph/session.h ]] || fail "no include/frieze/graph/session.h"
  local wanted
  wanted=$(grep -v '^#' tests/packaging/headers.txt; printf '%s\n' layers/*/*.h | grep -v '^layers/shared/')
  if [[ $name != cuda* ]]; then wanted=$(grep -v '^core/cuda/' <<<"$wanted"); fi
  if ! diff <(sort <<<"$wanted") <(cd "$prefix/include/frieze" && find . -type f | sed 's|^\./||' | sort) >"$work/log"; then
    cat "$work/log"
    fail "installed headers (>) are not those of tests/packaging/headers.txt (<)"
  fi
  if grep -rnE '^ *# *define ' "$prefix/include" | grep -vE '# *define FRIEZE_'; then fail "an installed header defines a macro without FRIEZE_"; fi
  if grep -rnE 'Eigen/|nlohmann' "$prefix/include"; then fail "an installed header needs a library that consumers may not have"; fi
  if grep -rnF "$root" "$prefix/lib"*/cmake "$prefix/include"; then fail "an installed text file names the source tree"; fi
  if [[ $name == cuda* ]]; then
    own=ON
    cuda_line='CUDA toolkit: [0-9]+\.[0-9]+.*cuBLASLt: [0-9]+\.[0-9]+.*cuDNN: '
    [[ -f $prefix/include/frieze/core/cuda/launch.cuh ]] || fail "no include/frieze/core/cuda/launch.cuh"
  else
    cuda_line='CUDA: none, this is a CPU-only build$'
    if grep -rnE '#include *<(cuda|cublas)' "$prefix/include"; then fail "a header of a CPU-only build includes CUDA's"; fi
  fi
  say "$name: the installed frieze --version"
  expect version "^frieze ${version//./\\.} \(commit $commit\).*$cuda_line" 0 "$prefix/bin/frieze" --version

  if ldd "$prefix/bin/frieze" | grep -E 'cublas|cudnn|libcuda'; then fail "the program is linked to a library that it should load"; fi

  [[ $name == *shared ]] || headers=$prefix/include  # they are the same files
  say "$name: consumers through find_package(frieze)"
  quietly cmake -S tests/packaging -B "$out" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFRIEZE_FROM=package -DFRIEZE_VERSION_WANTED="$version" \
    -DCMAKE_PREFIX_PATH="$prefix" -DFRIEZE_HEADERS="$headers" -DOWN_KERNEL=$own \
    "-DCMAKE_CUDA_ARCHITECTURES=${gpu_architectures:-90}"
  quietly cmake --build "$out"
  expect consumer '^\[1,3,33,65\] on cpu, [0-9]+ CUDA devices$' 0 "$out/consumer"
  expect boundary '^boundary: right$' 0 "$out/boundary"
  if [[ $name == cpu ]]; then debugger "$out/debugged"; fi
  expect own_rewrite '^own rewrite: right$' 0 "$out/own_rewrite"
  if [[ $name == cuda* && $has_gpu == yes ]]; then
    expect cuda '^\[1,3,33,65\] on ' 0 "$out/cuda"
  else
    # What is true of a machine without a driver: no driver, not an old one.
    local reason='^no GPU: .*CUDA'
    if [[ $name == cuda* ]] && ! ldconfig -p | grep 'libcuda\.so\.1' >/dev/null; then reason='^no GPU: no CUDA device: no CUDA driver is installed'; fi
    expect cuda "$reason" 3 "$out/cuda"
  fi
  say "$name: the examples of README.md"
  quietly cmake -S tests/packaging/examples -B "$work/$name/examples" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" \
    "-DCMAKE_CUDA_ARCHITECTURES=${gpu_architectures:-90}"
  quietly cmake --build "$work/$name/examples"
  local data=tests/packaging/examples where=cpu kernel='the kernel skipped: '
  if [[ $name == cuda* && $has_gpu == yes ]]; then where=.*cuda kernel='the kernel at '; fi
  expect response_norm_test "given values: passed, the reference at [0-9.e-]+ of its budget, $kernel.*GlobalResponseNorm: right$" 0 \
    "$work/$name/examples/response_norm_test" $data/response_norm/golden.safetensors
  local program model
  for program in "unet U-Net" "vit ViT" "resnet18 ResNet-18"; do
    read -r program model <<<"$program"
    expect "$program" "^$model on $where.*: right$" 0 "$work/$name/examples/programs_$program" "$data/programs/${program}_"{weights,outputs}.safetensors
  done
  if [[ $where != cpu ]]; then
    expect "a layer without its kernel" 'GlobalResponseNorm has no CUDA kernel: .*README' 1 \
      "$work/$name/examples/response_norm_test" $data/response_norm/golden.safetensors --unregistered
  fi
  if [[ $own == ON ]]; then
    expect own_kernel '^own kernel on .*: right$' 0 "$out/own_kernel"
    quietly cmake -S tests/packaging/plain -B "$work/$name/plain" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
      "-DCMAKE_CUDA_ARCHITECTURES=${gpu_architectures:-90}"
    quietly cmake --build "$work/$name/plain"
    expect plain '^plain: [0-9]+ CUDA devices, C\+\+2020' 0 "$work/$name/plain/plain"
  fi
  if [[ $name == *shared ]]; then exports "$prefix"; fi
  # Another minor version is refused.
  if cmake -S tests/packaging -B "$work/$name/wrong" -G Ninja -DFRIEZE_FROM=package -DFRIEZE_VERSION_WANTED=0.0.1 \
    -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1; then fail "find_package took another version"; fi
  grep -q 'compatible with requested version "0.0.1"' <(tr -s ' \n' '  ' <"$work/log") || { cat "$work/log"; fail "refused for another reason"; }
}

# debugger PROGRAM: gdb shows values by name, shape and type, without a script of its own.
debugger() {
  if ! command -v gdb >/dev/null; then
    echo "   skipped: what gdb shows of a Value, as there is no gdb"
    return
  fi
  timeout 120 gdb -q -nx -batch -ex 'break looked_at' -ex run -ex 'print x' -ex 'print y' -ex 'print none' "$1" >"$work/log" 2>&1 </dev/null || true
  local shown
  for shown in '"photo \[1,3,4,6\] bf16 nchw"' '"conv \[1,8,2,3\] bf16 nchw"' '"empty"'; do
    grep -qE "shown_ = 0x[0-9a-f]+ .*$shown" "$work/log" || { cat "$work/log" >&2; fail "gdb does not show $shown"; }
  done
  echo "   gdb: $(grep -oE 'shown_ = .*bf16 nchw"' "$work/log" | head -1)"
}

# exports PREFIX: the shared libraries are there, consumers use them, and they export Frieze's names only.
exports() {
  local library strange
  for library in "$1"/lib*/libfrieze.so "$1"/lib*/libfrieze_models.so "$1"/lib*/*/libfrieze.so "$1"/lib*/*/libfrieze_models.so; do
    [[ -e $library ]] || continue
    strange=$(nm -DC --defined-only "$library" | sed -E 's/^[0-9a-f]* +. //' |
      grep -vE '^(typeinfo (name )?for |vtable for |VTT for |guard variable for |(non-)?virtual thunk to )?frieze::' || true)
    [[ -z $strange ]] || fail "$library exports what is not Frieze's: $strange"
    # Internal names stay inside.
    if nm -DC --defined-only "$library" | grep -E 'frieze::(TuningCache|parallel_for|matmul\(frieze::MatrixView|copy_elements|warn|cuda::Gemm|cuda::capture_steps)'; then
      fail "$library exports what no installed header declares"
    fi
    # Not grep -q, which leaves nm with a broken pipe.
    nm -DC --defined-only "$library" | grep 'typeinfo for frieze::' >/dev/null || fail "$library exports no types: exceptions could not be caught"
    seen=$((${seen:-0} + 1))
  done
  [[ ${seen:-0} == 2 ]] || fail "expected libfrieze.so and libfrieze_models.so under $1"
  seen=0
  ldd "$(dirname "$1")/consumers/boundary" | grep -q 'libfrieze\.so' || fail "the consumer is not linked to the shared library"
}

test_arguments=(-DFRIEZE_TESTS=ON -DFRIEZE_TOOLS=ON -DFRIEZE_WERROR=ON -DCMAKE_BUILD_TYPE=Release)
say "building build/cpu, if need be"
build build/cpu frieze frieze_testing -- "${cpu_arguments[@]}" -DBUILD_SHARED_LIBS=OFF
consumers cpu build/cpu

# The same objects once more as shared libraries, from the same build; static stays the default.
shared() {
  say "$1: the same with BUILD_SHARED_LIBS=ON"
  quietly cmake -S . -B "$2" -DBUILD_SHARED_LIBS=ON
  quietly cmake --build "$2" --target frieze frieze_testing frieze_shared frieze_models_shared
  consumers "$1" "$2"
  quietly cmake -S . -B "$2" -DBUILD_SHARED_LIBS=OFF
}
shared cpu_shared build/cpu

say "cpu: consumers through add_subdirectory"
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
# Unoptimised, as this compiles the library once more; without oneDNN, which every other build has where it is installed.
quietly cmake -S tests/packaging -B "$work/subdirectory" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 \
  -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=6 \
  -DFRIEZE_FROM="$root" -DFRIEZE_CUDA=OFF -DFRIEZE_ONEDNN=OFF "${launcher[@]}"
quietly cmake --build "$work/subdirectory"
expect consumer '^\[1,3,33,65\] on cpu, 0 CUDA devices$' 0 "$work/subdirectory/consumer"
expect cuda '^no GPU: .*CUDA' 3 "$work/subdirectory/cuda"
for part in frieze/bin/frieze frieze/tests; do
  [[ ! -e $work/subdirectory/$part ]] || fail "a subproject built $part without being asked"
done

if [[ $has_nvcc == yes ]]; then
  say "building build/cuda, if need be"
  build build/cuda frieze frieze_testing -- "${test_arguments[@]}" "${cuda_arguments[@]}"
  consumers cuda build/cuda
  shared cuda_shared build/cuda
  say "cuda: add_subdirectory configures (its kernels were compiled above)"
  quietly cmake -S tests/packaging -B "$work/subdirectory_cuda" -G Ninja -DFRIEZE_FROM="$root" "${cuda_arguments[@]}"
else
  say "cuda: skipped: consumers of a CUDA build, as no nvcc is on the PATH"
fi
say "packaging: all passed"
