"""What this provider writes: envelopes, receipts and notices (RFC 6109 §2.1, §3, §4).

Two manners of writing, both seen on the network, so that ours is not the only one that is read:
`new` (SHA-256, text and HTML, certification data before the message) and `old` (SHA-1, the x- names
of types, text alone, the message before its data, odd case in names of fields).
"""

import base64
import dataclasses
import datetime
import email.utils
import hashlib
import html
import itertools
import re
import zoneinfo
from email.header import Header
from xml.sax.saxutils import escape

from octets import Entity, decoded, divide, fields, unfold

ROME = zoneinfo.ZoneInfo("Europe/Rome")
SECURE = ("application/pkcs7-mime", "application/x-pkcs7-mime")
SIGNATURE = ("application/pkcs7-signature", "application/x-pkcs7-signature")


@dataclasses.dataclass
class Letter:
    """A message of a user as it was submitted, and what its header and its envelope say."""

    octets: bytes
    sender: str
    kinds: dict  # of each recipient, in order: certificato, esterno
    identifier: str = ""  # once it is known
    included: bytes = None  # as the envelope includes it
    handed: list = None  # the recipients for whom the other provider took its envelope

    def __post_init__(self):
        header, _ = divide(self.octets)
        self.fields = fields(header)
        self.message_id = self.header("message-id")
        self.subject = self.header("subject")
        self.wish = (self.header("x-tiporicevuta") or "").lower()
        self.reply_to = self.header("reply-to")
        self.to = self.addresses("to")
        self.cc = self.addresses("cc")

    def header(self, name):
        return next((unfold(value) for found, value, _ in self.fields if found == name), None)

    def addresses(self, name):
        values = [unfold(value) for found, value, _ in self.fields if found == name]
        return [address.lower() for _, address in email.utils.getaddresses(values)]

    def readable_subject(self):
        return None if self.subject is None else decoded(self.subject)

    def requested(self):
        return self.wish if self.wish in ("breve", "sintetica") else "completa"

    def due(self, recipient):
        """The receipt that this recipient gives rise to (RFC 6109 §3.3.2)."""
        copy = recipient.lower() in self.cc and recipient.lower() not in self.to
        return "sintetica" if copy else self.requested()


def now():
    return datetime.datetime.now(ROME).replace(microsecond=0)


def quoted_printable(text, charset):
    """A body of lines that end in CR LF, with soft breaks."""
    lines = []
    for line in text.split("\n"):
        row = ""
        for octet in line.encode(charset, "xmlcharrefreplace"):
            token = chr(octet) if 33 <= octet <= 126 and octet != 61 else f"={octet:02X}"
            token = " " if octet == 32 else token
            if len(row) + len(token) > 72:
                lines.append(row + "=")
                row = ""
            row += token
        lines.append(row[:-1] + "=20" if row.endswith(" ") else row)
    return "\r\n".join(lines).encode("ascii")


def base64_lines(octets):
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def multipart(kind, boundary, parts):
    line = f"\r\n--{boundary}".encode()
    head = f"Content-Type: {kind}; boundary=\"{boundary}\"\r\n".encode()
    return head + b"".join(line + b"\r\n" + part for part in parts) + line + b"--\r\n"


