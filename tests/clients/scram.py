"""The client's side of SCRAM-SHA-256-PLUS under TLS 1.2 (RFC 5802, RFC 7677, RFC 5929 §3), with nothing but
Python's standard library: SMTP, IMAP and POP3 of a running provider.

Each login is made three times: bound to its connection, bound to another one, and saying that the server offers no
binding. Only the first may get in. An assertion that fails ends with a traceback, which the calling test shows.
"""

import base64
import hashlib
import hmac
import os
import secrets
import socket
import ssl

LOGIN, PASSWORD = os.environ["SENDER"], os.environ["PASSWORD"].encode()


def context():
    trust = ssl.create_default_context(cafile=os.environ["AUTHORITY"])
    trust.maximum_version = ssl.TLSVersion.TLSv1_2
    return trust


def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


class Wire:
    """Lines over one TLS connection."""

    def __init__(self, port):
        raw = socket.create_connection(("localhost", port), timeout=20)
        self.tls = context().wrap_socket(raw, server_hostname="localhost")
        self.file = self.tls.makefile("rb")
        assert self.tls.version() == "TLSv1.2", self.tls.version()

    def line(self):
        return self.file.readline().rstrip(b"\r\n")

    def say(self, text):
        self.tls.sendall(text + b"\r\n")
        return self.line()


class Smtp(Wire):
    challenge, right, wrong = b"334 ", b"235 ", b"535 "

    def __init__(self):
        super().__init__(int(os.environ["SUBMISSIONS"]))
        self.line()
        offered = [self.say(b"EHLO client.example")]
        while offered[-1][3:4] == b"-":
            offered.append(self.line())
        assert b"250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" in offered, offered

    def begin(self, mechanism, first):
        return self.say(b"AUTH " + mechanism + b" " + first)


class Imap(Wire):
    challenge, right, wrong = b"+ ", b"a OK ", b"a NO [AUTHENTICATIONFAILED]"

    def __init__(self):
        super().__init__(int(os.environ["IMAPS"]))
        assert b"AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN" in self.line()

    def begin(self, mechanism, first):
        return self.say(b"a AUTHENTICATE " + mechanism + b" " + first)


class Pop3(Wire):
    challenge, right, wrong = b"+ ", b"+OK ", b"-ERR "

    def __init__(self):
        super().__init__(int(os.environ["POP3S"]))
        self.line()
        offered = [self.say(b"CAPA")]
        while offered[-1] != b".":
            offered.append(self.line())
        assert b"SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN" in offered, offered

    def begin(self, mechanism, first):
        return self.say(b"AUTH " + mechanism + b" " + first)


def log_in(wire, mechanism, flag, binding):
    header = flag + b",,"
    bare = b"n=" + LOGIN.encode() + b",r=" + secrets.token_hex(12).encode()
    answer = wire.begin(mechanism, base64.b64encode(header + bare))
    if not answer.startswith(wire.challenge):
        return answer
    challenge = base64.b64decode(answer[len(wire.challenge):])
    fields = dict(field.split(b"=", 1) for field in challenge.split(b","))
    assert int(fields[b"i"]) >= 4096
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    final = b"c=" + base64.b64encode(header + binding) + b",r=" + fields[b"r"]
    signed = bare + b"," + challenge + b"," + final
    key = mac(salted, b"Client Key")
    signature = mac(hashlib.sha256(key).digest(), signed)
    proof = bytes(left ^ right for left, right in zip(key, signature))
    answer = wire.say(base64.b64encode(final + b",p=" + base64.b64encode(proof)))
    if not answer.startswith(wire.challenge):
        return answer
    expected = b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), signed))
    assert base64.b64decode(answer[len(wire.challenge):]) == expected, "the server does not know the password"
    return wire.say(b"")


PLUS, PLAIN = b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"

for protocol in (Smtp, Imap, Pop3):
    wire = protocol()
    binding = wire.tls.get_channel_binding("tls-unique")
    answer = log_in(wire, PLUS, b"p=tls-unique", binding)
    assert answer.startswith(wire.right), (protocol, answer)

    wire, other = protocol(), protocol()
    answer = log_in(wire, PLUS, b"p=tls-unique", other.tls.get_channel_binding("tls-unique"))
    assert answer.startswith(wire.wrong), (protocol, answer)
    answer = log_in(other, PLAIN, b"y", b"")
    assert answer.startswith(wire.wrong), (protocol, answer)
