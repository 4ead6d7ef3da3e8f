#!/usr/bin/env python3
"""Verifies a proof file of Ceralacca without Ceralacca.

    verify_proof.py proof.tar [--message message.eml] [--ca authorities.pem]
                    [--signer FINGERPRINT] [--require-stamp]

It needs Python's standard library and the program `openssl`, nothing else, and follows docs/formats.md
("Proof file") step by step. It ends with 0 when the proof holds and prints what it shows; with 1 when
it does not hold, and says why. Without --ca signature and time stamp are checked against the
authorities in the file itself: then nobody vouches for who these are. The authorities of the machine
count for nothing. --signer demands the certificate with that SHA-256, --require-stamp a time stamp.

The instant that it prints is the one at which the snapshot was taken. What the proof shows holds for that
instant: what came or went before and after it is not shown.
"""

import argparse
import datetime
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

NAMES = ["proof.json", "proof.bin", "run-record.bin", "run-record.p7s", "run-record.tsr", "certificates.pem"]
PRESENT, ABSENT, NO_MAILBOX = 1, 2, 3
CLOCK_DIFFERENCE_MAX = 600  # seconds
STAMP_DELAY_USUAL = 86400  # seconds
NAME_OCTETS_MAX, LEVEL_OCTETS_MAX, LEVELS_MAX = 1000, 255, 20


class Refused(Exception):
    """The proof does not hold."""


def want(condition, why):
    if not condition:
        raise Refused(why)


# --- Reading octets -------------------------------------------------------------------------------


class Cursor:
    """Octets that are read once, from the front; numbers are big-endian."""

    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def take(self, count):
        taken = self.octets[self.at:self.at + count]
        want(len(taken) == count, "octets are missing")
        self.at += count
        return taken

    def number(self, octets, signed=False):
        return int.from_bytes(self.take(octets), "big", signed=signed)

    def long(self):
        return self.take(self.number(4))

    def text(self):
        return self.take(self.number(2)).decode("utf-8")

    def end(self):
        want(self.at == len(self.octets), "octets are left over")


def number(value, octets):
    return value.to_bytes(octets, "big")


def digest(tag, *parts):
    return hashlib.sha256(bytes([tag]) + b"".join(parts)).digest()


# --- The tar: every octet of it follows from its members --------------------------------------------


def header(name, size, seconds):
    """A POSIX ustar header of a regular file."""
    block = bytearray(512)

    def put(at, field):
        block[at:at + len(field)] = field

    put(0, name.encode())
    put(100, b"0000644\0" b"0000000\0" b"0000000\0")
    put(124, b"%011o\0" % size)
    put(136, b"%011o\0" % seconds)
    put(148, b"        ")
    put(156, b"0")
    put(257, b"ustar\0" b"00")
    put(329, b"0000000\0" b"0000000\0")
    put(148, b"%06o\0 " % sum(block))
    return bytes(block)


def archive(members, seconds):
    octets = b""
    for name, content in members.items():
        octets += header(name, len(content), seconds) + content + bytes(-len(content) % 512)
    return octets + bytes(1024)


def members_of(octets):
    members, at = {}, 0
    while any(octets[at:at + 512]):
        block = octets[at:at + 512]
        want(len(block) == 512, "it is no tar")
        name = block[:100].split(b"\0")[0].decode("ascii")
        want(re.fullmatch(rb"[0-7]{11}", block[124:135]), "a size in the tar is no number")
        size = int(block[124:135], 8)
        members[name] = octets[at + 512:at + 512 + size]
        at += 512 + size + -size % 512
    wanted = [name for name in NAMES if name != "run-record.tsr" or name in members]
    want(list(members) == wanted, "it has other members than a proof file")
    return members


# --- Records ------------------------------------------------------------------------------------------


