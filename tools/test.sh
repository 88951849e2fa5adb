#!/usr/bin/env bash
# Builds and runs every test: the default build with g++; the CPU-only build with clang, under AddressSanitizer and
# UndefinedBehaviorSanitizer; formatting, packaging, the README's commands, fuzzing. GPU tests skip visibly without a GPU. So both
# compilers see every file, and a CPU-only build without sanitizers is packaging's. Each stage tells its seconds, and those of processors.
# The last line is "N passed, N failed, N skipped"; the exit status is 1 if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh test || exit 1
source tools/configuration.sh

passed=0 failed=0 skipped=0
stage_began=$SECONDS processors=0 processors_began=0
# Sets `processors` to the seconds of processor time that everything which has ended so far took.
clock=$(mktemp)
trap 'rm -f "$clock"' EXIT
look() { times >"$clock"; processors=$(awk 'NR == 2 { split($1, u, /[ms]/); split($2, s, /[ms]/); printf "%d", 60 * (u[1] + s[1]) + u[2] + s[2] }' "$clock"); }
begin() { printf '\n== %s\n' "$*"; look; stage_began=$SECONDS processors_began=$processors; }
end() { look; printf '   %d s, %d s of processor time\n' $((SECONDS - stage_began)) $((processors - processors_began)); }
pass() { passed=$((passed + ${1:-1})); }
fail() { echo "   FAILED: $*"; failed=$((failed + 1)); }
skip() { echo "   skipped: $*"; skipped=$((skipped + 1)); }

# number_of LOG EXPRESSION: the number that a line of a GoogleTest log holds, or 0.
number_of() { local n; n=$(sed -nE "s/$2/\1/p" "$1" | tail -1); echo "${n:-0}"; }

# Runs every test program of a build, as many at once as there are processors, and adds up what GoogleTest counted.
run_programs() {
  local folder=$1 program log
  local programs=("$folder"/tests/*_tests)
  [[ -x ${programs[0]} ]] || { fail "no test programs in $folder/tests"; return; }
  printf '%s\0' "${programs[@]}" |
    xargs -0 -P "$(nproc)" -I{} bash -c 'timeout 900 "$1" --gtest_color=no >"$1.log" 2>&1 </dev/null; echo $? >"$1.status"' _ {}
  for program in "${programs[@]}"; do
    log=$program.log
    local status p f s
    status=$(cat "$program.status")
    p=$(number_of "$log" '^\[  PASSED  \] ([0-9]+) tests?\.$')
    f=$(number_of "$log" '^\[  FAILED  \] ([0-9]+) tests?, listed below:$')
    s=$(number_of "$log" '^\[  SKIPPED \] ([0-9]+) tests?, listed below:$')
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '   %-14s %5d passed %3d failed %5d skipped\n' "$(basename "$program")" "$p" "$f" "$s"
    grep -A1 ': Skipped$' "$log" | grep -vE ': Skipped$|^--$' | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/      \1 skipped: \2/'
    if [[ $f -gt 0 ]]; then
      grep -E '^\[  FAILED  \]' "$log" | sort -u | head -40
      grep -B1 -A12 ': Failure$' "$log" | head -120
    fi
    if [[ $status != 0 && $f == 0 ]]; then
      tail -40 "$log"
      fail "$(basename "$program") ended with status $status after $(grep -E '^\[ RUN ' "$log" | tail -1)"
    fi
    if [[ $status == 0 && $((p + s)) == 0 ]]; then fail "$(basename "$program") ran no test"; fi
  done
}

# test_build NAME FOLDER CMAKE_ARGUMENT…
test_build() {
  local name=$1 folder=$2
  shift 2
  begin "$name: build"
  if ! build "$folder" all -- -DFRIEZE_TESTS=ON -DFRIEZE_TOOLS=ON -DFRIEZE_WERROR=ON "$@"; then
    fail "$name does not build"
    return 1
  fi
  end
  begin "$name: tests"
  run_programs "$folder"
  end
}

if [[ $has_nvcc == yes ]]; then
  test_build "with CUDA (${cuda_arguments[1]#*=})" build/cuda -DCMAKE_BUILD_TYPE=Release "${unity[@]}" "${cuda_arguments[@]}"
else
  begin "with CUDA"
  skip "no nvcc on the PATH, only the CPU-only build is tested"
  test_build "CPU only" build/cpu -DCMAKE_BUILD_TYPE=Release "${unity[@]}" -DFRIEZE_CUDA=OFF
fi

# The second compiler. Debug information for readable reports; -O1, as unoptimised code would take minutes.
second=(-DCMAKE_CXX_COMPILER=clang++)
if ! command -v clang++ >/dev/null; then
  skip "needs clang++: the sanitizers' build takes the same compiler as the first"
  second=()
fi
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
test_build "CPU only, clang, AddressSanitizer and UndefinedBehaviorSanitizer" build/asan "${second[@]}" -DFRIEZE_CUDA=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" -DFRIEZE_SANITIZE=address,undefined "${unity[@]}"
unset ASAN_OPTIONS UBSAN_OPTIONS

begin "size of the program"
size=$(stat -c %s "$default_build/bin/frieze" 2>/dev/null || echo 0)
echo "   $default_build/bin/frieze: $size bytes"
if [[ $size -gt 0 && $size -le 20000000 ]]; then pass; else fail "expected 1 to 20000000 bytes"; fi

begin "formatting"
formatter=$(command -v clang-format-14 || command -v clang-format || true)
mapfile -t sources < <(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
if [[ ${#sources[@]} == 0 ]]; then
  skip "needs the git repository (git ls-files lists nothing: is the folder another user's?)"
elif [[ -z $formatter ]] || ! "$formatter" --version | grep -q 'version 14\.'; then
  skip "needs clang-format 14, whose output differs from other versions'"
elif "$formatter" --dry-run -Werror "${sources[@]}"; then
  pass
else
  fail "run $formatter -i on the files above"
fi

# A script that passes or fails as a whole; what it could not do it tells in lines with "skipped: ".
run_script() {
  local name=$1 log reason
  shift
  begin "$name"
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then pass; else cat "$log"; fail "$*"; fi
  while read -r reason; do skip "$reason"; done < <(sed -nE 's/^.*skipped: //p' "$log")
  rm -f "$log"
  end
}
run_script "packaging: install, find_package, add_subdirectory" tests/packaging/run.sh
run_script "the README's commands" tests/readme/run.sh

# The same inputs each time: seed and number are fixed, and nothing that was found before takes part. tools/fuzz.sh looks for new ones.
begin "fuzzing: ${fuzzers[*]}, $fuzz_runs inputs each"
if ! command -v clang++ >/dev/null; then
  skip "needs clang++"
elif ! build_fuzzers; then
  fail "the fuzzers do not build"
else
  for target in "${fuzzers[@]}"; do
    if run_fuzzer "$target" build/fuzz/tests/fuzz/seeds/"$target" -seed=1 -runs=$fuzz_runs; then
      echo "   $target: $(number_of "build/fuzz/$target.log" '^stat::number_of_executed_units: *([0-9]+)$') inputs"
      pass
    else
      tail -40 "build/fuzz/$target.log"
      fail "$target found an input, kept in build/fuzz"
    fi
  done
fi
end

look
printf '\n%d s in all, %d s of processor time\n' "$SECONDS" "$processors"
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 ]]
