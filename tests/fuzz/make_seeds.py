#!/usr/bin/env python3
"""Writes the seeds of weights_fuzz: right files, and one file for each class of malformed ones.

usage: make_seeds.py FOLDER        (created if missing; files good_*.safetensors and bad_*.safetensors)
"""
import json
import pathlib
import struct
import sys


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


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SEEDS.items():
        (folder / f"{name}.safetensors").write_bytes(content)


if __name__ == "__main__":
    main()