class Maker:
    def __init__(self, authority, name, domain, service):
        self.authority, self.name, self.domain, self.service = authority, name, domain, service
        self.numbers = itertools.count(1)
        # What is written wrongly on purpose, before it is signed: one text in place of another.
        self.spoil = None

    def identifier(self):
        return f"foro{next(self.numbers):06d}.{now():%Y%m%d%H%M%S}@{self.domain}"

    def data(self, letter, kind, at, error="nessuno", receipt=None, delivery=None, taken=(), detail=None):
        """daticert.xml (RFC 6109 §4.4)."""

        def element(name, text, attributes=""):
            return f"<{name}{attributes}>{escape(text)}</{name}>"

        to = "".join(element("destinatari", address, f' tipo="{of}"') for address, of in letter.kinds.items())
        subject = letter.readable_subject()
        rows = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<postacert tipo="{kind}" errore="{error}">',
            "<intestazione>" + element("mittente", letter.sender) + to,
            element("risposte", letter.reply_to or letter.sender),
            element("oggetto", subject) if subject is not None else "",
            "</intestazione><dati>" + element("gestore-emittente", self.name),
            f'<data zona="{at:%z}">' + element("giorno", f"{at:%d/%m/%Y}") + element("ora", f"{at:%H:%M:%S}") + "</data>",
            element("identificativo", letter.identifier),
            element("msgid", letter.message_id) if letter.message_id else "",
            f'<ricevuta tipo="{receipt}"/>' if receipt else "",
            element("consegna", delivery) if delivery else "",
            "".join(element("ricezione", address) for address in taken),
            element("errore-esteso", detail) if detail else "",
            "</dati></postacert>",
        ]
        text = "\n".join(row for row in rows if row)
        return (text.replace(*self.spoil) if self.spoil else text).encode("utf-8")

    def entity(self, text, data, included, manner):
        """The multipart/mixed that is signed (RFC 6109 §4.3)."""
        number = next(self.numbers)
        plain = (b"Content-Type: text/plain; charset=\"iso-8859-1\"\r\nContent-Transfer-Encoding: quoted-printable\r\n"
                 b"\r\n" + quoted_printable(text, "iso-8859-1"))
        first = plain
        if manner == "new":
            page = "<html><body><p>" + html.escape(text).replace("\n", "<br>") + "</p></body></html>"
            marked = (b"Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n"
                      b"\r\n" + quoted_printable(page, "iso-8859-1"))
            first = multipart("multipart/alternative", f"----foro-a-{number}", [plain, marked])
        rest = []
        if data is not None:
            rest.append(b"Content-Type: application/xml; name=\"daticert.xml\"\r\nContent-Transfer-Encoding: base64\r\n"
                        b"Content-Disposition: inline; filename=\"daticert.xml\"\r\n\r\n" + base64_lines(data))
        if included is not None:
            code = b"8bit" if any(octet > 127 for octet in included) else b"7bit"
            rest.append(b"Content-Type: message/rfc822; name=\"postacert.eml\"\r\nContent-Transfer-Encoding: " + code +
                        b"\r\nContent-Disposition: inline; filename=\"postacert.eml\"\r\n\r\n" + included)
        if manner == "old":
            rest.reverse()
        return multipart("multipart/mixed", f"----foro-m-{number}", [first, *rest])

    def seal(self, head, entity, manner, certificate):
        """Signs and puts the header on top (RFC 6109 §2.1)."""
        if self.spoil:
            before, after = (text.encode() for text in self.spoil)
            head = [(name.replace(*self.spoil), value.replace(*self.spoil)) for name, value in head]
            entity = entity.replace(before, after)
        old = manner == "old"
        signature = self.authority.signed(entity, certificate, "sha1" if old else "sha256")
        kind = SIGNATURE[old]
        micalg = "sha1" if old else '"sha-256"'
        part = (f"Content-Type: {kind}; name=\"smime.p7s\"\r\nContent-Transfer-Encoding: base64\r\n"
                "Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n").encode() + base64_lines(signature)
        boundary = f"----foro-s-{next(self.numbers)}"
        lines = b"".join(name.encode() + b": " + value.encode("utf-8") + b"\r\n" for name, value in head)
        body = multipart(f"multipart/signed; protocol=\"{kind}\"; micalg={micalg}", boundary, [entity, part])
        return lines + b"MIME-Version: 1.0\r\n" + body

    @staticmethod
    def subject(prefix, letter):
        subject = letter.readable_subject() or ""
        text = f"{prefix}: {subject}"
        return text if text.isascii() else Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")

    def envelope(self, letter, at, manner="new", certificate=None):
        """RFC 6109 §3.1.5; gives the letter its identifier. Returns the message and what it includes."""
        letter.identifier = self.identifier()
        included = exchanged(letter)
        head = [(name, value.decode("utf-8").strip()) for name, value, _ in letter.fields if name in ("to", "cc")]
        head = [(name.capitalize(), value) for name, value in head]
        head += [
            ("Reply-To", letter.reply_to or letter.sender),
            ("Message-ID", f"<{letter.identifier}>"),
            ("Date", email.utils.format_datetime(at)),
            ("Subject", self.subject("POSTA CERTIFICATA", letter)),
            ("From", f'"Per conto di: {letter.sender}" <{self.service}>'),
            ("X-Trasporto", "posta-certificata"),
        ]
        if letter.message_id:
            head.append(("X-Riferimento-Message-ID", letter.message_id))
        if letter.wish:
            head.append(("X-Tiporicevuta" if manner == "old" else "X-TipoRicevuta", letter.wish))
        text = (f"Messaggio di posta certificata\n\nIl giorno {at:%d/%m/%Y} alle ore {at:%H:%M:%S} ({at:%z}) il messaggio\n"
                f"\"{letter.readable_subject()}\" e' stato inviato da \"{letter.sender}\"\nindirizzato a:\n"
                + "".join(f"{address}\n" for address in letter.kinds)
                + f"Il messaggio originale e' incluso in allegato.\nIdentificativo messaggio: {letter.identifier}\n")
        data = self.data(letter, "posta-certificata", at, receipt=letter.requested())
        entity = self.entity(text, data, included, manner)
        return self.seal(head, entity, manner, certificate or self.authority.listed), included

    def notice(self, letter, at, marker, prefix, to, data, words, included=None, manner="new", certificate=None):
        """A receipt or notice (RFC 6109 §2.1.1.1)."""
        head = [
            ("X-Ricevuta", marker),
            ("Date", email.utils.format_datetime(at)),
            ("Subject", self.subject(prefix, letter)),
            ("From", self.service),
            ("To", to),
            ("Message-ID", f"<{self.identifier()}>"),
        ]
        if letter.message_id:
            head.append(("X-Riferimento-Message-ID", letter.message_id))
        text = (f"Il giorno {at:%d/%m/%Y} alle ore {at:%H:%M:%S} ({at:%z}) il messaggio\n\"{letter.readable_subject()}\" "
                f"proveniente da \"{letter.sender}\"\n{words}\nIdentificativo messaggio: {letter.identifier}\n")
        entity = self.entity(text, data, included, manner)
        return self.seal(head, entity, manner, certificate or self.authority.listed)

    def charge(self, letter, at, recipients, to, **how):
        """RFC 6109 §3.2.1."""
        data = self.data(letter, "presa-in-carico", at, taken=recipients)
        words = "indirizzato a:\n" + "\n".join(recipients) + "\ne' stato accettato dal sistema."
        return self.notice(letter, at, "presa-in-carico", "PRESA IN CARICO", to, data, words, **how)

    def delivery(self, letter, at, recipient, original, **how):
        """RFC 6109 §3.3.2, of the type that is due."""
        data = self.data(letter, "avvenuta-consegna", at, receipt=letter.requested(), delivery=recipient)
        due = letter.due(recipient)
        included = {"completa": original, "breve": brief(original), "sintetica": None}[due]
        words = f"destinato a \"{recipient}\"\ne' stato consegnato nella casella di destinazione."
        return self.notice(letter, at, "avvenuta-consegna", "CONSEGNA", letter.sender, data, words, included, **how)

    def failure(self, letter, at, recipient, error, detail, **how):
        """RFC 6109 §3.3.3."""
        data = self.data(letter, "errore-consegna", at, error=error, delivery=recipient, detail=detail)
        words = f"destinato a \"{recipient}\"\ne' stato rifiutato dal sistema: {detail}"
        return self.notice(letter, at, "errore-consegna", "AVVISO DI MANCATA CONSEGNA", letter.sender, data, words, **how)


