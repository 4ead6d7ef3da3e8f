"""Messages that are hard on mail programs, octet by octet. Run with a folder, it writes one file for each, for programs in
other languages; `read` gives them back by name.

Every line ends in CRLF but where the name says otherwise.
"""

import base64
import pathlib
import sys

HEAD = b"Message-ID: <%s@campioni.example>\r\nDate: Sat, 21 Nov 2026 10:%02d:00 +0100\r\nFrom: Anna <anna@pec.alfa.example>\r\n" \
    b"To: bruno@pec.alfa.example\r\nSubject: %s\r\n"

# 120,000 octets without a pattern that compresses, the same each time.
ATTACHMENT = b"".join((number * number * 2654435761 % (1 << 64)).to_bytes(8, "big") for number in range(15_000))


def lines(octets):
    encoded = base64.b64encode(octets)
    return b"".join(encoded[begin : begin + 76] + b"\r\n" for begin in range(0, len(encoded), 76))


def mixed(boundary, *parts):
    text = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n" % boundary
    return text + b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary


def attached():
    return mixed(
        b"=_allegato",
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nPerch=C3=A9 no?=20\r\n",
        b"Content-Type: application/octet-stream; name=dati\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename*=utf-8''dati%20pi%C3%B9%20grandi.bin\r\n\r\n" + lines(ATTACHMENT),
    )


def nested():
    inner = head("interno", 9, b"Dentro") + mixed(b"=_dentro", b"\r\nUno.\r\n", b"\r\nDue.\r\n")
    outer = head("di-mezzo", 8, b"In mezzo") + mixed(b"=_mezzo", b"Content-Type: message/rfc822\r\n\r\n" + inner)
    return mixed(b"=_fuori", b"\r\nIn allegato.\r\n", b"Content-Type: message/rfc822\r\n\r\n" + outer)


def broken():
    return (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_mai\"; charset\r\nContent-Transfer-Encoding: base64\r\n"
        b"X-Lungo: uno\r\n due\r\n\ttre\r\nX-Vuoto:\r\n\r\n--=_mai\r\nContent-Type: text\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=E8=ZZ=\r\n--=_mai\r\nContent-Type: application/pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!non base64===\r\n"
    )


def head(name, minute, subject):
    return HEAD % (name.encode(), minute, subject)


def samples():
    bodies = {
        "semplice": (b"Prova", b"\r\nBuongiorno.\r\n"),
        "otto-bit": ("Perché più in là".encode(), b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n"
                     + "Così è, se vi pare: €.\r\n".encode() + b"Perch\xe9 \xff\xfe no\x80?\r\n"),
        "allegato": (b"=?utf-8?q?Con_allegato_pi=C3=B9_grande?=", attached()),
        "righe-lunghe": (b"Righe lunghe " + b"x" * 900, b"\r\n" + b"abcdefghi " * 1_200 + b"\r\nfine\r\n"),
        "senza-corpo": (b"Senza corpo", b"\r\n"),
        "punti": (b"Punti", b"\r\n.\r\n..\r\n.punto\r\n\r\n.\r\n...\r\nFrom qui in poi\r\n>From\r\n  \r\n.\r\n\r\n"),
        "annidato": (b"Annidato", nested()),
        "rotto": (b"=?utf-8?b?rotto", broken()),
        "senza-fine": (b"Senza fine", b"\r\nL'ultima riga non finisce"),
    }
    return {name: head(name, minute, subject) + rest for minute, (name, (subject, rest)) in enumerate(bodies.items())}


def read(folder):
    return {path.stem: path.read_bytes() for path in sorted(pathlib.Path(folder).glob("*.eml"))}


if __name__ == "__main__":
    for name, octets in samples().items():
        pathlib.Path(sys.argv[1], f"{name}.eml").write_bytes(octets)
