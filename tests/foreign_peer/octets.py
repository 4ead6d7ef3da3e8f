"""Messages as octets: nothing here re-encodes, so that what is compared is what was sent."""

import email
import email.policy
import re

FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r]|\r(?!\n)|\r\n[ \t])*)\r\n")


class Broken(Exception):
    """What cannot even be taken apart."""


def divide(octets):
    """The header, its last line end included, and the body."""
    if octets.startswith(b"\r\n"):
        return b"", octets[2:]
    at = octets.find(b"\r\n\r\n")
    if at < 0:
        raise Broken("a message without an empty line after its header")
    return octets[: at + 2], octets[at + 4 :]


def fields(header):
    """Each field as (name in lower case, value as it stands, whole field)."""
    found, at = [], 0
    while at < len(header):
        match = FIELD.match(header, at)
        if not match:
            raise Broken(f"no header field at {header[at:at + 40]!r}")
        found.append((match[1].decode("ascii").lower(), match[2], match[0]))
        at = match.end()
    return found


class Entity:
    """A MIME entity: its fields, its body, its type."""

    def __init__(self, octets):
        self.octets = octets
        self.header, self.body = divide(octets)
        self.fields = fields(self.header)
        self.read = email.message_from_bytes(self.header + b"\r\n", policy=email.policy.SMTP)
        self.type = self.read.get_content_type()

    def values(self, name):
        return [value for found, value, _ in self.fields if found == name.lower()]

    def value(self, name):
        """The only value, unfolded and stripped; None when there is none."""
        values = self.values(name)
        if len(values) > 1:
            raise Broken(f"{len(values)} fields {name}")
        return unfold(values[0]) if values else None

    def encoding(self):
        return (self.value("Content-Transfer-Encoding") or "7bit").lower()

    def parameter(self, name):
        return self.read.get_param(name)

    def disposition(self):
        value = self.read.get("Content-Disposition")
        return (value.content_disposition, value.params.get("filename")) if value else (None, None)

    def parts(self):
        """The parts of a multipart, each without the line end that belongs to the boundary."""
        return [self.body[begin:end] for begin, end in self.ranges()]

    def frame(self):
        """What stands before, between and after the parts."""
        ends = [0] + [at for part in self.ranges() for at in part] + [len(self.body)]
        return [self.body[ends[at] : ends[at + 1]] for at in range(0, len(ends), 2)]

    def ranges(self):
        boundary = self.parameter("boundary")
        if not self.type.startswith("multipart/") or not boundary:
            return []
        line = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?:\r\n|\Z)")
        found, begin, at = [], None, 0
        while True:
            match = line.search(self.body, at)
            if not match:
                raise Broken(f"a {self.type} without its last boundary")
            if begin is not None:
                found.append((begin, max(begin, match.start())))
            if match[1]:
                return found
            begin = match.end()
            # Its line end may be that of the next boundary.
            at = begin - 2

    def content(self):
        """The body without its transfer encoding."""
        whole = self.header + b"\r\n" + self.body
        return email.message_from_bytes(whole, policy=email.policy.SMTP).get_payload(decode=True)


def unfold(value):
    return value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape").strip()


def decoded(value):
    """A header value as its reader sees it (RFC 2047)."""
    from email.header import decode_header

    text = ""
    for word, charset in decode_header(value):
        if isinstance(word, str):
            text += word
        else:
            text += word.decode(charset or "ascii", "surrogateescape")
    return text


def without(octets, *names):
    """A message without its fields of these names."""
    header, body = divide(octets)
    kept = b"".join(whole for name, _, whole in fields(header) if name not in names)
    return kept + b"\r\n" + body
