#!/usr/bin/env python3
"""The denoiser against classical methods on the held-out photographs: PSNR and SSIM for sigma 15, 25 and 50, as a table.

    tools/eval_denoiser.py --frieze build/cuda/bin/frieze --held-out .cache/denoiser/held_out.tar [--json scores.json]

Noise: NumPy's PCG64 seeded with 1000 + index of the photograph, clipped and rounded to 8 bits, the same picture for every method.
Frieze is the program itself, `frieze denoise` on a folder without being told sigma, and `frieze compare` for the scores of all
methods. OpenCV's non-local means is tuned: strengths for light and colour are searched for each sigma, on these very
photographs, which favours it. BM3D (the `bm3d` package, told sigma) runs if it can be imported. Needs NumPy, OpenCV, Pillow.
"""
import argparse
import io
import json
import pathlib
import subprocess
import tarfile
import tempfile

import cv2
import numpy as np
from PIL import Image



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


def tuned_nonlocal_means(clean, noisy, sigma):
    """The strengths with the best mean PSNR: a search along each of the two in turn. Returns (pictures, h, h_color)."""
    scores = {}

    def score(h, h_color):
        if (h, h_color) not in scores:
            pictures = [nonlocal_means(n, h, h_color) for n in noisy]
            scores[h, h_color] = (np.mean([psnr(p, c) for p, c in zip(pictures, clean)]), pictures)
        return scores[h, h_color][0]

    best = (0.6 * sigma, 0.6 * sigma)
    step = 0.1 * sigma
    while step >= 0.05 * sigma:
        around = [best, (best[0] - step, best[1]), (best[0] + step, best[1]), (best[0], best[1] - step), (best[0], best[1] + step)]
        better = max((p for p in around if min(p) > 0), key=lambda p: score(*p))
        if better == best:
            step /= 2
        best = better
        for key in [k for k in scores if k != best]:
            scores[key] = (scores[key][0], None)  # only the pictures of the best are kept
    if scores[best][1] is None:
        scores[best] = (scores[best][0], [nonlocal_means(n, *best) for n in noisy])
    return scores[best][1], *best


def block_matching(picture, sigma):
    import bm3d

    return np.rint(bm3d.bm3d_rgb(picture.astype(np.float64) / 255, sigma / 255).clip(0, 1) * 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frieze", required=True, type=pathlib.Path)
    parser.add_argument("--held-out", required=True, type=pathlib.Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--limit", type=int, help="only the first photographs")
    parser.add_argument("--sigmas", type=int, nargs="+", default=[15, 25, 50])
    parser.add_argument("--json", type=pathlib.Path, help="all scores, photograph by photograph")
    args = parser.parse_args()
    try:
        import bm3d  # noqa: F401
        has_bm3d = True
    except ImportError:
        has_bm3d = False
    names, clean = zip(*photographs(args.held_out, args.limit))
    everything = {}
    table = ["| sigma | method | PSNR dB | SSIM | least gain dB |", "|---|---|---|---|---|"]
    for sigma in args.sigmas:
        noisy = [with_noise(c, sigma, i) for i, c in enumerate(clean)]
        methods = {"noisy": noisy}
        pictures, h, h_color = tuned_nonlocal_means(clean, noisy, sigma)
        methods["OpenCV non-local means"] = pictures
        print(f"sigma {sigma}: non-local means is best with h = {h:.2f}, hColor = {h_color:.2f}", flush=True)
        if has_bm3d:
            methods["BM3D"] = [block_matching(n, sigma) for n in noisy]
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            save = lambda where, pictures: [where.mkdir()] + [Image.fromarray(p).save(where / f"{n}.png") for n, p in zip(names, pictures)]
            save(folder / "clean", clean)
            for index, (method, pictures) in enumerate(methods.items()):
                save(folder / str(index), pictures)
            done = subprocess.run([args.frieze, "denoise", folder / "0", "-o", folder / "frieze", "--device", args.device, "--dtype", args.dtype],
                                  check=True, capture_output=True, text=True)
            print(done.stdout.splitlines()[-1], flush=True)
            folders = {method: folder / str(i) for i, method in enumerate(methods)} | {"Frieze denoiser": folder / "frieze"}
            for method, where in folders.items():
                compared = [json.loads(subprocess.run([args.frieze, "compare", folder / "clean" / f"{n}.png", where / f"{n}.png", "--json"],
                                                      check=True, capture_output=True, text=True).stdout)[0] for n in names]
                everything[f"{sigma} {method}"] = {n: [c["psnr_db"], c["ssim"]] for n, c in zip(names, compared)}
                decibels, similarity = np.mean([[c["psnr_db"], c["ssim"]] for c in compared], 0)
                gain = min(everything[f"{sigma} {method}"][n][0] - everything[f"{sigma} noisy"][n][0] for n in names)
                least = "" if method == "noisy" else f"{gain:+.2f}"
                table.append(f"| {sigma} | {method} | {decibels:.2f} | {similarity:.4f} | {least} |")
                print(table[-1], flush=True)
    if args.json:
        args.json.write_text(json.dumps(everything, indent=1))
    print("\n" + "\n".join(table))


if __name__ == "__main__":
    main()
