"""Recomputes a daily piece from docs/formats.md alone: roots of all seals, and their chain.

Usage: verify_piece.py FOLDER, with the piece's files and records-*.zst decompressed beside them.
"""

import glob
import hashlib
import struct
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01", root(leaves[:split]), root(leaves[split:]))


def records(folder):
    for name in sorted(glob.glob(folder + "/records-??????")):
        with open(name, "rb") as file:
            octets = file.read()
        at = 0
        while at < len(octets):
            sequence, length = struct.unpack_from(">QI", octets, at)
            yield sequence, octets[at + 12:at + 12 + length]
            at += 12 + length


def main(folder):
    kept = dict(records(folder))
    with open(folder + "/seals.bin", "rb") as file:
        seals = file.read()
    previous, count = None, 0
    for at in range(0, len(seals), 125):
        seal = seals[at:at + 125]
        version, node, _epoch, _number, first, last = struct.unpack_from(">BQIQQQ", seal)
        assert version == 1
        leaves = [
            sha256(b"\x00", struct.pack(">QQ", node, sequence), kept[sequence])
            for sequence in range(first, last + 1)
        ]
        assert root(leaves) == seal[61:93], "root"
        assert previous in (None, seal[93:125]), "chain"
        previous, count = sha256(b"\x02", seal), count + len(leaves)
    with open(folder + "/statement.txt", encoding="utf-8") as file:
        assert "chain " + previous.hex() in file.read().splitlines(), "statement"
    print(len(seals) // 125, "seals,", count, "records")


main(sys.argv[1])
