#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: right files, and one file for each class of malformed ones.

usage: make_seeds.py FOLDER        (FOLDER/weights_fuzz, …/image_fuzz and …/dc_ae_config_fuzz, with files good_* and bad_*)
"""
import json
import pathlib
import struct
import sys
import zlib


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def file(header, data_bytes=0, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(i % 251 for i in range(data_bytes))


def one(dtype="F32", shape=(2,), begin=0, end=8, data_bytes=8):
    return file({"w": tensor(dtype, list(shape), begin, end)}, data_bytes)


TWO = {"a": tensor("F32", [2], 0, 8), "b": tensor("F16", [1, 3], 8, 14)}
SEEDS = {
    "good_two": file(TWO, 14),
    "good_empty": file({}),
    "good_metadata": file({"__metadata__": {"format": "pt"}, **TWO}, 14),
    "good_scalar_and_none": file({"s": tensor("F64", [], 0, 8), "z": tensor("I64", [3, 0], 8, 8)}, 8),
    "good_every_type": file({t: tensor(t, [1], 8 * i, 8 * i + 8) for i, t in enumerate(["F64", "I64", "U64"])}, 24),
    "good_bytes": file({t: tensor(t, [1], i, i + 1) for i, t in enumerate(["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"])}, 5),
    "bad_wrapping_product": one(shape=(2**32, 2**32), end=0, data_bytes=0),
    "bad_wrapping_bytes": one(shape=(2**62,), end=0, data_bytes=0),
    "bad_negative_extent": one(shape=(-2,)),
    "bad_huge_count": one(shape=(2**63,)),
    "bad_rank": one(shape=[1] * 9, end=4, data_bytes=4),
    "bad_offset_past_the_end": one(end=16),
    "bad_offset_near_2_64": one(begin=2**64 - 8, end=2**64 - 1),
    "bad_begin_past_end": one(begin=8, end=0),
    "bad_range_of_wrong_size": one(shape=(3,)),
    "bad_unknown_dtype": one(dtype="F31"),
    "bad_overlap": file({"a": tensor("U8", [6], 0, 6), "b": tensor("U8", [4], 4, 8)}, 8),
    "bad_gap": file({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [4], 4, 8)}, 8),
    "bad_trailing_bytes": one(data_bytes=20),
    "bad_trailing_json": file(json.dumps(TWO).encode() + b"{}", 14),
    "bad_duplicate_key": file(b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    "bad_duplicate_field": file(b'{"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1),
    "bad_missing_field": file(b'{"w":{"dtype":"U8","shape":[1]}}', 1),
    "bad_metadata": file({"__metadata__": {"a": 1}}),
    "bad_utf8": file(b'{"\xff":{}}'),
    "bad_zero_byte": file(b'{}\0{"w":'),
    "bad_depth": file(b'{"w":{"shape":' + b"[" * 5000),
    "bad_truncated_header": file(TWO, 14)[:40],
    "bad_truncated_data": file(TWO, 14)[:-3],
    "bad_length_past_the_file": file(TWO, 14, length=10**6),
    "bad_huge_length": file(TWO, 14, length=2**64 - 1),
    "bad_short": b"\x10\0\0",
    "bad_nothing": b"",
}


def png(width, height, bits, colour, interlaced=0, before=(), after=(), parts=1, samples=None):
    """A PNG of zeros and a ramp, its data in `parts` chunks; `before` and `after` the data stand further chunks."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = 1 + (width * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8
    data = zlib.compress(bytes(0 if i % row == 0 else i % 3 for i in range(row * height)) if samples is None else samples)
    size = -(-len(data) // parts)
    body = b"".join(chunk(b"IDAT", data[i : i + size]) for i in range(0, len(data), size))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in before) + body
            + b"".join(chunk(*c) for c in after) + chunk(b"IEND", b""))


PALETTE = (b"PLTE", bytes(range(24)))
DATA = pathlib.Path(__file__).parent.parent / "data"
PICTURES = {
    **{f"good_grey{bits}.png": png(5, 3, bits, 0) for bits in (1, 2, 4, 8, 16)},
    "good_rgb8.png": png(5, 3, 8, 2, parts=3),
    "good_rgb16.png": png(3, 2, 16, 2),
    "good_rgba8.png": png(4, 4, 8, 6),
    "good_grey_alpha16.png": png(4, 4, 16, 4),
    "good_palette.png": png(6, 2, 4, 3, before=[PALETTE]),
    "good_palette_alpha.png": png(6, 2, 8, 3, before=[PALETTE, (b"tRNS", b"\x00\x80\xff")]),
    "good_transparent_colour.png": png(5, 3, 8, 2, before=[(b"tRNS", b"\0\1\0\1\0\1")]),
    "good_other_chunks.png": png(5, 3, 8, 0, before=[(b"gAMA", b"\0\0\xb1\x8f")], after=[(b"tEXt", b"Title\0x")]),
    "good_cmyk.jpg": (DATA / "cmyk.jpg").read_bytes(),
    "bad_interlaced_short.png": png(9, 9, 8, 2, interlaced=1),
    "bad_rows_missing.png": png(5, 300, 8, 2, samples=b"\0" * 20),
    "bad_no_palette.png": png(6, 2, 4, 3),
    "bad_extent.png": png(2**31 - 1, 1, 8, 0, samples=b"\0"),
    "bad_truncated.jpg": (DATA / "cmyk.jpg").read_bytes()[:300],
}
GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "dc_ae"
CONFIGS = {
    **{f"good_{p.parent.name}.json": p.read_bytes() for p in sorted(GOLDEN.glob("*/config.json"))},
    "good_variant.json": b'{"model_name": "dc-ae-f32c32-sana-1.0"}',
    "good_defaults.json": b"{}",
    "bad_variant.json": b'{"model_name": "f31"}',
    "bad_deep.json": b"[" * 100,
    "bad_width.json": b'{"latent_channels": 0}',
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    seeds = {"weights_fuzz": {f"{name}.safetensors": content for name, content in SEEDS.items()}, "image_fuzz": PICTURES,
             "image_round_trip_fuzz": {n: c for n, c in PICTURES.items() if n.startswith("good")},
             "dc_ae_config_fuzz": CONFIGS}
    for target, files in seeds.items():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