def run_of(octets):
    want(len(octets) == 97 and octets[0] == 1, "the run's record follows no known layout")
    cursor = Cursor(octets[1:])
    return {
        "number": cursor.number(8),
        "begun": cursor.number(8, signed=True),
        "closed": cursor.number(8, signed=True),
        "root": cursor.take(32),
        "accounts": cursor.number(8),
    }


def record_of(octets):
    want(octets[0] == 1, "a record of the account follows no known layout")
    cursor = Cursor(octets[1:])
    record = {"octets": octets, "account": cursor.number(8), "instant": cursor.number(8, signed=True)}
    record["previous"] = cursor.take(32)
    record["state_root"] = cursor.take(32)
    return record


def record_hash(record):
    return digest(0x30, record["octets"])


# --- Pages --------------------------------------------------------------------------------------------


def content_leaf(uid, message, rest):
    return digest(0x00, number(uid, 8), message, rest)


def children_of(outline):
    """Level and entries (last key, rows, page) of an inner page."""
    cursor = Cursor(outline)
    level = cursor.number(1)
    children = [(cursor.number(8), cursor.number(8), cursor.take(32)) for _ in range(cursor.number(2))]
    cursor.end()
    keys = [child[0] for child in children]
    want(level > 0 and children and keys == sorted(set(keys)), "an inner page is malformed")
    return level, children


def climb(path, key, leaf):
    """The root page above the leaf of `key`, by a path from its leaf page up, and its rows.

    The keys of each page ascend strictly, or one root could show two leaves of one key.
    """
    want(path, "a path is empty")
    cursor = Cursor(path[0])
    leaves = [(cursor.number(8), cursor.take(32)) for _ in range(cursor.number(2))]
    cursor.end()
    keys = [one for one, _ in leaves]
    want(keys == sorted(set(keys)), "the keys of a leaf page do not ascend")
    want((key, leaf) in leaves, "a leaf is not in its page")
    page = (keys[-1], len(leaves), digest(0x10, path[0]))
    for above, outline in enumerate(path[1:], start=1):
        level, children = children_of(outline)
        behind = [child for child in children if child[0] >= key]
        want(level == above and behind and behind[0] == page, "a page is not in the page above it")
        page = (children[-1][0], sum(child[1] for child in children), digest(0x11, outline))
    return page[2], page[1]


def root_of_list(leaves, above):
    """The root page of a mailbox of which every message is disclosed, and its rows."""
    if not leaves and not above:
        return digest(0x10, number(0, 2)), 0
    everywhere = [row[0] for rows in leaves for row in rows]
    want(everywhere == sorted(set(everywhere)), "the UIDs of the list do not ascend")
    pages = []
    for rows in leaves:
        want(rows, "a page of the list is empty")
        outline = number(len(rows), 2)
        for uid, message, rest in rows:
            outline += number(uid, 8) + content_leaf(uid, message, rest)
        pages.append((rows[-1][0], len(rows), digest(0x10, outline)))
    for level, counts in enumerate(above, start=1):
        built, at = [], 0
        for count in counts:
            children = pages[at:at + count]
            want(count > 0 and len(children) == count, "pages are missing in the list")
            outline = number(level, 1) + number(count, 2)
            for last, rows, page in children:
                outline += number(last, 8) + number(rows, 8) + page
            built.append((children[-1][0], sum(child[1] for child in children), digest(0x11, outline)))
            at += count
        want(at == len(pages), "pages of the list are left over")
        pages = built
    want(len(pages) == 1, "the list has no root")
    return pages[0][2], pages[0][1]


# --- The proof ----------------------------------------------------------------------------------------


def path_of(cursor):
    return [cursor.long() for _ in range(cursor.number(1))]


def uid_of(cursor):
    uid = cursor.number(4)
    want(uid > 0, "a UID is 0")
    return uid


def row_of(cursor):
    return uid_of(cursor), cursor.take(32), cursor.take(32)


