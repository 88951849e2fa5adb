"""How the peers are timed, for the scripts of this folder: as `frieze bench` times a model. Needs PyTorch with CUDA."""
import statistics

import torch


def time_runs(run, rounds, in_a_row):
    """Milliseconds of one run() on the device: events around `in_a_row` of them, over `rounds` rounds the median, lowest and highest."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for _ in range(rounds):
        begin.record()
        for _ in range(in_a_row):
            run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / in_a_row)
    return {"ms": statistics.median(times), "lowest": min(times), "highest": max(times)}


def short(error):
    """An exception as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
