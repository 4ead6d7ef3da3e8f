"""An account as the server shows it to Python's imaplib: what is compared before and after another program was at work.

`view.py ADDRESS` prints all of it as JSON: for each mailbox its UIDVALIDITY and, by UID, flags and octets of every message.
Changes go before it, each one argument: `make MAILBOX`, `put MAILBOX NAME FLAG…` (a file of the samples),
`flag MAILBOX NAME +|- FLAG…` (the message whose Message-ID has that name), `delete MAILBOX NAME`, for good.

Mailboxes are named in UTF-8. Whatever the server does not answer with OK ends with a traceback.
"""

import base64
import imaplib
import json
import os
import pathlib
import re
import ssl
import sys

from imapclient import imap_utf7

LISTED = re.compile(rb'\(([^)]*)\) "/" (?:"((?:[^"\\]|\\.)*)"|(\S+))')
FETCHED = re.compile(rb"UID (\d+) FLAGS \(([^)]*)\)")


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def quoted(name):
    """As IMAP4rev1 spells it. imaplib itself knows UTF-8 too, but its APPEND then changes the message."""
    return '"%s"' % imap_utf7.encode(name).decode().replace("\\", "\\\\").replace('"', '\\"')


def connect(address):
    trust = ssl.create_default_context(cafile=os.environ["AUTHORITY"])
    client = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS"]), ssl_context=trust, timeout=20)
    ok(client.login(address, os.environ["PASSWORD"]))
    return client


def mailboxes(client):
    for line in ok(client.list()):
        attributes, name, atom = LISTED.fullmatch(line).groups()
        if b"\\Noselect" not in attributes:
            yield imap_utf7.decode(re.sub(rb"\\(.)", rb"\1", atom or name))


def contents(client, mailbox):
    ok(client.select(quoted(mailbox), readonly=True))
    validity = client.response("UIDVALIDITY")[1][0].decode()
    messages = {}
    answer = ok(client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])"))
    for part in (part for part in answer if isinstance(part, tuple)):
        uid, flags = FETCHED.search(part[0]).groups()
        octets = part[1]
        messages[int(uid)] = {
            "name": "".join(re.findall(r"^Message-ID: <([^@>]*)", octets.decode("latin-1"), re.M)[:1]),
            "flags": sorted(flag for flag in flags.decode().split() if flag != "\\Recent"),
            "octets": base64.b64encode(octets).decode(),
        }
    return {"uidvalidity": validity, "messages": messages}


def found(client, mailbox, name):
    ok(client.select(quoted(mailbox)))
    uids = ok(client.uid("SEARCH", "HEADER", "Message-ID", f'"<{name}@"'))[0].split()
    assert len(uids) == 1, (mailbox, name, uids)
    return uids[0].decode()


def change(client, what, mailbox, name=None, *flags):
    if what == "make":
        ok(client.create(quoted(mailbox)))
    elif what == "put":
        octets = pathlib.Path(os.environ["SAMPLES"], f"{name}.eml").read_bytes()
        ok(client.append(quoted(mailbox), f"({' '.join(flags)})", None, octets))
    elif what == "flag":
        sign, *flags = flags
        ok(client.uid("STORE", found(client, mailbox, name), f"{sign}FLAGS", f"({' '.join(flags)})"))
    elif what == "delete":
        uid = found(client, mailbox, name)
        ok(client.uid("STORE", uid, "+FLAGS", r"(\Deleted)"))
        ok(client.uid("EXPUNGE", uid))
    else:
        raise ValueError(what)


def main(address, *changes):
    client = connect(address)
    for line in changes:
        change(client, *line.split(" "))
    print(json.dumps({name: contents(client, name) for name in mailboxes(client)}, ensure_ascii=False))
    client.logout()


if __name__ == "__main__":
    main(*sys.argv[1:])
