"""Mailboxes of an account filled, emptied and compared with Python's own imaplib.

    mailboxes.py HOST PORT CA USER fill  MAILBOX FIRST COUNT      password on stdin
    mailboxes.py HOST PORT CA USER large MAILBOX OCTETS COPIES
    mailboxes.py HOST PORT CA USER copy  FROM TO COUNT
    mailboxes.py HOST PORT CA USER empty MAILBOX...
    mailboxes.py HOST PORT CA USER remove MAILBOX
    mailboxes.py HOST PORT CA USER show
    mailboxes.py HOST PORT CA USER subscribed

`fill` appends messages, numbered from FIRST, each with flags and a date that follow from its number. `large`
appends one of so many octets, of which COPY makes the others. What `fill` makes is subscribed to, and what
`remove` removes no more, as mail programs do it. `subscribed` prints a JSON list of names. `show` prints one
JSON object: for each
mailbox what is in it, in the order of UIDs: Message-ID, SHA-256, flags, INTERNALDATE.
"""

import hashlib
import imaplib
import json
import re
import ssl
import sys
import time

imaplib._MAXLINE = 50_000_000


def done(answer):
    kind, lines = answer
    assert kind == "OK", (kind, lines)
    return lines


def quoted(name):
    return '"' + name + '"'


def message(number):
    text = f"Testo del messaggio {number}.\r\n" * (1 + number % 40)
    head = f"From: bruno@altro.example\r\nSubject: numero {number}\r\nMessage-ID: <{number}@client.example>\r\n"
    return (head + "\r\n" + text).encode()


def flags(number):
    system = [name for bit, name in enumerate(["\\Seen", "\\Flagged", "\\Answered"]) if number >> bit & 1]
    return "(" + " ".join(system + (["$Forwarded"] if number % 5 == 0 else [])) + ")"


def fill(client, mailbox, first, count):
    client.create(quoted(mailbox))
    done(client.subscribe(quoted(mailbox)))
    for number in range(int(first), int(first) + int(count)):
        date = f'"{1 + number % 28:02d}-Oct-2026 10:{number % 60:02d}:{number // 60 % 60:02d} +0000"'
        done(client.append(quoted(mailbox), flags(number), date, message(number)))


def large(client, mailbox, octets, copies):
    client.create(quoted(mailbox))
    head = b"From: bruno@altro.example\r\nMessage-ID: <large@client.example>\r\n\r\n"
    line = b"0123456789abcdef" * 4 + b"\r\n"
    text = line * ((int(octets) - len(head)) // len(line))
    done(client.append(quoted(mailbox), None, None, head + text))
    done(client.select(quoted(mailbox)))
    left, have = int(copies) - 1, 1
    while left > 0:
        some = min(left, have)
        done(client.copy(f"1:{some}", quoted(mailbox)))
        left, have = left - some, have + some
        done(client.noop())


def copy(client, source, to, count):
    client.create(quoted(to))
    done(client.select(quoted(source)))
    done(client.copy(f"1:{count}", quoted(to)))


def empty(client, *mailboxes):
    for mailbox in mailboxes:
        done(client.select(quoted(mailbox)))
        done(client.store("1:*", "+FLAGS.SILENT", "(\\Deleted)"))
        done(client.expunge())


def remove(client, mailbox):
    done(client.select("INBOX"))
    done(client.delete(quoted(mailbox)))
    done(client.unsubscribe(quoted(mailbox)))


def shown(client, mailbox):
    done(client.select(mailbox, readonly=True))
    if done(client.uid("SEARCH", "ALL"))[0] == b"":
        return []
    rows = []
    for item in done(client.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")):
        if not isinstance(item, tuple):
            continue
        about, octets = item[0].decode(), item[1]
        uid = int(re.search(r"UID (\d+)", about)[1])
        kept = sorted(set(re.search(r"FLAGS \(([^)]*)\)", about)[1].split()) - {"\\Recent"})
        at = time.gmtime(time.mktime(imaplib.Internaldate2tuple(item[0])))
        date = time.strftime("%d-%b-%Y %H:%M:%S +0000", at)
        name = re.search(rb"Message-ID: (\S+)", octets)[1].decode()
        rows.append((uid, [name, hashlib.sha256(octets).hexdigest(), " ".join(kept), date]))
    return [row for _, row in sorted(rows)]


def listed(lines):
    return [re.fullmatch(r'\(([^)]*)\) "/" (.*)', line.decode()).groups() for line in lines]


def subscribed(client):
    print(json.dumps([name.strip('"') for _, name in listed(done(client.lsub()))]))


def show(client):
    mailboxes = {}
    for about, name in listed(done(client.list())):
        if "\\Noselect" not in about and "\\NonExistent" not in about:
            mailboxes[name.strip('"')] = shown(client, name)
    print(json.dumps(mailboxes))


def main(host, port, authority, user, word, *arguments):
    password = sys.stdin.readline().rstrip("\n")
    context = ssl.create_default_context(cafile=authority)
    with imaplib.IMAP4_SSL(host, int(port), ssl_context=context, timeout=60) as client:
        client.login(user, password)
        words = {"fill": fill, "large": large, "copy": copy, "empty": empty, "remove": remove, "show": show}
        words["subscribed"] = subscribed
        words[word](client, *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
