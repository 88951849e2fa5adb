#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that are missing for building (and with "test", for testing) Frieze. Says what it
# installs; quiet when nothing is missing. The CUDA toolkit is NVIDIA's to install: without it Frieze builds for the CPU.
#   tools/setup.sh [build|test]
set -euo pipefail

packages=(g++ cmake ninja-build git ca-certificates libeigen3-dev nlohmann-json3-dev libcli11-dev
  libpng-dev zlib1g-dev libjpeg-dev liblcms2-dev)
case "${1:-build}" in
  build) ;;
  test) packages+=(libgtest-dev ccache clang libclang-rt-dev clang-format python3 chromium) ;;
  *) echo "usage: tools/setup.sh [build|test]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup: not a Debian or Ubuntu system; what is needed: ${packages[*]}"
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) != 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: missing packages, and neither root nor sudo to install them; ask an administrator for:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists of packages may be missing or out of date; they are fetched only if the first attempt fails.
if ! install; then
  "${as_root[@]}" apt-get update -q >"$log" 2>&1 || { cat "$log" >&2; echo "setup: apt-get update failed" >&2; exit 1; }
  install || { cat "$log" >&2; echo "setup: apt-get install failed" >&2; exit 1; }
fi
echo "setup: done"
