"""Python's poplib and imaplib through the doors in the clear, after STLS and STARTTLS, and through those under TLS: one
mailbox, the same octets. The last session deletes the message.

Ports, accounts and the authority come through the environment. An assertion that fails ends with a traceback, which
the calling test shows.
"""

import imaplib
import os
import poplib
import ssl

LOGIN, PASSWORD = os.environ["RECIPIENT"], os.environ["PASSWORD"]
TRUST = ssl.create_default_context(cafile=os.environ["AUTHORITY"])


def port(name):
    return int(os.environ[name])


def stls():
    client = poplib.POP3("localhost", port("POP3"), timeout=20)
    before = client.capa()
    assert "STLS" in before and "USER" not in before and "SASL" not in before, before
    try:
        client.user(LOGIN)
        raise AssertionError("a login in the clear was taken")
    except poplib.error_proto as refused:
        assert b"TLS" in refused.args[0], refused
    client.stls(context=TRUST)
    after = client.capa()
    assert "STLS" not in after and "USER" in after, after
    assert "PLAIN" in after["SASL"] and after["EXPIRE"] == ["NEVER"], after
    return client


def whole(client):
    client.utf8()
    client.user(LOGIN)
    client.pass_(PASSWORD)
    count, octets = client.stat()
    assert count == 1, count
    assert client.list()[1] == [b"1 %d" % octets]
    _, lines, _ = client.retr(1)
    message = b"".join(line + b"\r\n" for line in lines)
    assert len(message) == octets, (len(message), octets)
    _, top, _ = client.top(1, 3)
    assert top == lines[: len(top)], top
    body = lines.index(b"") + 1
    assert len(top) == min(body + 3, len(lines)), len(top)
    return message, client.uidl()[1]


def imap(client):
    assert client.login(LOGIN, PASSWORD)[0] == "OK"
    assert client.select("INBOX", readonly=True)[0] == "OK"
    message = client.fetch("1", "(BODY.PEEK[])")[1][0][1]
    client.logout()
    return message


def main():
    clear = imaplib.IMAP4("localhost", port("IMAP"), timeout=20)
    assert "LOGINDISABLED" in clear.capabilities and "STARTTLS" in clear.capabilities, clear.capabilities
    try:
        clear.login(LOGIN, PASSWORD)
        raise AssertionError("a login in the clear was taken")
    except imaplib.IMAP4.error as refused:
        assert "PRIVACYREQUIRED" in str(refused), refused
    clear.starttls(ssl_context=TRUST)
    assert "LOGINDISABLED" not in clear.capabilities and "AUTH=LOGIN" in clear.capabilities, clear.capabilities
    expected = imap(clear)
    assert imap(imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=TRUST, timeout=20)) == expected

    client = stls()
    message, names = whole(client)
    assert message == expected
    # Somebody else has to wait, and is told why.
    other = poplib.POP3_SSL("localhost", port("POP3S"), context=TRUST, timeout=20)
    other.user(LOGIN)
    try:
        other.pass_(PASSWORD)
        raise AssertionError("two sessions of one account")
    except poplib.error_proto as refused:
        assert refused.args[0].startswith(b"-ERR [IN-USE] "), refused
    # A connection that is dropped deletes nothing.
    client.dele(1)
    client.close()
    other.user(LOGIN)
    for _ in range(100):
        try:
            other.pass_(PASSWORD)
            break
        except poplib.error_proto as refused:
            assert refused.args[0].startswith(b"-ERR [IN-USE] "), refused
            other.user(LOGIN)
    assert other.stat()[0] == 1
    assert other.uidl()[1] == names
    other.dele(1)
    other.rset()
    other.quit()

    last = poplib.POP3_SSL("localhost", port("POP3S"), context=TRUST, timeout=20)
    assert whole(last) == (expected, names)
    last.dele(1)
    last.quit()


main()
