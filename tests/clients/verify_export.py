"""Proves every record of `ceralacca journal export` up to its seal, from docs/formats.md alone."""

import base64
import hashlib
import json
import struct
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def climb(leaf, index, leaves, path):
    """The root that an audit path leads to (RFC 6962, 2.1.1)."""
    if not path:
        assert leaves == 1
        return leaf
    split = 1
    while split * 2 < leaves:
        split *= 2
    beside = path[-1]
    if index < split:
        return sha256(b"\x01", climb(leaf, index, split, path[:-1]), beside)
    return sha256(b"\x01", beside, climb(leaf, index - split, leaves - split, path[:-1]))


def main(name):
    seals, proven = {}, 0
    with open(name, encoding="utf-8") as file:
        for line in file:
            (kind, value), = json.loads(line).items()
            if kind == "seal":
                seals[value["number"]] = bytes.fromhex(value["octets"])
            elif kind == "record":
                proof = value["proof"]
                seal = seals[proof["seal"]]
                _, node, _, number, first, last = struct.unpack_from(">BQIQQQ", seal)
                assert number == proof["seal"] and first <= value["sequence"] <= last
                assert proof["leaves"] == last - first + 1
                assert proof["index"] == value["sequence"] - first
                key = struct.pack(">QQ", node, value["sequence"])
                leaf = sha256(b"\x00", key, base64.b64decode(proof["octets"]))
                path = [bytes.fromhex(digest) for digest in proof["path"]]
                assert climb(leaf, proof["index"], proof["leaves"], path) == seal[61:93]
                proven += 1
    print(proven, "records proven")


main(sys.argv[1])
