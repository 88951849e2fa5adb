#!/usr/bin/env python3
"""Packs the photographs that the denoiser is trained and judged on.

    for p in $(awk '!/^#/ {print $3}' tools/train/photographs.txt | sort -u); do
      apt-get download $p && dpkg -x ${p}_*.deb unpacked/$p      # Debian 12
    done
    tools/train/photographs.py unpacked .cache/denoiser

writes .cache/denoiser/train.tar (JPEG, quality 96, full colour) and .cache/denoiser/held_out.tar (PNG). Every file is checked
against its sha256 in photographs.txt. Photographs are reduced by a whole factor of at least 2, each pixel the mean of the ones
that it covers, to at most 1300 pixels: this removes the camera's noise and the traces of lossy compression. Held-out
photographs are cut to their middle 512x512. Needs Pillow.
"""
import argparse
import hashlib
import io
import pathlib
import sys
import tarfile

from PIL import Image

LONG_SIDE, HELD_OUT_SIDE = 1300, 512


def read_list(path=pathlib.Path(__file__).with_name("photographs.txt")):
    """(set, sha256, package, path) of every photograph."""
    return [tuple(line.split(maxsplit=3)) for line in path.read_text().splitlines() if line and not line.startswith("#")]


def read_photograph(folder, package, path):
    """The bytes of one picture file."""
    path, _, offset = path.partition("@")
    data = (folder / package / path).read_bytes()
    if offset:
        begin = int(offset)
        data = data[begin : begin + 8 + int.from_bytes(data[begin + 4 : begin + 8], "little")]
    return data


def reduced(picture):
    factor = max(2, -(-max(picture.size) // LONG_SIDE))
    return picture.reduce(factor)


def middle(picture):
    w, h = picture.size
    cw, ch = min(w, HELD_OUT_SIDE), min(h, HELD_OUT_SIDE)
    left, top = (w - cw) // 2, (h - ch) // 2
    return picture.crop((left, top, left + cw, top + ch))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unpacked", type=pathlib.Path, help="folder that holds one unpacked package in each folder")
    parser.add_argument("out", type=pathlib.Path, help="folder for train.tar and held_out.tar")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tars = {s: tarfile.open(args.out / f"{s.replace('-', '_')}.tar", "w") for s in ("train", "held-out")}
    pixels = {s: 0 for s in tars}
    for subset, digest, package, path in read_list():
        data = read_photograph(args.unpacked, package, path)
        if hashlib.sha256(data).hexdigest() != digest:
            sys.exit(f"{package}: {path}: not the file of photographs.txt")
        picture = reduced(Image.open(io.BytesIO(data)).convert("RGB"))
        encoded = io.BytesIO()
        if subset == "train":
            picture.save(encoded, "JPEG", quality=96, subsampling=0, optimize=True)
        else:
            picture = middle(picture)
            picture.save(encoded, "PNG", optimize=True)
        pixels[subset] += picture.size[0] * picture.size[1]
        member = tarfile.TarInfo(f"{digest[:12]}.{'jpg' if subset == 'train' else 'png'}")
        member.size = encoded.tell()
        encoded.seek(0)
        tars[subset].addfile(member, encoded)
    for subset, tar in tars.items():
        print(f"{subset}: {len(tar.getmembers())} photographs, {pixels[subset] / 1e6:.1f} megapixels")
        tar.close()


if __name__ == "__main__":
    main()
