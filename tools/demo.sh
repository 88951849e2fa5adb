#!/usr/bin/env bash
# Builds Frieze and shows it at work on a photograph: plan, capture receipt, picture, timings, GPU against CPU.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh build
source tools/configuration.sh

[[ $has_nvcc == yes ]] || echo "No nvcc on the PATH: building for the CPU only."
tests=()  # the tests need packages that a demo does not; a folder that already has them keeps them
if [[ -e $default_build/CMakeCache.txt ]]; then
  echo "Building in $default_build …"
else
  echo "Building in $default_build; the first time takes some minutes …"
  tests=(-DFRIEZE_TESTS=OFF)
fi
build "$default_build" frieze -- -DCMAKE_BUILD_TYPE=Release "${tests[@]}" "${cuda_arguments[@]}"
frieze=$default_build/bin/frieze
"$frieze" --version

device=cpu
if [[ $has_nvcc == yes ]] && "$frieze" devices | grep -q '^cuda:0'; then device=cuda; fi
[[ $device == cuda ]] || echo "No usable GPU: everything below runs on the CPU reference."

photo=tests/data/chelsea.png
mkdir -p out
say() { printf '\n== %s\n' "$*"; }
say "frieze inspect: the plan, its memory, and what was captured"
"$frieze" inspect quickstart --device "$device" --in "$photo"
say "frieze run: the photograph, sharpened"
"$frieze" run quickstart --device "$device" --in "$photo" --out out/demo.png
if [[ $device == cuda ]]; then "$frieze" run quickstart --device cpu --in "$photo" --out out/demo_cpu.png; fi
say "frieze bench: what one run costs"
"$frieze" bench quickstart --device "$device" --in "$photo" --rounds 20
if [[ $device == cuda ]]; then
  say "frieze verify: every layer of the captured graph against the CPU reference"
else
  say "frieze verify: what a GPU would be compared with; here the fused plan against the plain one"
fi
"$frieze" verify quickstart --device "$device" --in "$photo"
if [[ $device == cuda ]]; then "$frieze" verify quickstart --device cuda --in "$photo" --dtype bf16; fi
say "Done: compare $photo with out/demo.png"