def proof_of(octets):
    cursor, proof = Cursor(octets), {}
    want(cursor.number(1) == 1, "the proof follows no known layout")
    proof["name"] = cursor.text()
    by = cursor.number(1)
    want(by in (1, 2), "it asks for neither a UID nor a digest")
    proof["uid"] = uid_of(cursor) if by == 1 else None
    proof["sha256"] = cursor.take(32) if by == 2 else None
    proof["kind"] = cursor.number(1)
    if proof["kind"] == PRESENT:
        proof["row"], proof["path"] = row_of(cursor), path_of(cursor)
    elif proof["kind"] == ABSENT:
        proof["leaves"] = [[row_of(cursor) for _ in range(cursor.number(2))] for _ in range(cursor.number(4))]
        proof["above"] = [[cursor.number(2) for _ in range(cursor.number(4))] for _ in range(cursor.number(1))]
    else:
        want(proof["kind"] == NO_MAILBOX, "it is a proof of an unknown kind")
    proof["state"] = cursor.long()
    proof["mailboxes"] = [(cursor.number(8), cursor.take(32), cursor.long()) for _ in range(cursor.number(4))]
    proof["records"] = [record_of(cursor.take(101)) for _ in range(cursor.number(2))]
    proof["address"] = cursor.text()
    proof["account_path"] = path_of(cursor)
    cursor.end()
    return proof


def entries_of(state):
    """The mailboxes in a state outline, by number."""
    cursor, entries = Cursor(state), []
    for _ in range(cursor.number(4)):
        entry = {"number": cursor.number(8), "uid_validity": cursor.number(4), "uid_next": cursor.number(4)}
        entry["rest"], entry["messages"] = cursor.take(32), cursor.number(8)
        entry["content"], entry["flags"] = cursor.take(32), cursor.take(32)
        entries.append(entry)
    cursor.end()
    numbers = [entry["number"] for entry in entries]
    want(numbers == sorted(set(numbers)), "the mailboxes of the state do not ascend")
    return entries


def kept_name(name):
    """`name` as the store writes it; None when no mailbox can be called so."""
    if len(name.encode()) > NAME_OCTETS_MAX:
        return None
    name = unicodedata.normalize("NFC", name).removesuffix("/")
    levels = name.split("/")
    if len(name.encode()) > NAME_OCTETS_MAX or len(levels) > LEVELS_MAX:
        return None
    if any(unicodedata.category(one) in ("Cc", "Zl", "Zp") for one in name):
        return None
    if any(not level or level != level.strip() or len(level.encode()) > LEVEL_OCTETS_MAX for level in levels):
        return None
    # ASCII letters alone are folded: ı and İ are others.
    if re.fullmatch("[Ii][Nn][Bb][Oo][Xx]", levels[0]):
        levels[0] = "INBOX"
    return "/".join(levels)


def name_of(entry, disclosed):
    """The name in disclosed attributes, when they are those of the entry."""
    mailbox, salt, attributes = disclosed
    fits = mailbox == entry["number"] and digest(0x42, salt, attributes) == entry["rest"]
    want(fits, "the attributes are not those of the mailbox in the state")
    cursor = Cursor(attributes)
    cursor.take(9)
    return cursor.text()


def check_account(proof, run):
    """From the snapshot's record to the root in the run's record."""
    records = proof["records"]
    want(records, "it has no record")
    for one, following in zip(records, records[1:]):
        follows = following["previous"] == record_hash(one) and following["account"] == one["account"]
        want(follows and following["instant"] >= one["instant"], "the records do not follow each other")
    last = records[-1]
    leaf = digest(0x02, number(last["account"], 8), record_hash(last), proof["address"].encode())
    root = climb(proof["account_path"], last["account"], leaf)
    want(root == (run["root"], run["accounts"]), "the account does not stand in the tree of the run")
    want(last["instant"] <= run["closed"], "the record is later than the run")


