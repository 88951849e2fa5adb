#!/usr/bin/env python3
"""The denoiser against classical methods on the held-out photographs: PSNR and SSIM for sigma 15, 25 and 50, as a table.

    tools/eval_denoiser.py --frieze build/cuda/bin/frieze --held-out .cache/denoiser/held_out.tar [--json scores.json]

Noise: NumPy's PCG64 seeded with 1000 + index of the photograph, clipped and rounded to 8 bits, the same picture for every method.
Frieze is the program itself, `frieze denoise` on a folder without being told sigma, and `frieze compare` for the scores of all
methods. OpenCV's non-local means is tuned: strengths for light and colour are searched for each sigma, on these very
photographs, which favours it. BM3D (the `bm3d` package, told sigma) runs if it can be imported. Scores are printed as they come;
every picture is kept in --work, and a run that was stopped goes on from there. Needs NumPy, OpenCV, Pillow.
"""
import argparse
import importlib.util
import io
import json
import pathlib
import subprocess
import tarfile

import cv2
import numpy as np
from PIL import Image

from rows_json import rows_json


def photographs(tar, limit):
    with tarfile.open(tar) as file:
        for member in file.getmembers()[:limit]:
            yield pathlib.Path(member.name).stem, np.asarray(Image.open(io.BytesIO(file.extractfile(member).read())).convert("RGB"))


def with_noise(clean, sigma, index):
    noise = np.random.default_rng(1000 + index).standard_normal(clean.shape, dtype=np.float32) * (sigma / 255)
    return np.rint((clean.astype(np.float32) / 255 + noise).clip(0, 1) * 255).astype(np.uint8)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


def nonlocal_means(picture, h, h_color):
    bgr = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(picture[:, :, ::-1]), None, h, h_color, 7, 21)
    return bgr[:, :, ::-1]


def tuned_strengths(clean, noisy, sigma):
    """The strengths for light and colour with the best mean PSNR: a search along each of the two in turn."""
    scores = {}

    def score(h, h_color):
        if (h, h_color) not in scores:
            scores[h, h_color] = np.mean([psnr(nonlocal_means(n, h, h_color), c) for n, c in zip(noisy, clean)])
        return scores[h, h_color]

    best, step = (0.6 * sigma, 0.6 * sigma), 0.1 * sigma
    while step >= 0.05 * sigma:
        around = [best, (best[0] - step, best[1]), (best[0] + step, best[1]), (best[0], best[1] - step), (best[0], best[1] + step)]
        better = max((p for p in around if min(p) > 0), key=lambda p: score(*p))
        if better == best:
            step /= 2
        best = better
    return best


def block_matching(picture, sigma):
    import bm3d

    return np.rint(bm3d.bm3d_rgb(picture.astype(np.float64) / 255, sigma / 255).clip(0, 1) * 255).astype(np.uint8)


class Work:
    """A folder with what is done already: pictures by sigma and method, and the strengths found for non-local means."""

    def __init__(self, folder, names):
        self.folder, self.names = folder, names

    def pictures(self, sigma, method, make):
        """The folder of a method's pictures; those that are not there yet are made by make(index)."""
        where = self.folder / str(sigma) / method
        where.mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(self.names):
            if not (where / f"{name}.png").exists():
                Image.fromarray(make(index)).save(where / "unfinished.png")
                (where / "unfinished.png").rename(where / f"{name}.png")
        return where

    def strengths(self, sigma, search):
        file = self.folder / str(sigma) / f"nonlocal_means_of_{len(self.names)}.json"
        if not file.exists():
            file.write_text(json.dumps(search()))
        return json.loads(file.read_text())


def scores(frieze, truth, where, names):
    """[PSNR, SSIM] of each photograph, by `frieze compare`."""
    found = []
    for name in names:
        done = subprocess.run([frieze, "compare", truth / f"{name}.png", where / f"{name}.png", "--json"], check=True, capture_output=True, text=True)
        found.append([json.loads(done.stdout)[0][key] for key in ("psnr_db", "ssim")])
    return np.array(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frieze", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--held-out", required=True, type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("out/eval_denoiser"), help="where a run that was stopped goes on")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--limit", type=int, help="only the first photographs")
    parser.add_argument("--sigmas", type=int, nargs="+", default=[15, 25, 50])
    parser.add_argument("--json", type=pathlib.Path, help="all scores, photograph by photograph")
    args = parser.parse_args()
    names, clean = zip(*photographs(args.held_out, args.limit))
    work = Work(args.work, names)
    truth = work.pictures("clean", "photographs", lambda i: clean[i])
    everything = {}
    table = ["| sigma | method | PSNR dB | SSIM | least gain dB |", "|---|---|---|---|---|"]
    for sigma in args.sigmas:
        noisy = [with_noise(c, sigma, i) for i, c in enumerate(clean)]
        folders = {"noisy": work.pictures(sigma, "noisy", lambda i: noisy[i])}

        def tell(method):
            found = scores(args.frieze, truth, folders[method], names)
            everything[f"{sigma} {method}"] = dict(zip(names, found.tolist()))
            before = np.array([s[0] for s in everything[f"{sigma} noisy"].values()])
            least = "" if method == "noisy" else f"{(found[:, 0] - before).min():+.2f}"
            table.append(f"| {sigma} | {method} | {found[:, 0].mean():.2f} | {found[:, 1].mean():.4f} | {least} |")
            print(table[-1], flush=True)

        tell("noisy")
        # A folder of its own for each device and type: other answers.
        done = work.folder / str(sigma) / f"frieze_{args.device}_{args.dtype}"
        if not all((done / f"{name}.png").exists() for name in names):
            command = [args.frieze, "denoise", folders["noisy"], "-o", done, "--device", args.device, "--dtype", args.dtype]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1], flush=True)
        folders["Frieze denoiser"] = done
        tell("Frieze denoiser")
        h, h_color = work.strengths(sigma, lambda: tuned_strengths(clean, noisy, sigma))
        folders["OpenCV non-local means"] = work.pictures(sigma, "nonlocal_means", lambda i: nonlocal_means(noisy[i], h, h_color))
        tell("OpenCV non-local means")
        print(f"sigma {sigma}: non-local means is best with h = {h:.2f}, hColor = {h_color:.2f}", flush=True)
        if importlib.util.find_spec("bm3d"):
            folders["BM3D"] = work.pictures(sigma, "bm3d", lambda i: block_matching(noisy[i], sigma))
            tell("BM3D")
        if args.json:
            args.json.write_text(rows_json(everything) + "\n")
    print("\n" + "\n".join(table))


if __name__ == "__main__":
    main()
