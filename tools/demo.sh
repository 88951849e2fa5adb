#!/usr/bin/env bash
# Builds Frieze and shows it at work: a photograph with noise is denoised; plan, capture receipt, timings, GPU against CPU.
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
build "$default_build" frieze -- -DCMAKE_BUILD_TYPE=Release "${tests[@]}" "${unity[@]}" "${cuda_arguments[@]}"
frieze=$default_build/bin/frieze
"$frieze" --version

device=cpu
if [[ $has_nvcc == yes ]] && "$frieze" devices | grep -q '^cuda:0'; then device=cuda; fi
[[ $device == cuda ]] || echo "No usable GPU: everything below runs on the CPU reference."

photo=tests/data/chelsea.png
made=out/demo
mkdir -p $made
say() { printf '\n== %s\n' "$*"; }
# shown COMMAND…: prints the command, then what it says.
shown() { echo "\$ frieze $*"; "$frieze" "$@"; }

say "a photograph, with noise and without it again"
shown noise "$photo" -o $made/noisy.png --sigma 25 --seed 1
shown denoise $made/noisy.png -o $made/denoised.png --device $device
shown compare "$photo" $made/noisy.png $made/denoised.png -o out/demo.png
if [[ $device == cuda ]]; then
  echo "The same in f16 on the GPU and in f32 on the CPU:"
  shown denoise $made/noisy.png -o $made/denoised_f16.png --device cuda --dtype f16
  shown denoise $made/noisy.png -o $made/denoised_cpu.png --device cpu
  shown compare "$photo" $made/denoised_f16.png $made/denoised_cpu.png
fi

say "the plan: stem, one of 14 blocks, the end; its memory; what was captured (whole: $made/plan.txt)"
echo "\$ frieze inspect denoiser --device $device --in $photo"
"$frieze" inspect denoiser --device "$device" --in "$photo" >$made/plan.txt
awk '/^ *[0-9]+  / && steps >= 0 {
       steps++
       if ($2 ~ /^enc0\.[1-9]|^enc[1-9]|^middle|^dec|^up|^down|unshuffle_|_[12]$/) { left++; next }
       if (left) { print " ...  " left " steps like these"; left = 0 }
     }
     /^$/ { exit } { print }' $made/plan.txt
awk '/^$/ { part++ } part == 2 && !/^$/ { if (/^path/) exit; print }' $made/plan.txt

if [[ $device == cuda ]]; then
  say "what one picture costs"
  shown bench denoiser --device cuda --dtype f16 --size 1024x1024 --rounds 10
  say "every layer of the captured graph against the CPU reference (whole: $made/verify.txt)"
  verify=(verify denoiser --device cuda --size 192x144)
else
  say "what a GPU would be compared with, on a small picture; here the fused plan against the plain one (whole: $made/verify.txt)"
  verify=(verify denoiser --device cpu --size 128x96)
fi
echo "\$ frieze ${verify[*]}"
status=0
"$frieze" "${verify[@]}" >$made/verify.txt || status=$?
awk '/^path/ { header = $0 } /< worst|FAIL$/ { if (header) print header; header = "" } /^(verify|layers|bit for bit|first)|< worst|FAIL/' $made/verify.txt
[[ $status == 0 ]] || exit $status

say "Done: out/demo.png shows the photograph with noise, denoised, and as it was"