def check_mailbox(proof):
    """Returns the entry of the mailbox that the fact is about, None when there was none."""
    want(digest(0x20, proof["state"]) == proof["records"][0]["state_root"], "the state is not the record's")
    want(kept_name(proof["name"]) == proof["name"], "no mailbox can have the name, or it is written otherwise")
    entries, disclosed = entries_of(proof["state"]), proof["mailboxes"]
    if proof["kind"] == PRESENT:
        want(len(disclosed) == 1, "not one mailbox is disclosed")
        found = [entry for entry in entries if entry["number"] == disclosed[0][0]]
        want(found and name_of(found[0], disclosed[0]) == proof["name"], "the name is another mailbox's")
    else:
        older = "it is of an older form, in which an absence does not disclose every mailbox; have it made anew"
        want(proof["kind"] != ABSENT or len(disclosed) != 1 or len(entries) == 1, older)
        want(len(entries) == len(disclosed), "not every mailbox is disclosed")
        names = [name_of(*pair) for pair in zip(entries, disclosed)]
        found = [entry for entry, name in zip(entries, names) if name == proof["name"]]
        others = [kept_name(name) for name in names if name != proof["name"]]
        want(proof["name"] not in others, "a mailbox has the name, written otherwise")
        # Or one root could show a message in the one and its absence in the other.
        want(len(found) < 2, "two mailboxes have the name")
        want(bool(found) == (proof["kind"] == ABSENT), "whether there is a mailbox of that name is told otherwise")
        if not found:
            return None
    entry = found[0]
    if proof["kind"] == PRESENT:
        uid, message, rest = proof["row"]
        want(proof["uid"] in (None, uid) and proof["sha256"] in (None, message), "it shows another message")
        root = climb(proof["path"], uid, content_leaf(uid, message, rest))
    else:
        rows = [row for rows in proof["leaves"] for row in rows]
        there = any(row[0] == proof["uid"] or row[1] == proof["sha256"] for row in rows)
        want(not there, "what it calls absent stands in its list")
        root = root_of_list(proof["leaves"], proof["above"])
    want(root == (entry["content"], entry["messages"]), "the pages do not lead to the mailbox")
    return entry


# --- The statement --------------------------------------------------------------------------------------


def instant(millis):
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=millis)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + ".%03dZ" % (millis % 1000)


MISLEADING = re.compile(
    "[\\0-\\x1f\"\\\\\\x7f-\\x9f\\xab\\xad\\xbb\\u061c\\u180e\\u200b-\\u200f\\u201c-\\u201f\\u2028-\\u202f\\u2033\\u2036"
    "\\u2060-\\u206f\\u301d-\\u301f\\ufeff\\uff02\\ufff9-\\ufffb\\U000e0000-\\U000e007f]"
)


def quoted(text):
    """A name between quotation marks, so that it cannot add to a sentence or turn it round."""
    return '"' + MISLEADING.sub(lambda found: "\\u{%x}" % ord(found[0]), text) + '"'


