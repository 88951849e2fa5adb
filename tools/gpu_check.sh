#!/usr/bin/env bash
# Everything that needs a GPU, for anyone who has one: every test, compute-sanitizer on every kernel, the benches and the soak. Writes
# what came out, with date, commit, GPU and driver, to tools/results/<gpu>.json.
#   tools/gpu_check.sh [--quick] [--only PART]… [--out DIR]
#     --quick      the tests, and nothing else
#     --only PART  of tests, sanitizers, benches, seeds, soak, more than once if wanted; the results file says that the others were not run, and is not ok
#     --out DIR    the results file and DIR/logs go there instead of tools/results and the build folder
# Environment:
#   FRIEZE_BUILD             a folder with bin/frieze and tests/*_tests that are built already; nothing is built then
#   FRIEZE_SHARDS            into how many processes the layers' and tools' tests are split, tests and sanitizers alike [1 below 8 cores, 6 from 24 on]
#   FRIEZE_TEST_SECONDS      most seconds for one test program [1200]
#   FRIEZE_SEEDS             with how many seeds the parity tests run [1]; 10 is what error budgets are judged by
#   FRIEZE_SANITIZER_FILTER  the GoogleTest filter of what runs under compute-sanitizer, out of the layers' tests
#   FRIEZE_SANITIZER_SECONDS most seconds for one of its tools [420]
#   FRIEZE_SOAK_SECONDS      length of the run of 8 threads [60]; 600 is what a release takes
# Sanitizers and seeds look for wrong accesses and bits, not at times, so they run at once. The soak looks for growth of the GPU's memory,
# so nothing else runs beside it. Seeds and soak take a second GPU of the same kind, beside all the rest, if there is one and
# CUDA_VISIBLE_DEVICES leaves it free.
# A part that fails is recorded and the others still run. Exit status: 0 if all is well, 1 if anything failed, 2 if it cannot start.
set -uo pipefail
all_parts="tests sanitizers benches seeds soak" parts="" out=""
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) parts=tests ;;
    --only)
      [[ -n ${2:-} && " $all_parts " == *" $2 "* ]] || { echo "gpu_check: --only needs one of: $all_parts" >&2; exit 2; }
      parts+=" $2"
      shift
      ;;
    --out) [[ $# -gt 1 ]] || { echo "gpu_check: --out needs a folder" >&2; exit 2; }; out=$(realpath -m "$2"); shift ;;
    -h | --help) sed -n '2,/^# A part/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "gpu_check: unknown option '$1', see --help" >&2; exit 2 ;;
  esac
  shift
done
parts=${parts:-$all_parts}
cd "$(dirname "$0")/.." || exit 2
if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
  echo "gpu_check: needs a GPU: nvidia-smi lists none" >&2
  exit 2
fi

if [[ -n ${FRIEZE_BUILD:-} ]]; then
  folder=$(realpath -m "$FRIEZE_BUILD")
else
  tools/setup.sh test || exit 2
  source tools/configuration.sh
  [[ $has_nvcc == yes ]] || { echo "gpu_check: needs nvcc on the PATH, or FRIEZE_BUILD" >&2; exit 2; }
  echo "== build"
  build "$default_build" all -- -DCMAKE_BUILD_TYPE=Release -DFRIEZE_TESTS=ON -DFRIEZE_TOOLS=ON "${cuda_arguments[@]}" || exit 2
  folder=$(realpath "$default_build")
fi
programs=("$folder"/tests/*_tests)
if [[ ! -x $folder/bin/frieze || ! -x ${programs[0]} ]]; then
  echo "gpu_check: $folder has no bin/frieze and tests/*_tests" >&2
  exit 2
fi
logs=$folder/gpu_check
if [[ -n $out ]]; then logs=$out/logs; fi
rm -rf "$logs"
mkdir -p "$logs/parity" || exit 2
export FRIEZE_SOURCE_DIR=$PWD FRIEZE_PROGRAM=$folder/bin/frieze

# Results describe one GPU: the first that CUDA may use here.
second=""
if [[ -z ${CUDA_VISIBLE_DEVICES:-} ]]; then
  mapfile -t names < <(nvidia-smi --query-gpu=name --format=csv,noheader)
  if [[ ${#names[@]} -gt 1 && ${names[0]} == "${names[1]}" ]]; then second=1; fi
  export CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0
fi
nvidia-smi --id="${CUDA_VISIBLE_DEVICES:-0}" --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader >"$logs/gpu.csv" 2>/dev/null ||
  nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader | head -1 >"$logs/gpu.csv"
"$folder/bin/frieze" --version >"$logs/version.txt" 2>&1
git rev-parse --short=12 HEAD >"$logs/commit.txt" 2>/dev/null || rm -f "$logs/commit.txt"
if [[ -n ${FRIEZE_BUILD:-} ]]; then rm -f "$logs/commit.txt"; fi  # what was built is what counts
cat "$logs/gpu.csv" "$logs/version.txt"

# timed NAME SECONDS COMMAND…: runs it into NAME.log; its status and its seconds go to NAME.status.
timed() {
  local name=$1 limit=$2 began=$SECONDS status
  shift 2
  timeout -k 10 "$limit" "$@" >"$logs/$name.log" 2>&1 </dev/null
  status=$?
  echo "$status $((SECONDS - began))" >"$logs/$name.status"
  return $status
}

wants() { [[ " $parts " == *" $1 "* ]]; }

shards=${FRIEZE_SHARDS:-$(($(nproc) < 8 ? 1 : $(nproc) < 12 ? 2 : $(nproc) < 24 ? 3 : 6))}

# sharded NAME SECONDS COMMAND…: a GoogleTest program as $shards processes at once, each with its own log, report and parity record.
sharded() {
  local name=$1 limit=$2 shard part running=()
  shift 2
  for ((shard = 0; shard < shards; ++shard)); do
    part=$name$([[ $shards == 1 ]] || echo "-$((shard + 1))of$shards")
    (
      export GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard
      if [[ -n ${FRIEZE_RESULTS_DIR:-} ]]; then
        export FRIEZE_RESULTS_DIR=$FRIEZE_RESULTS_DIR/$part
        mkdir -p "$FRIEZE_RESULTS_DIR"
      fi
      timed "$part" "$limit" "$@" --gtest_color=no --gtest_brief=0 --gtest_output="json:$logs/$part.json"
      echo "   $part: status $?, $(grep -E '(ERROR|RACECHECK) SUMMARY' "$logs/$part.log" | tail -1) $(grep -E '^\[  (PASSED|FAILED)  \] [0-9]' "$logs/$part.log" | paste -sd' ')"
    ) &
    running+=($!)
  done
  wait "${running[@]}"
}

# Other values for the same cases; most of the time goes into references on the CPU.
seeds() {
  local seed
  for ((seed = 1; seed < ${FRIEZE_SEEDS:-1}; ++seed)); do
    FRIEZE_RESULTS_DIR=$logs/parity FRIEZE_PARITY_SEED=$seed sharded "seed_$seed" "${FRIEZE_TEST_SECONDS:-1200}" \
      "$folder/tests/layers_tests" --gtest_filter='*Gpu*-LargeGpu.*:*Tun*:*SpecialValues*:*Placements*:*Misaligned*'
  done | grep -v ': status 0'
}

soak() {
  local seconds=${FRIEZE_SOAK_SECONDS:-60}
  timed bench_soak_replays $((seconds + 600)) "$folder/bin/soak" --device cuda --replays 1000000 --check-every 250 --json
  echo "   a million replays: status $?"
  timed bench_soak_threads $((seconds + 60)) "$folder/bin/soak" --device cuda --threads 8 --seconds "$seconds" --json
  echo "   8 threads, three shapes: status $?"
}

endurance() {
  if wants seeds; then echo "== seeds${second:+, on a second GPU}"; seeds; fi
  if wants soak && [[ -x $folder/bin/soak ]]; then echo "== soak${second:+, on a second GPU}"; soak; fi
}

beside=""
if [[ -n $second ]] && { wants seeds || wants soak; }; then
  # A part of the processors, as tests that measure time run beside it.
  CUDA_VISIBLE_DEVICES=$second FRIEZE_THREADS=${FRIEZE_THREADS:-$((($(nproc) + 7) / 8))} endurance &
  beside=$!
fi

if wants tests; then
  echo "== tests"
  export FRIEZE_RESULTS_DIR=$logs/parity
  for program in "${programs[@]}"; do
    name=$(basename "$program")
    # The others one after the other and whole: some of their tests measure time.
    if [[ $name == layers_tests ]]; then
      sharded "test_$name" "${FRIEZE_TEST_SECONDS:-1200}" "$program"
    elif [[ $name == tools_tests ]]; then
      sharded "test_$name" "${FRIEZE_TEST_SECONDS:-1200}" "$program" --gtest_filter='-SoakTest.*'
      # These look for growth of the GPU's memory.
      shards=1 sharded "test_${name}_alone" "${FRIEZE_TEST_SECONDS:-1200}" "$program" --gtest_filter='SoakTest.*'
    else
      shards=1 sharded "test_$name" "${FRIEZE_TEST_SECONDS:-1200}" "$program"
    fi
  done
  unset FRIEZE_RESULTS_DIR
fi

# bench NAME SECONDS ARGUMENT…: a command of frieze that reports as JSON.
bench() {
  local name=$1 seconds=$2
  shift 2
  timed "bench_$name" "$seconds" "$folder/bin/frieze" "$@" --json
  echo "   $name: status $?"
}

if wants benches; then
  echo "== benches"
  for dtype in f32 f16 bf16; do
    bench "quickstart_$dtype" 120 bench quickstart --device cuda --dtype "$dtype"
  done
  bench denoiser_f16 120 bench denoiser --device cuda --dtype f16 --size 768x512
  bench profile_quickstart_f16 120 profile quickstart --device cuda --dtype f16
  bench profile_denoiser_f16 120 profile denoiser --device cuda --dtype f16 --size 768x512
  # Times do not depend on the weights, and the published ones are not shipped.
  bench profile_dcae_encoder_bf16 180 profile dcae-encoder:f32c32-sana-1.0 --random-weights 1 --device cuda --dtype bf16 --size 512x512
  bench profile_dcae_decoder_bf16 180 profile dcae-decoder:f32c32-sana-1.0 --random-weights 1 --device cuda --dtype bf16 --size 1024x1024
  bench rms_norm2d 300 bench-op rms_norm2d
  bench layers 600 bench-op all --rounds 5
fi

if wants sanitizers; then
  echo "== compute-sanitizer$([[ -n $second ]] || ! wants seeds || echo ", seeds")"
  python3 tools/gpu_results.py --kernels "$folder/bin/frieze" >"$logs/kernels.txt" || exit 2
  sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  # All parity tests, each of whose cases runs only if it reaches code that none before it did: tests/testing/kernel_watch.h. Not what
  # times kernels, nor tensors of gigabytes.
  filter=${FRIEZE_SANITIZER_FILTER:-*Gpu*:*RMSNorm2dConfigsOf.All*:RMSNorm2dDirect.StridesOf*-LargeGpu.*:*Tun*}
  # Only our own kernels are watched: cuBLASLt's have races that are none, and initcheck does not see what they write. racecheck 2025.3 lets
  # those for Hopper crash where it leaves them out, so that nothing may launch them; it looks at shared memory alone, which no kernel of
  # ours behind them uses.
  libraries='LinearGpu.*:Conv2dGpu.Pointwise*:Conv2dGpu.ThreeByThree*:Conv2dGpu.Epilogues*:Conv2dGpu.Special*:Conv2dGpu.Misaligned*:Conv2dCudnnGpu.*'
  export FRIEZE_EACH_KERNEL_ONCE=1 FRIEZE_RESULTS_DIR=$logs/watched
  running=()
  if [[ -z $second ]] && wants seeds; then
    FRIEZE_EACH_KERNEL_ONCE='' seeds &
    running+=($!)
  fi
  for tool in memcheck racecheck initcheck synccheck; do
    watch=("$sanitizer" --tool "$tool" --kernel-name kernel_substring=6frieze --error-exitcode 86 --print-limit 100 --max-connections 64)
    if [[ $tool == initcheck ]]; then watch+=(--check-api-memory-access no); fi
    # It follows only so many barriers of clusters at once, by default fewer than a GPU full of blocks has, and then fails.
    if [[ $tool == synccheck ]]; then watch+=(--num-cuda-barriers 16384); fi
    sanitized=$filter$([[ $tool != racecheck ]] || echo ":$libraries")
    sharded "sanitizer_${tool}_layers" "${FRIEZE_SANITIZER_SECONDS:-420}" "${watch[@]}" "$folder/tests/layers_tests" --gtest_filter="$sanitized" &
    running+=($!)
    shards=1 sharded "sanitizer_${tool}_graph" "${FRIEZE_SANITIZER_SECONDS:-420}" "${watch[@]}" "$folder/tests/graph_tests" \
      --gtest_filter='KernelsGpu.*' &
    running+=($!)
  done
  wait "${running[@]}"
  unset FRIEZE_EACH_KERNEL_ONCE FRIEZE_RESULTS_DIR
fi

if [[ -n $beside ]]; then
  wait "$beside"
else
  if wants sanitizers; then parts=${parts/seeds/}; fi  # they have run
  endurance
fi

echo "== results"
python3 tools/gpu_results.py "$logs" "${out:-tools/results}"
