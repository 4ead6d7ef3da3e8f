"""Letters as programs of users write them, odd ones among them. Each has a subject of its own."""

import base64
import email.message
import email.policy
import random

from authority import openssl


def head(sender, to, cc, subject, number, wish, message_id=True):
    lines = [f"From: {sender}", f"To: {', '.join(to)}"]
    lines += [f"Cc: {', '.join(cc)}"] if cc else []
    lines += [f"Subject: {subject}"] if subject is not None else []
    lines += [f"Message-ID: <lettera.{number}@penna.example>"] if message_id else []
    lines += [f"X-TipoRicevuta: {wish}"] if wish else []
    return "".join(line + "\r\n" for line in lines).encode("ascii") + b"MIME-Version: 1.0\r\n"


PLAIN = b"Content-Type: text/plain; charset=us-ascii\r\n\r\n"


def plain(top, number):
    return top(f"Offerta n. {number}") + PLAIN + b"Buongiorno.\r\n.\r\n..due punti\r\nSaluti\r\n"


def empty(top, number):
    return top(f"Corpo vuoto {number}") + PLAIN


def eight_bits(top, number):
    return (top(f"Otto bit {number}") + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            + "Perché la città è più bella così: € 5\r\n".encode())


def encoded_subject(top, number):
    return top(f"=?utf-8?Q?Perizia_=C3=A8_qui_{number}?=") + PLAIN + b"testo\r\n"


def beyond_latin(top, number):
    word = base64.b64encode(f"Žižka и Αθήνα € 日本 {number}".encode()).decode()
    return top(f"=?utf-8?B?{word}?=") + PLAIN + b"testo\r\n"


def folded_subject(top, number):
    return top(f"Una riga che va a capo\r\n perche' e' lunga {number}") + PLAIN + b"testo\r\n"


def specials_in_subject(top, number):
    return top(f"<b>&amp; \"virgolette\" 'apici' ]]> {number}") + PLAIN + b"testo\r\n"


def without_id(top, number):
    return top(f"Senza identificativo {number}", message_id=False) + PLAIN + b"testo\r\n"


def without_subject(top, number):
    return top(None) + PLAIN + f"senza oggetto {number}\r\n".encode()


def long_lines(top, number):
    return top(f"Righe lunghe {number}") + PLAIN + (b"x" * 998 + b"\r\n") * 3 + b"fine\r\n"


def html(top, number):
    return (top(f"Pagina {number}") + b"Content-Type: multipart/alternative; boundary=\"=_a\"\r\n\r\nPer vecchi programmi.\r\n"
            b"--=_a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            b"perch=C3=A9=20\r\n--=_a\r\nContent-Type: text/html\r\n\r\n<p>ciao</p>\r\n--=_a--\r\n")


def odd_names(top, number):
    """Attachments with names that are long, quoted, in other scripts, or only in Content-Type."""
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message.set_content("Allegati.\n")
    chance = random.Random(number)
    for name in ("fattura n° 1.pdf", 'con "virgolette" e; punto.txt', "日本語のとても長いファイル名" * 4 + ".doc", "..\\..\\via.exe"):
        message.add_attachment(chance.randbytes(3000), maintype="application", subtype="octet-stream", filename=name)
    octets = top(f"Nomi strani {number}") + message.as_bytes().replace(b"MIME-Version: 1.0\r\n", b"", 1)
    boundary = b"--" + message.get_boundary().encode()
    last = octets.rindex(boundary + b"--")
    named = (b"Content-Type: text/csv; name=\"solo qui.csv\"\r\n\r\na;b\r\n",
             b"Content-Type: image/png; name=\"=?utf-8?Q?foto_=C3=A8.png?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n")
    return octets[:last] + b"".join(boundary + b"\r\n" + part for part in named) + octets[last:]


def attached_message(top, number):
    inner = (b"From: terzo@altrove.example\r\nTo: quarto@altrove.example\r\nSubject: di un altro\r\nMessage-ID: <altro@altrove.example>\r\n"
             b"Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\nContent-Type: text/plain; name=dentro.txt\r\n\r\ndentro\r\n--in--\r\n")
    return (top(f"Messaggio allegato {number}") + b"Content-Type: multipart/mixed; boundary=\"fuori\"\r\n\r\n--fuori\r\n\r\ntesto\r\n"
            b"--fuori\r\nContent-Type: message/rfc822; name=\"altro.eml\"\r\nContent-Disposition: attachment; filename=\"altro.eml\"\r\n\r\n"
            + inner + b"\r\n--fuori--\r\nepilogo\r\n")


def signed(top, number, authority):
    """S/MIME signed by the user himself, with an attachment inside."""
    entity = (b"Content-Type: multipart/mixed; boundary=dentro\r\n\r\n--dentro\r\nContent-Type: text/plain\r\n\r\nfirmato\r\n--dentro\r\n"
              b"Content-Type: application/pdf; name=\"atto.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--dentro--\r\n")
    signature = base64.encodebytes(authority.signed(entity, authority.unlisted, "sha256")).replace(b"\n", b"\r\n")
    return (top(f"Firmato {number}") + b"Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=\"fi\"\r\n"
            b"\r\n--fi\r\n" + entity + b"\r\n--fi\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n"
            b"Content-Disposition: attachment; filename=smime.p7s\r\n\r\n" + signature + b"\r\n--fi--\r\n")


def enveloped(top, number, authority):
    """PKCS#7: opaque, so that nothing in it can be replaced."""
    entity = b"Content-Type: text/plain\r\n\r\nin busta\r\n"
    der = openssl("cms", "-sign", "-nodetach", "-binary", "-outform", "DER", "-signer", authority.unlisted.path, "-inkey",
                  authority.unlisted.key, given=entity).stdout
    return (top(f"In busta {number}") + b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\n"
            b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=smime.p7m\r\n\r\n"
            + base64.encodebytes(der).replace(b"\n", b"\r\n"))


def megabytes(top, number):
    content = base64.encodebytes(random.Random(number).randbytes(3 << 20)).replace(b"\n", b"\r\n")
    return (top(f"Molti megabyte {number}") + b"Content-Type: multipart/mixed; boundary=grande\r\n\r\n--grande\r\n\r\ntesto\r\n--grande\r\n"
            b"Content-Type: application/zip\r\nContent-Disposition: attachment; filename=grande.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + content + b"--grande--\r\n")


SIGNED = {"signed": signed, "enveloped": enveloped}
SORTS = {make.__name__: make for make in (
    plain, empty, eight_bits, encoded_subject, beyond_latin, folded_subject, specials_in_subject, without_id, without_subject,
    long_lines, html, odd_names, attached_message, megabytes)} | SIGNED


def write(sort, number, sender, to, cc, wish, authority):
    def top(subject, message_id=True):
        return head(sender, to, cc, subject, number, wish, message_id)

    more = (authority,) if sort in SIGNED else ()
    return SORTS[sort](top, number, *more)