def statement_of(proof, entry, run, files):
    """proof.json as it must be: every octet of it follows from the other parts."""
    record, name, address = proof["records"][0], quoted(proof["name"]), quoted(proof["address"])
    at, kind = instant(record["instant"]), proof["kind"]
    uid, message = proof["row"][:2] if kind == PRESENT else (proof["uid"], proof["sha256"])
    which = "SHA-256 " + message.hex() if uid is None else "UID %d" % uid
    if kind == PRESENT:
        word = "presence"
        italian = f"Il {at} il messaggio con SHA-256 {message.hex()} era nella cartella {name} della casella {address}, con UID {uid}."
        english = f"On {at} the message with SHA-256 {message.hex()} was in the mailbox {name} of the account {address}, with UID {uid}."
    elif kind == ABSENT:
        word = "absence"
        italian = f"Il {at} nella cartella {name} della casella {address} non c'era alcun messaggio con {which}."
        english = f"On {at} there was no message with {which} in the mailbox {name} of the account {address}."
    else:
        word = "no-mailbox"
        italian = f"Il {at} la casella {address} non aveva alcuna cartella {name}, e dunque nessun messaggio con {which} in essa."
        english = f"On {at} the account {address} had no mailbox {name}, and so no message with {which} in it."
    if "run-record.tsr" in files:
        italian += " L'istante è parola di chi ha firmato; la marca temporale dice entro quando, al più tardi."
        english += " The instant is the signer's word; the time stamp says by when at the latest."
    else:
        italian += " L'istante è parola di chi ha firmato: non c'è marca temporale."
        english += " The instant is the signer's word: there is no time stamp."
    mailbox = {"name": proof["name"]}
    if entry is not None:
        mailbox.update({key: entry[key] for key in ("number", "uid_validity", "messages")})
    asked = {}
    if uid is not None:
        asked["uid"] = uid
    if message is not None:
        asked["sha256"] = message.hex()
    return {
        "format": "ceralacca-snapshot-proof-1",
        "kind": word,
        "italiano": italian,
        "english": english,
        "account": {"number": record["account"], "address": proof["address"]},
        "instant": at,
        "mailbox": mailbox,
        "message": asked,
        "run": {
            "number": run["number"],
            "begun": instant(run["begun"]),
            "closed": instant(run["closed"]),
            "accounts": run["accounts"],
            "stamped": "run-record.tsr" in files,
        },
        "files": [
            {"name": file, "sha256": hashlib.sha256(octets).hexdigest()}
            for file, octets in files.items()
            if file != "proof.json"
        ],
    }


# --- Signature and time stamp -----------------------------------------------------------------------------


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def check_cms(signature, ca, at, purpose, folder, *more):
    """Verifies a CMS signature by the authorities in `ca` alone; returns whose it is."""
    signer = folder / "signer.pem"
    done = openssl(
        "cms", "-verify", "-binary", "-inform", "DER", "-in", signature, "-CAfile", ca, "-no-CApath", "-no-CAstore",
        "-purpose", purpose, "-attime", at, "-signer", signer, "-out", folder / "signed", *more,
    )
    want(done.returncode == 0, "the signature does not hold: " + done.stderr)
    want(signer.read_text().count("-----BEGIN CERTIFICATE-----") == 1, "it has not one signer")
    shown = openssl("x509", "-in", signer, "-noout", "-subject", "-nameopt", "RFC2253", "-fingerprint", "-sha256").stdout
    subject = re.search(r"^subject= *(.*)$", shown, re.M)
    fingerprint = re.search(r"^sha256 Fingerprint=([0-9A-F:]+)$", shown, re.M | re.I)
    want(subject and fingerprint, "the signer's certificate cannot be read")
    return {"subject": subject[1], "sha256": fingerprint[1].replace(":", "").lower()}


