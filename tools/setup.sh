#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that are missing for building (and with "test", for testing) Frieze. Says what it
# installs; quiet when nothing is missing. The CUDA toolkit is NVIDIA's to install: without it Frieze builds for the CPU.
#   tools/setup.sh [build|test|aarch64]     the last for tools/cross_aarch64.sh, with arm64 as a foreign architecture of dpkg
set -euo pipefail

packages=(g++ cmake ninja-build git ca-certificates libeigen3-dev nlohmann-json3-dev libcli11-dev
  libpng-dev zlib1g-dev libjpeg-dev liblcms2-dev libdnnl-dev)
case "${1:-build}" in
  build) ;;
  test) packages+=(libgtest-dev ccache clang libclang-rt-dev clang-format python3 python3-dev python3-venv chromium) ;;
  aarch64)
    packages+=(g++-aarch64-linux-gnu qemu-user)
    for library in libpng-dev zlib1g-dev libjpeg62-turbo-dev liblcms2-dev libgtest-dev; do packages+=("$library:arm64"); done
    ;;
  *) echo "usage: tools/setup.sh [build|test|aarch64]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup: not a Debian or Ubuntu system; what is needed: ${packages[*]}"
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  # Of this architecture, or of the one that the name says; a package may be there for both.
  architecture=$(dpkg --print-architecture)
  [[ $package != *:* ]] || architecture=${package#*:}
  dpkg-query -W -f='${Architecture} ${db:Status-Status}\n' "${package%:*}" 2>/dev/null | grep -qxE "(all|$architecture) installed" || missing+=("$package")
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
if [[ "${1:-}" == aarch64 ]] && ! dpkg --print-foreign-architectures | grep -qx arm64; then
  echo "setup: adding arm64 as a foreign architecture of dpkg"
  "${as_root[@]}" dpkg --add-architecture arm64
  "${as_root[@]}" apt-get update -q >/dev/null 2>&1 || { echo "setup: apt-get update failed" >&2; exit 1; }
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
