"""Python's poplib over every sample: UIDL, LIST, TOP, RETR, DELE, RSET, QUIT, and a connection that is dropped.

In the mailbox are the samples in the order of their names. `rotto` and `senza-fine` are deleted at the end.
"""

import os
import poplib
import ssl

import samples

# poplib itself refuses lines above 2,048 octets.
poplib._MAXLINE = 20_000
TRUST = ssl.create_default_context(cafile=os.environ["AUTHORITY"])


def login(secure):
    if secure:
        client = poplib.POP3_SSL("localhost", int(os.environ["POP3S"]), context=TRUST, timeout=20)
    else:
        client = poplib.POP3("localhost", int(os.environ["POP3"]), timeout=20)
        client.stls(context=TRUST)
    client.user(os.environ["RECIPIENT"])
    client.pass_(os.environ["PASSWORD"])
    return client


def main():
    expected = samples.read(os.environ["SAMPLES"])
    names = list(expected)
    first = login(secure=True)
    unique = [line.split()[1] for line in first.uidl()[1]]
    assert len(set(unique)) == len(names), unique
    sizes = [int(line.split()[1]) for line in first.list()[1]]
    assert first.stat() == (len(names), sum(sizes))
    for number, (name, octets) in enumerate(expected.items(), 1):
        assert first.uidl(number).split()[2] == unique[number - 1]
        assert sizes[number - 1] == len(octets), name
        answer, read, _ = first.retr(number)
        # A last line without an end gets one: POP3 knows whole lines only (RFC 1939, section 3).
        whole = octets if octets.endswith(b"\r\n") else octets + b"\r\n"
        assert b"".join(line + b"\r\n" for line in read) == whole, name
        header, _, body = whole.partition(b"\r\n\r\n")
        head = header.split(b"\r\n") + [b""]
        assert first.top(number, 0)[1] == head, name
        text = body.split(b"\r\n")[:-1]
        assert first.top(number, 2)[1] == head + text[:2], name
        assert first.top(number, 100_000)[1] == read, name
    first.quit()

    dropped = login(secure=False)
    assert [line.split()[1] for line in dropped.uidl()[1]] == unique, "the same names each time"
    for number in range(1, len(names) + 1):
        dropped.dele(number)
    assert dropped.stat() == (0, 0)
    dropped.rset()
    assert dropped.stat() == (len(names), sum(sizes))
    dropped.dele(names.index("semplice") + 1)
    dropped.close()

    last = retried()
    assert [line.split()[1] for line in last.uidl()[1]] == unique, "nothing is deleted without QUIT"
    gone = [names.index(name) + 1 for name in ("rotto", "senza-fine")]
    for number in gone:
        last.dele(number)
        for ask in (last.retr, last.dele, last.uidl, last.list):
            try:
                ask(number)
                raise AssertionError("a deleted message was answered")
            except poplib.error_proto as refused:
                assert refused.args[0].startswith(b"-ERR"), refused
    last.quit()

    after = login(secure=True)
    left = [name for number, name in enumerate(unique, 1) if number not in gone]
    assert [line.split()[1] for line in after.uidl()[1]] == left
    after.quit()


def retried():
    """The dropped session ends when the server sees it."""
    for _ in range(200):
        try:
            return login(secure=False)
        except poplib.error_proto as refused:
            assert refused.args[0].startswith(b"-ERR [IN-USE] "), refused
    raise AssertionError("the dropped session never ended")


main()
