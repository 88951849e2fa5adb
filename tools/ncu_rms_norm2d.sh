#!/usr/bin/env bash
# Hardware counters of RMSNorm2d per shape, through Nsight Compute: ncu_rms_norm2d.csv and .md in a folder.
#
#   tools/ncu_rms_norm2d.sh OUT_FOLDER [FRIEZE] [BENCH_OP_ARGUMENT…]
#
# FRIEZE is the program (default: that of the default build). The configurations are tuned first, outside the profiler. Clocks are left
# as they are; ncu empties the caches before each launch, so the counters are those of a cold launch. Needs ncu, a GPU whose
# counters this user may read, and Python 3.
set -euo pipefail
if [[ $# -lt 1 ]]; then sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; fi
out=$(realpath -m "$1") frieze=${2:+$(realpath -m "$2")}
cd "$(dirname "$0")/.."
source tools/configuration.sh
frieze=${frieze:-$default_build/bin/frieze}
shift $(($# < 2 ? $# : 2))
ncu=$(command -v ncu || ls /usr/local/cuda/bin/ncu /opt/nvidia/nsight-compute/*/ncu 2>/dev/null | tail -1 || true)
if [[ -z $ncu ]]; then echo "ncu_rms_norm2d.sh: needs ncu (Nsight Compute) on the PATH" >&2; exit 2; fi
if [[ ! -x $frieze ]]; then echo "ncu_rms_norm2d.sh: no program $frieze; build it, or give its path" >&2; exit 2; fi
mkdir -p "$out"
metrics=sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__warps_active.avg.pct_of_peak_sustained_active
metrics+=,dram__throughput.avg.pct_of_peak_sustained_elapsed,lts__t_sector_hit_rate.pct,launch__grid_size,launch__block_size
metrics+=,launch__registers_per_thread,gpu__time_duration.sum

"$frieze" bench-op rms_norm2d --profile --csv "$@" >"$out/ncu_shapes.csv"  # fills the cache of tuned configurations
if ! "$ncu" --profile-from-start off --clock-control none --csv --page raw --print-units base --metrics "$metrics" \
  --log-file "$out/ncu_raw.csv" "$frieze" bench-op rms_norm2d --profile --csv "$@" >"$out/ncu_shapes.csv"; then
  tail -5 "$out/ncu_raw.csv" >&2
  exit 1
fi
python3 tools/ncu_table.py "$out/ncu_shapes.csv" "$out/ncu_raw.csv" "$out/ncu_rms_norm2d"
cat "$out/ncu_rms_norm2d.md"