def exchanged(letter):
    """The original with this provider's identifier in place of its own (RFC 6109 §2.2.1)."""
    header, body = divide(letter.octets)
    kept = b"".join(whole for name, _, whole in fields(header) if name != "message-id")
    kept += f"Message-ID: <{letter.identifier}>\r\n".encode()
    if letter.message_id:
        kept += f"X-Riferimento-Message-ID: {letter.message_id}\r\n".encode()
    return kept + b"\r\n" + body


def brief(octets):
    """The original with hashes in place of attachments (RFC 6109 §3.3.2.2)."""
    message = Entity(octets)
    if message.type in SECURE:
        return octets
    if message.type == "multipart/signed":
        parts = message.parts()
        return octets.replace(parts[0], hashed(parts[0]), 1)
    return hashed(octets)


def hashed(octets):
    entity = Entity(octets)
    if entity.type.startswith("multipart/"):
        # From the end, so that equal parts are met one by one.
        body = entity.body
        end = len(body)
        for part in reversed(entity.parts()):
            at = body.rindex(part, 0, end)
            body = body[:at] + hashed(part) + body[at + len(part) :]
            end = at
        return entity.header + b"\r\n" + body
    name = entity.disposition()[1] or entity.parameter("name")
    if not name:
        return octets
    digest = hashlib.sha1(entity.body).hexdigest()
    kept = b"".join(whole for found, _, whole in entity.fields if not found.startswith("content-"))
    safe = re.sub(r'["\\\r\n]', "_", str(name)).encode("ascii", "replace").decode()
    return kept + (f"Content-Type: text/plain; name=\"{safe}.hash\"\r\nContent-Disposition: attachment; "
                   f"filename=\"{safe}.hash\"\r\n\r\n{digest}").encode()
