#!/usr/bin/env bash
# Looks for inputs that break the readers: every fuzz target for so many minutes, all at once, from a random seed and what earlier runs
# learned (build/fuzz/corpus). What test.sh runs is the same each time.
#   tools/fuzz.sh [MINUTES]        30 if not given
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-30}
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "usage: tools/fuzz.sh [MINUTES]" >&2; exit 2; }
tools/setup.sh test
source tools/configuration.sh
build_fuzzers
running=()
trap 'kill "${running[@]}" 2>/dev/null || true' INT TERM
for target in "${fuzzers[@]}"; do
  mkdir -p "build/fuzz/corpus/$target"
  run_fuzzer "$target" -max_total_time=$((60 * minutes)) "build/fuzz/corpus/$target" "build/fuzz/tests/fuzz/seeds/$target" &
  running+=($!)
done
echo "fuzz: ${fuzzers[*]}, $minutes minutes"
found=0
for i in "${!fuzzers[@]}"; do
  target=${fuzzers[$i]}
  if wait "${running[$i]}"; then
    echo "$target: $(sed -nE 's/^stat::number_of_executed_units: *([0-9]+)$/\1/p' "build/fuzz/$target.log") inputs, nothing found"
  else
    tail -40 "build/fuzz/$target.log"
    echo "$target: found an input, kept as build/fuzz/$target-*" >&2
    found=1
  fi
done
exit $found
