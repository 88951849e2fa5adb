#!/usr/bin/env bash
# Builds the CPU-only library, the program and tests for Arm (aarch64: GH200, GB200, DGX Spark, Jetson) with Debian's cross compiler, and
# runs them in emulation: `frieze op` and `frieze verify`, and the tests of core and graph. No Arm machine has run it so far, and no CUDA
# code is built here. Installs what it needs as tools/setup.sh does, arm64 libraries included (dpkg --add-architecture arm64).
#   tools/cross_aarch64.sh [--no-tests]
set -euo pipefail
cd "$(dirname "$0")/.."
with_tests=ON
case "${1:-}" in
  "") ;;
  --no-tests) with_tests=OFF ;;
  *) echo "usage: tools/cross_aarch64.sh [--no-tests]" >&2; exit 2 ;;
esac
tools/setup.sh aarch64
source tools/configuration.sh

folder=build/aarch64
targets=(frieze)
if [[ $with_tests == ON ]]; then targets+=(core_tests graph_tests); fi
echo "== build in $folder: ${targets[*]}"
build $folder "${targets[@]}" -- -DCMAKE_TOOLCHAIN_FILE="$PWD/tools/cmake/aarch64.cmake" -DFRIEZE_CUDA=OFF -DFRIEZE_WERROR=ON \
  -DFRIEZE_TOOLS=ON -DFRIEZE_TESTS=$with_tests -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=6

emulated() { timeout 1800 qemu-aarch64 "$@"; }
frieze=$folder/bin/frieze
file_says=$(od -An -tx1 -j18 -N2 $frieze | tr -d ' ')
[[ $file_says == b700 ]] || { echo "$frieze is no program for aarch64 (machine $file_says)" >&2; exit 1; }

echo "== frieze, emulated"
emulated $frieze --version
mkdir -p out
emulated $frieze op rms_norm2d --in tests/data/pixels.safetensors --out out/aarch64.safetensors --set eps=1e-6 --then silu
emulated $frieze verify quickstart --size 48x32 --dtype bf16
emulated $frieze verify quickstart --size 48x32 --dtype f16

if [[ $with_tests == ON ]]; then
  for program in core_tests graph_tests; do
    echo "== $program, emulated"
    # Emulation cannot map what a test of huge files asks for, and counts memory of its own.
    emulated $folder/tests/$program --gtest_brief=1
  done
fi
echo "aarch64: all passed"
