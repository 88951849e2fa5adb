#!/usr/bin/env bash
# Holds README.md to its word: runs every command of its shell blocks, compiles and runs its C++, and looks for the files that
# it links to. A block behind <!-- needs a GPU --> is skipped, visibly, where there is none; <!-- exit status N --> says what to
# expect of its commands. Python runs where python3, or $FRIEZE_PYTHON, has torch and safetensors, and so do the programs behind
# <!-- needs torch -->, which read what it wrote; elsewhere these are compiled, and skipped visibly. Works from the top of the tree; writes
# to build/ and out/.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
source tools/configuration.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skipped=0 ran=0

fail() { echo "FAILED: $*" >&2; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }; }

# extract README FOLDER: one file for each fenced block, NN.language, and NN.note with the HTML comment in front of it.
extract() {
  mkdir -p "$2"
  awk -v folder="$2" '
    /^```/ && !inside { inside = 1; n++; base = sprintf("%s/%02d.", folder, n); file = base (substr($0, 4) == "" ? "text" : substr($0, 4))
                        printf "" > file; print note > (base "note"); note = ""; next }
    /^```/ && inside  { inside = 0; close(file); next }
    inside            { print > file; next }
    /^<!-- .* -->$/   { note = substr($0, 6, length($0) - 9); next }
    /./               { note = "" }
    END               { if (inside) exit 1 }' "$1" || fail "$1: a block is not closed"
}
# broken_links README: relative links to files that do not exist.
broken_links() {
  local link
  { grep -oE '\]\([^)# ]+' "$1" || true; } | cut -c3- | while read -r link; do
    [[ $link =~ ^https?:// || -e $link ]] || echo "$link"
  done
}
# is_quoted BLOCK FILE: whether the block stands in the file, word for word.
is_quoted() { [[ -f $2 && $(<"$2") == *"$(<"$1")"* ]]; }

echo "== the checks notice what is wrong"
printf '[a](LICENSE) [b](no/such/file) [c](https://example.org)\n<!-- from LICENSE -->\n```cpp\nint never;\n```\n' >"$work/wrong.md"
[[ $(broken_links "$work/wrong.md") == no/such/file ]] || fail "a broken link was not noticed"
extract "$work/wrong.md" "$work/wrong"
[[ $(<"$work/wrong/01.note") == "from LICENSE" ]] || fail "the note of a block was lost"
if is_quoted "$work/wrong/01.cpp" LICENSE; then fail "a wrong quotation was not noticed"; fi

echo "== links"
broken=$(broken_links README.md)
[[ -z $broken ]] || fail "README.md links to what does not exist: $broken"

extract README.md "$work/blocks"
cmake_text=
for block in "$work"/blocks/*.cmake; do cmake_text+=$(<"$block")$'\n'; done

python=${FRIEZE_PYTHON:-python3} has_torch=no
if "$python" -c 'import safetensors.torch, torch' 2>/dev/null; then has_torch=yes; fi

echo "== Python"
mkdir -p out
for block in "$work"/blocks/*.python; do
  [[ $(<"${block%.*}.note") == "needs torch" ]] || fail "README.md: a block of Python is not marked <!-- needs torch -->: $(<"$block")"
  if [[ $has_torch == no ]]; then
    echo "   skipped: $(grep -c . "$block") lines of Python, as $python has no torch and safetensors"
    skipped=$((skipped + 1))
    continue
  fi
  quietly "$python" "$block"
  echo "   run: $(grep -c . "$block") lines of Python"
  ran=$((ran + 1))
done

echo "== C++"
programs=()
for block in "$work"/blocks/*.cpp; do
  note=$(<"${block%.cpp}.note")
  if grep -q '^int main(' "$block"; then
    programs+=("$block")
  elif [[ $note == from\ * ]]; then
    is_quoted "$block" "${note#from }" || fail "README.md quotes ${note#from } wrongly: $(<"$block")"
    echo "   quoted word for word: ${note#from }"
  else
    fail "README.md: a C++ block is neither a program nor marked <!-- from FILE -->: $(<"$block")"
  fi
done
[[ ${#programs[@]} -gt 0 ]] || fail "README.md has no C++ program"
build build/cpu frieze frieze_testing -- "${cpu_arguments[@]}"
quietly cmake --install build/cpu --prefix "$work/prefix"
for block in "${programs[@]}"; do
  app=$work/app_$(basename "$block" .cpp)
  mkdir -p "$app"
  cp "$block" "$app/main.cpp"
  printf 'cmake_minimum_required(VERSION 3.22)\nproject(app LANGUAGES CXX)\nadd_executable(app main.cpp)\n%s' "$cmake_text" >"$app/CMakeLists.txt"
  quietly cmake -S "$app" -B "$app/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/prefix"
  quietly cmake --build "$app/build"
  if [[ $(<"${block%.cpp}.note") == "needs torch" && $has_torch == no ]]; then
    echo "   compiled, and not run, as it reads what PyTorch writes: $(grep -m1 . "$block") … ($(wc -l <"$block") lines)"
    skipped=$((skipped + 1))
    continue
  fi
  quietly "$app/build/app"
  [[ -s $work/log ]] || fail "the program printed nothing"
  echo "   compiled with the README's CMake lines and run: $(grep -m1 . "$block") … ($(wc -l <"$block") lines)"
done

echo "== commands"
mkdir -p out
for block in "$work"/blocks/*; do
  case $block in
    *.note | *.cpp | *.cmake | *.mermaid | *.python | *.text) continue ;;
    *.sh) ;;
    *) fail "README.md: nothing checks a block of '${block##*.}'" ;;
  esac
  note=$(<"${block%.sh}.note")
  wanted=0
  if [[ $note =~ exit\ status\ ([0-9]+) ]]; then wanted=${BASH_REMATCH[1]}; fi
  while IFS= read -r line; do
    command=$(sed -E 's/(^|[[:space:]]+)#.*$//' <<<"$line")
    [[ -n $command ]] || continue
    if [[ $command == tools/test.sh ]]; then
      echo "   not run, as it runs this test: $command"
      continue
    fi
    if [[ $command == tools/test_python.sh ]]; then
      echo "   not run, as .ci/run does it: $command"
      continue
    fi
    if [[ $command == tools/gpu_check.sh ]]; then
      echo "   skipped: $command is a whole check of its own, for machines with a GPU"
      skipped=$((skipped + 1))
      continue
    fi
    if [[ $note == *"needs a GPU"* && $has_gpu == no ]]; then
      echo "   skipped: $command needs a GPU"
      skipped=$((skipped + 1))
      continue
    fi
    echo "   run: $command"
    status=0
    eval "$command" >"$work/log" 2>&1 </dev/null || status=$?
    [[ $status == "$wanted" ]] || { cat "$work/log" >&2; fail "expected exit status $wanted, got $status: $command"; }
    [[ $PWD == "$root" ]] || fail "the commands left the top of the tree: $command"
    ran=$((ran + 1))
  done <"$block"
done
[[ $ran -ge 10 ]] || fail "only $ran commands found in README.md"
for made in out/profile.html out/denoised.jpg out/sharper.png out/plan.dot out/y.safetensors out/demo.png out/frieze/bin/frieze; do
  [[ -s $made ]] || fail "the commands did not write $made"
done
[[ ! -e out/never.png ]] || fail "a failed command wrote out/never.png"
echo "== README: $ran commands run, $skipped skipped"