def check_signature(files, run, authorities):
    """Returns who signed, and when (in seconds) and by whom that was stamped, or None."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, octets in files.items():
            (folder / name).write_bytes(octets)
        ca = Path(authorities) if authorities else folder / "certificates.pem"
        stamped, at = None, run["closed"] // 1000
        stamp, signature = folder / "run-record.tsr", folder / "run-record.p7s"
        if stamp.exists():
            shown = openssl("ts", "-reply", "-in", stamp, "-token_in", "-text").stdout
            found = re.search(r"^Time stamp: (\w{3}) +(\d+) (\d+:\d+:\d+)(?:\.\d+)? (\d{4}) GMT$", shown, re.M)
            want(found, "the time stamp cannot be read")
            text = " ".join(found.groups())
            moment = datetime.datetime.strptime(text, "%b %d %H:%M:%S %Y").replace(tzinfo=datetime.timezone.utc)
            at = int(moment.timestamp())
            # This one knows no other authorities than those of -CAfile.
            done = openssl("ts", "-verify", "-data", signature, "-in", stamp, "-token_in", "-CAfile", ca, "-attime", at)
            want(done.returncode == 0, "the time stamp does not hold: " + done.stderr)
            want(at + CLOCK_DIFFERENCE_MAX >= run["closed"] // 1000, "the time stamp is older than the run")
            stamped = {"at": at, **check_cms(stamp, ca, at, "timestampsign", folder)}
        signer = check_cms(signature, ca, at, "any", folder, "-content", folder / "run-record.bin")
    return signer, stamped


def verify(octets, authorities=None, message=None):
    """Returns the statement, who signed, and who stamped it when; raises Refused when the proof does not hold."""
    try:
        files = members_of(octets)
        run = run_of(files["run-record.bin"])
        want(archive(files, max(run["closed"] // 1000, 0)) == octets, "the tar is not in the form of a proof file")
        proof = proof_of(files["proof.bin"])
        check_account(proof, run)
        entry = check_mailbox(proof)
        statement = statement_of(proof, entry, run, files)
        text = json.dumps(statement, indent=2, ensure_ascii=False) + "\n"
        want(text.encode() == files["proof.json"], "proof.json says something else than the proof")
    except (ValueError, OverflowError, KeyError) as error:
        raise Refused(str(error)) from error
    signer, stamped = check_signature(files, run, authorities)
    if message is not None:
        found = statement["message"].get("sha256")
        want(found == hashlib.sha256(message).hexdigest(), "the proof is about another message than this file")
    return statement, signer, stamped


def told(statement, signer, stamped, run_closed):
    """Lines for people: what is shown, and on whose word."""
    run = statement["run"]
    yield statement["italiano"]
    yield statement["english"]
    yield f"Run {run['number']} over {run['accounts']} accounts, closed on {run['closed']}."
    yield f"Signed by: {signer['subject']} (SHA-256 {signer['sha256']})"
    if stamped is None:
        yield "Time stamp: none. For the instants there is only the signer's word."
        return
    at = instant(stamped["at"] * 1000)
    yield f"Time stamp: attested not later than {at}; the earlier instant is the signer's word."
    yield f"Stamped by: {stamped['subject']} (SHA-256 {stamped['sha256']})"
    delay = stamped["at"] - run_closed
    if delay > STAMP_DELAY_USUAL:
        yield f"Mind: the time stamp is {delay} seconds, more than a day, after the run was closed."


def seconds_of(text):
    at = datetime.datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")
    return int(at.replace(tzinfo=datetime.timezone.utc).timestamp())


def fingerprint_of(text):
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise argparse.ArgumentTypeError("a fingerprint has 64 hexadecimal digits")
    return digits


def main():
    arguments = argparse.ArgumentParser(description="Verifies a proof file of Ceralacca.")
    arguments.add_argument("proof")
    arguments.add_argument("--message", help="the message that it is about, octet for octet")
    arguments.add_argument("--ca", help="the authorities that are trusted, in PEM")
    arguments.add_argument("--signer", type=fingerprint_of, help="SHA-256 of the certificate that must have signed")
    arguments.add_argument("--require-stamp", action="store_true", help="refuse a proof without a time stamp")
    arguments = arguments.parse_args()
    message = Path(arguments.message).read_bytes() if arguments.message else None
    try:
        statement, signer, stamped = verify(Path(arguments.proof).read_bytes(), arguments.ca, message)
        want(stamped or not arguments.require_stamp, "the proof has no time stamp (--require-stamp)")
        whose = f"another has signed (--signer): {signer['subject']} (SHA-256 {signer['sha256']})"
        want(arguments.signer in (None, signer["sha256"]), whose)
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    for line in told(statement, signer, stamped, seconds_of(statement["run"]["closed"])):
        print(line)
    if not arguments.ca:
        print("Authorities: those in the file itself; give --ca to say which are trusted.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
