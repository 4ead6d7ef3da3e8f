"""Judges what the other provider has written, against RFC 6109. A fault is a sentence.

`Judge.judge` takes the octets of a signed message and what is known of its letter; the signature is
verified by the openssl command, the certification data by xmllint.
"""

import datetime
import email
import email.policy
import email.utils
import hashlib
import html.parser
import pathlib
import re
import ssl
import subprocess
import tempfile
import xml.etree.ElementTree

from authority import openssl
from making import ROME, SECURE, SIGNATURE, exchanged
from octets import Broken, Entity, decoded, divide, fields, unfold, without

GRAMMAR = pathlib.Path(__file__).with_name("postacert.dtd")
MIME = {"mime-version", "content-type", "content-transfer-encoding"}
TRACE = {"received", "return-path"}
RECEIPT = {"x-ricevuta", "date", "subject", "from", "to", "message-id", "x-riferimento-message-id"}

# Each value of X-Ricevuta: prefixes of its subject; children of dati beside the common ones.
NOTICES = {
    "accettazione": ({"ACCETTAZIONE: "}, set()),
    "non-accettazione": ({"AVVISO DI NON ACCETTAZIONE: "}, {"errore-esteso"}),
    "presa-in-carico": ({"PRESA IN CARICO: "}, {"ricezione"}),
    "avvenuta-consegna": ({"CONSEGNA: "}, {"ricevuta", "consegna"}),
    "errore-consegna": ({"AVVISO DI MANCATA CONSEGNA: "}, {"consegna", "errore-esteso"}),
    "preavviso-errore-consegna": ({"AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: "}, {"consegna", "errore-esteso"}),
}
ERRORS = {
    "non-accettazione": {"altro"},
    "errore-consegna": {"no-dest", "no-dominio", "altro"},
    "preavviso-errore-consegna": {"altro"},
}
COMMON = {"gestore-emittente", "data", "identificativo"}
WAYS = {"certificato": "posta certificata", "esterno": "posta ordinaria"}


class Page(html.parser.HTMLParser):
    """The words of a page, and whatever in it reaches outside or acts."""

    def __init__(self):
        super().__init__()
        self.words, self.faults = [], []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "img", "link", "iframe", "object", "embed", "form", "audio", "video", "base", "a", "style"):
            self.faults.append(f"the HTML has <{tag}>")
        for name, value in attributes:
            if name in ("src", "href", "background", "action", "data", "cite") or name.startswith("on"):
                self.faults.append(f"the HTML has the attribute {name}")
            if "url(" in (value or ""):
                self.faults.append("the HTML names a URL in a style")

    def handle_data(self, data):
        self.words.append(data)


def spaced(text):
    return " ".join(text.split())


class Verdict:
    def __init__(self):
        self.faults = []
        self.kind = self.letter = self.recipient = self.error = self.receipt = self.included = None
        self.subject = self.identifier = self.detail = self.instant = None
        self.taken = []

    def ask(self, holds, sentence):
        if not holds:
            self.faults.append(sentence)
        return holds


class Judge:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.message_ids, self.instants, self.certificates = {}, {}, {}

    def meet(self, name, service, domain, authority, certificate):
        """Who is judged: the record of the directory and the authority that is trusted."""
        self.name, self.service, self.domain, self.authority = name, service, domain, authority
        self.listed = hashlib.sha1(ssl.PEM_cert_to_DER_cert(first_certificate(certificate))).hexdigest()

    def judge(self, octets, find, mail_from=None, recipients=None):
        """`find` gives the letter of (msgid, subject, identifier). The SMTP paths are judged when given."""
        verdict = Verdict()
        try:
            self.look(verdict, octets, find, mail_from, recipients)
        except (Broken, AttributeError, LookupError, ValueError, TypeError, xml.etree.ElementTree.ParseError) as broken:
            verdict.faults.append(f"{type(broken).__name__}: {broken}")
        return verdict

    def look(self, verdict, octets, find, mail_from, recipients):
        entity = self.signed(verdict, octets)
        # Below the fields of its way, which differ.
        verdict.digest = hashlib.sha256(entity.octets).hexdigest()
        outer = Entity(octets)
        trust, mark = outer.value("X-Trasporto"), outer.value("X-Ricevuta")
        verdict.ask((trust is None) != (mark is None), "X-Trasporto and X-Ricevuta stand together, or neither does")
        verdict.kind = trust or mark
        verdict.subject = decoded(outer.value("Subject") or "")
        texts, data, verdict.included = self.parts(verdict, entity)
        if verdict.kind == "errore":
            return self.anomaly(verdict, outer, texts, data)
        verdict.ask(data is not None, "there is no daticert.xml")
        root = self.data(verdict, data)
        letter = find(root.findtext("dati/msgid"), root.findtext("intestazione/oggetto"),
                      root.findtext("dati/identificativo"))
        verdict.letter = letter
        if not verdict.ask(letter is not None, "it speaks of no message that was sent"):
            return None
        self.head(verdict, outer, letter)
        self.facts(verdict, root, letter)
        self.one_instant(verdict, outer, texts, root)
        if verdict.kind == "posta-certificata":
            self.envelope(verdict, outer, letter, mail_from, recipients)
        else:
            self.notice(verdict, outer, root, letter, mail_from, recipients)
        self.words(verdict, texts, root, letter)
        return None

    # The structure (RFC 6109 §4.3, §2.1).

    def signed(self, verdict, octets):
        verdict.ask(b"\r" not in octets.replace(b"\r\n", b"") and b"\n" not in octets.replace(b"\r\n", b""),
                    "a line does not end in CR LF")
        verdict.ask(max(len(line) for line in octets.split(b"\r\n")) <= 998, "a line has more than 998 octets")
        outer = Entity(octets)
        verdict.ask(outer.header.isascii(), "the header is not ASCII")
        verdict.ask(outer.value("MIME-Version") == "1.0", "MIME-Version is not 1.0")
        verdict.ask(outer.type == "multipart/signed", f"the type is {outer.type}")
        verdict.ask(outer.parameter("protocol") in SIGNATURE, f"protocol is {outer.parameter('protocol')}")
        parts = outer.parts()
        verdict.ask(len(parts) == 2, f"multipart/signed has {len(parts)} parts")
        signature = Entity(parts[1])
        verdict.ask(signature.type == outer.parameter("protocol"), "protocol and signature differ")
        verdict.ask(signature.disposition() == ("attachment", "smime.p7s"), "the signature is no attachment smime.p7s")
        verdict.ask(signature.parameter("name") == "smime.p7s", "the signature is not named smime.p7s")
        verdict.ask(signature.encoding() == "base64", "the signature is not in base64")
        self.verified(verdict, parts[0], signature.content(), outer)
        self.defects(verdict, octets)
        self.transfer(verdict, outer, Entity(parts[0]))
        return Entity(parts[0])

    def verified(self, verdict, entity, signature, outer):
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            place = pathlib.Path(place)
            (place / "entity").write_bytes(entity)
            (place / "smime.p7s").write_bytes(signature)
            done = openssl("cms", "-verify", "-inform", "DER", "-in", place / "smime.p7s", "-content", place / "entity",
                           "-binary", "-CAfile", self.authority, "-purpose", "smimesign", "-signer", place / "signer.pem",
                           "-out", place / "out", check=False)
            if not verdict.ask(done.returncode == 0, f"openssl cms -verify: {done.stderr.decode()[-200:]}"):
                return
            verdict.ask((place / "out").read_bytes() == entity, "the signed octets are others")
            signer = (place / "signer.pem").read_text()
            shown = openssl("cms", "-cmsout", "-print", "-inform", "DER", "-in", place / "smime.p7s", "-noout").stdout.decode()
        algorithm = re.search(r"digestAlgorithms:\s+algorithm: (\S+)", shown)
        verdict.ask(algorithm and algorithm[1] == "sha256", "the digest is not SHA-256")
        verdict.ask(str(outer.parameter("micalg")).lower() == "sha-256", f"micalg is {outer.parameter('micalg')}")
        verdict.ask("signingTime" in shown, "signingTime is absent")
        digest = hashlib.sha1(ssl.PEM_cert_to_DER_cert(first_certificate(signer))).hexdigest()
        verdict.ask(digest == self.listed, "the certificate is not in the directory")
        if digest not in self.certificates:
            self.certificates[digest] = openssl("x509", "-noout", "-text", given=signer.encode()).stdout.decode()
        self.profile(verdict, self.certificates[digest])
        written = email.utils.getaddresses([outer.value("From") or ""])
        verdict.ask(len(written) == 1 and written[0][1] == self.service, f"From is {outer.value('From')}")
        verdict.ask(f"email:{self.service}" in self.certificates[digest], "From is not the address of the certificate")

    def profile(self, verdict, shown):
        """RFC 6109 §5.5.1."""
        verdict.ask(f"O = {self.name}" in shown or f"CN = {self.name}" in shown, "the certificate has another name")
        for name, critical in (("Key Usage", True), ("Authority Key Identifier", False),
                               ("Subject Key Identifier", False), ("Subject Alternative Name", False)):
            found = re.search(rf"X509v3 {name}:(.*)\n\s+(.*)", shown)
            if verdict.ask(found, f"the certificate has no {name}"):
                verdict.ask(("critical" in found[1]) == critical, f"{name} has the wrong criticality")
        verdict.ask("Digital Signature" in shown, "the key is not for signatures")
        verdict.ask("Basic Constraints" not in shown, "the certificate has Basic Constraints")

    def defects(self, verdict, octets):
        """What Python's parser finds wrong, but inside of messages that are not the provider's."""

        def walk(part):
            verdict.faults.extend(f"email: {part.get_content_type()}: {defect!r}" for defect in part.defects)
            for name, value in part.items():
                verdict.faults.extend(f"email: {name}: {defect!r}" for defect in getattr(value, "defects", ()))
            if part.get_content_type() != "message/rfc822" and part.is_multipart():
                for inner in part.iter_parts():
                    walk(inner)

        walk(email.message_from_bytes(octets, policy=email.policy.SMTP))

    def transfer(self, verdict, outer, entity):
        """Seven bits for all that the provider writes (RFC 6109 §4.3); what includes a message says what that has."""

        def walk(part):
            eight = not part.octets.isascii()
            if part.type == "message/rfc822" or part.type.startswith("multipart/"):
                verdict.ask(part.encoding() in ("7bit", "8bit", "binary"), f"{part.type} in {part.encoding()}")
                verdict.ask(not eight or part.encoding() in ("8bit", "binary"), f"{part.type} says {part.encoding()}")
                verdict.ask(eight or part.encoding() == "7bit", f"{part.type} says {part.encoding()} for seven bits")
                if part.type != "message/rfc822":
                    for inner in part.parts():
                        walk(Entity(inner))
            else:
                verdict.ask(not eight, f"{part.type} has octets above 127")

        walk(entity)
        eight = not entity.octets.isascii()
        verdict.ask(outer.encoding() == ("8bit" if eight else "7bit"), f"the message says {outer.encoding()}")

    def parts(self, verdict, entity):
        """The text in its forms, the certification data, the included message."""
        verdict.ask(entity.type == "multipart/mixed", f"the signed entity is {entity.type}")
        parts = [Entity(part) for part in entity.parts()]
        first = parts[0]
        forms = [Entity(part) for part in first.parts()] if first.type == "multipart/alternative" else [first]
        kinds = [form.type for form in forms]
        verdict.ask(kinds in (["text/plain"], ["text/plain", "text/html"]), f"the first part is {kinds}")
        texts = {}
        for form in forms:
            verdict.ask(str(form.parameter("charset")).lower() == "iso-8859-1", f"charset {form.parameter('charset')}")
            texts[form.type] = form.content().decode("iso-8859-1")
        data = included = None
        for part in parts[1:]:
            if part.type == "application/xml" and data is None:
                verdict.ask(part.disposition()[1] == "daticert.xml" == part.parameter("name"), "the data have another name")
                verdict.ask(str(part.parameter("charset") or "utf-8").lower() == "utf-8", "the data are not in UTF-8")
                data = part.content()
            elif part.type == "message/rfc822" and included is None:
                verdict.ask(part.disposition()[1] == "postacert.eml" == part.parameter("name"), "the message has another name")
                included = part.body
            else:
                verdict.faults.append(f"there is a further part {part.type}")
        return texts, data, included

    # The certification data (RFC 6109 §4.4).

    def data(self, verdict, octets):
        done = subprocess.run(["xmllint", "--noout", "--nonet", "--dtdvalid", str(GRAMMAR), "-"], input=octets,
                              capture_output=True)
        verdict.ask(done.returncode == 0, f"xmllint: {done.stderr.decode()[:300]}")
        verdict.ask(octets.startswith(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "the data have no XML declaration")
        verdict.ask(b"<!DOCTYPE" not in octets and b"xmlns" not in octets, "the data have a DOCTYPE or a namespace")
        return xml.etree.ElementTree.fromstring(octets)

    def facts(self, verdict, root, letter):
        kind = verdict.kind
        get = root.findtext
        verdict.ask(root.get("tipo") == kind, f"tipo is {root.get('tipo')}")
        verdict.error, verdict.detail = root.get("errore", "nessuno"), get("dati/errore-esteso")
        verdict.ask(verdict.error in ERRORS.get(kind, {"nessuno"}), f"errore is {verdict.error}")
        verdict.ask(get("intestazione/mittente") == letter.sender, f"mittente is {get('intestazione/mittente')}")
        found = sorted((to.text, to.get("tipo", "certificato")) for to in root.findall("intestazione/destinatari"))
        verdict.ask(found == sorted(letter.kinds.items()), f"destinatari are {found}")
        verdict.ask(get("intestazione/risposte") == (letter.reply_to or letter.sender), f"risposte is {get('intestazione/risposte')}")
        verdict.ask(get("intestazione/oggetto") == letter.readable_subject(), f"oggetto is {get('intestazione/oggetto')!r}")
        issuer = get("dati/gestore-emittente")
        verdict.ask(issuer == self.name, f"gestore-emittente is {issuer}")
        verdict.ask(get("dati/msgid") == letter.message_id, f"msgid is {get('dati/msgid')}")
        verdict.identifier = get("dati/identificativo")
        letter.identifier = letter.identifier or verdict.identifier
        verdict.ask(verdict.identifier == letter.identifier, f"identificativo is {verdict.identifier}, was {letter.identifier}")
        children = {child.tag for child in root.find("dati")}
        further = {"ricevuta"} if kind == "posta-certificata" else NOTICES[kind][1]
        wanted = COMMON | further | ({"msgid"} if letter.message_id else set())
        verdict.ask(children == wanted, f"dati has {sorted(children ^ wanted)} against the rule")
        if kind in ("posta-certificata", "avvenuta-consegna"):
            of = root.find("dati/ricevuta").get("tipo")
            verdict.ask(of == letter.requested(), f"ricevuta says {of}")
        verdict.recipient = get("dati/consegna")
        verdict.taken = [element.text for element in root.findall("dati/ricezione")]

    def one_instant(self, verdict, outer, texts, root):
        """RFC 6109 §4.1, §4.2: one instant in header, data and text, in legal time."""
        date = email.utils.parsedate_to_datetime(outer.value("Date"))
        day, hour, zone = (root.findtext("dati/data/giorno"), root.findtext("dati/data/ora"), root.find("dati/data").get("zona"))
        verdict.ask(re.fullmatch(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d [+-]\d{4}", f"{day} {hour} {zone}"), f"{day} {hour} {zone}")
        written = datetime.datetime.strptime(f"{day} {hour} {zone}", "%d/%m/%Y %H:%M:%S %z")
        verdict.ask(date == written, f"Date {date} differs from the data {written}")
        verdict.ask(date.astimezone(ROME).strftime("%z") == zone, f"the zone {zone} is not that of Italy")
        verdict.instant = written
        for form, text in texts.items():
            text = text.replace(root.findtext("intestazione/oggetto") or "\0", "")
            told = [set(re.findall(pattern, text)) for pattern in (r"\d\d/\d\d/\d{4}", r"\d\d:\d\d:\d\d", r"\([+-]\d{4}\)")]
            verdict.ask(told == [{day}, {hour}, {f"({zone})"}], f"the {form} has another instant: {told}")
        if verdict.kind in ("accettazione", "posta-certificata"):
            first = self.instants.setdefault(verdict.identifier, written)
            verdict.ask(first == written, "acceptance and envelope have different instants")

    # Headers (RFC 6109 §2.1.1, §3).

    def head(self, verdict, outer, letter):
        message_id = outer.value("Message-ID")
        own = re.fullmatch(r"<([A-Za-z0-9.]+)@([A-Za-z0-9.-]+)>", message_id or "")
        verdict.ask(own, f"Message-ID is {message_id}")
        verdict.ask(own and (own[2] == self.domain or own[2].endswith("." + self.domain)), "Message-ID has a foreign domain")
        verdict.ask(outer.value("X-Riferimento-Message-ID") == letter.message_id,
                    f"X-Riferimento-Message-ID is {outer.value('X-Riferimento-Message-ID')}")

    def notice(self, verdict, outer, root, letter, mail_from, recipients):
        kind = verdict.kind
        if not verdict.ask(kind in NOTICES, f"X-Ricevuta is {kind}"):
            return
        wanted = RECEIPT - (set() if letter.message_id else {"x-riferimento-message-id"})
        self.exactly(verdict, outer, wanted)
        self.titled(verdict, outer, NOTICES[kind][0], letter)
        identifier = outer.value("Message-ID").strip("<>")
        verdict.ask(identifier != verdict.identifier, "it bears the identifier of the envelope")
        # The same octets may come again; another message has another identifier.
        first = self.message_ids.setdefault(identifier, verdict.digest)
        verdict.ask(first == verdict.digest, f"its Message-ID {identifier} was that of another message")
        verdict.ask(outer.value("From") == self.service, f"From is {outer.value('From')}, not bare")
        to = self.peer_service if kind == "presa-in-carico" else letter.sender
        verdict.ask(outer.value("To") == to, f"To is {outer.value('To')}")
        if recipients is not None:
            verdict.ask(mail_from in (self.service, ""), f"the reverse path is {mail_from}")
            verdict.ask(recipients == [to], f"the forward path is {recipients}")
        if kind == "avvenuta-consegna":
            self.delivered(verdict, letter)
        else:
            verdict.ask(verdict.included is None, "it includes the message")
        if kind == "presa-in-carico" and letter.handed is not None:
            verdict.ask(sorted(verdict.taken) == sorted(letter.handed), f"it covers {verdict.taken}, not {letter.handed}")
        for name in ("consegna", "ricezione"):
            for element in root.findall(f"dati/{name}"):
                verdict.ask(element.text in letter.kinds, f"{name} names {element.text}")
        if verdict.detail is not None:
            verdict.ask(re.match(r"[45]\.\d\.\d\d?\b", verdict.detail), f"errore-esteso is {verdict.detail}")

    def exactly(self, verdict, outer, wanted):
        names = [name for name, _, _ in outer.fields]
        found = set(names) - MIME - TRACE
        verdict.ask(found == wanted, f"header fields against the rule: {sorted(found ^ wanted)}")
        verdict.ask(all(names.count(name) == 1 for name in wanted | MIME if name in names), "a field stands twice")

    def titled(self, verdict, outer, prefixes, letter):
        subject = letter.readable_subject() or ""
        written = decoded(outer.value("Subject"))
        verdict.ask(any(written.rstrip() == (prefix + subject).rstrip() for prefix in prefixes), f"Subject is {written!r}")

    def delivered(self, verdict, letter):
        due = letter.due(verdict.recipient or "")
        whole = letter.included
        included = verdict.included
        verdict.receipt = "sintetica" if included is None else "completa" if included == whole else "breve"
        if due == "sintetica":
            verdict.ask(included is None, "a concise receipt includes the message")
        elif verdict.ask(included is not None, f"a receipt of type {due} includes nothing") and whole is not None:
            if due == "completa":
                verdict.ask(included == whole, "a complete receipt includes another message")
            else:
                self.brief(verdict, included, whole)

    def brief(self, verdict, found, whole):
        """RFC 6109 §3.3.2.2."""
        message = Entity(whole)
        if message.type in SECURE:
            verdict.ask(found == whole, "an enveloped message is not whole")
        elif message.type == "multipart/signed":
            ours, theirs = Entity(found).parts(), message.parts()
            verdict.ask(Entity(found).header == message.header, "the header of the signed message is another")
            verdict.ask(ours[1:] == theirs[1:], "the signature is another")
            self.same_but_hashes(verdict, ours[0], theirs[0])
        else:
            self.same_but_hashes(verdict, found, whole)

    def same_but_hashes(self, verdict, found, whole):
        ours, theirs = Entity(found), Entity(whole)
        if theirs.type.startswith("multipart/"):
            verdict.ask(ours.header == theirs.header, f"the header of {theirs.type} is another")
            verdict.ask(ours.frame() == theirs.frame(), f"what stands around the parts of {theirs.type} is another")
            left, right = ours.parts(), theirs.parts()
            if verdict.ask(len(left) == len(right), f"{theirs.type} has {len(left)} parts instead of {len(right)}"):
                for one, other in zip(left, right):
                    self.same_but_hashes(verdict, one, other)
            return
        name = theirs.read.get_filename()
        if not name:
            verdict.ask(found == whole, f"a part {theirs.type} without a name is another")
            return
        verdict.ask(ours.type == "text/plain", f"a hash of type {ours.type}")
        verdict.ask(ours.read.get_filename() == f"{name}.hash", f"the hash of {name} is {ours.read.get_filename()}")
        digest = hashlib.sha1(theirs.body).hexdigest()
        verdict.ask(ours.body.strip() == digest.encode(), f"the hash of {name} is {ours.body[:60]!r}")

    def envelope(self, verdict, outer, letter, mail_from, recipients):
        wanted = {"to", "reply-to", "message-id", "date", "subject", "from", "x-trasporto"}
        wanted |= {"cc"} if letter.cc else set()
        wanted |= {"x-riferimento-message-id"} if letter.message_id else set()
        wanted |= {"x-tiporicevuta"} if letter.wish else set()
        self.exactly(verdict, outer, wanted)
        self.titled(verdict, outer, {"POSTA CERTIFICATA: "}, letter)
        verdict.ask(outer.value("Message-ID") == f"<{verdict.identifier}>", "Message-ID is not the identifier")
        of = f'"Per conto di: {letter.sender}" <{self.service}>'
        verdict.ask(outer.value("From") == of, f"From is {outer.value('From')}")
        verdict.ask(outer.value("Reply-To") == (letter.reply_to or letter.sender), f"Reply-To is {outer.value('Reply-To')}")
        verdict.ask((outer.value("X-TipoRicevuta") or "").lower() == letter.wish, f"X-TipoRicevuta is {outer.value('X-TipoRicevuta')}")
        for name in ("to", "cc"):
            theirs = [unfold(value) for found, value, _ in letter.fields if found == name]
            verdict.ask([unfold(value) for value in outer.values(name)] == theirs, f"{name} was changed")
        if recipients is not None:
            verdict.ask(mail_from == letter.sender, f"the reverse path is {mail_from}")
            verdict.ask(set(recipients) <= set(letter.kinds), f"the forward path is {recipients}")
        self.original(verdict, letter)

    def original(self, verdict, letter):
        """The message octet by octet but for its identifier (RFC 6109 §2.2.1)."""
        if not verdict.ask(verdict.included is not None, "the envelope includes nothing"):
            return
        letter.included = verdict.included
        ours = Entity(verdict.included)
        verdict.ask(ours.values("message-id") and ours.value("message-id") == f"<{verdict.identifier}>",
                    "the message inside has another identifier")
        verdict.ask(ours.value("x-riferimento-message-id") == letter.message_id, "the message inside has another reference")
        names = ("message-id", "x-riferimento-message-id")
        verdict.ask(without(verdict.included, *names) == without(letter.octets, *names), "the message inside is another")

    def anomaly(self, verdict, outer, texts, data):
        """RFC 6109 §3.2.2."""
        verdict.ask(data is None, "an anomaly envelope has certification data")
        if not verdict.ask(verdict.included is not None, "an anomaly envelope includes nothing"):
            return
        inside = Entity(verdict.included)
        # Above them what checks of ordinary mail have found (RFC 8601).
        names = {name for name, _, _ in outer.fields} - MIME - TRACE - {"authentication-results"}
        wanted = {"reply-to", "message-id", "date", "subject", "from", "x-trasporto"}
        # Without an identifier of the message the envelope has one of its own (RFC 5322 §3.6.4).
        for name in ("to", "cc", *["message-id"][: len(inside.values("message-id"))]):
            wanted |= {name} if inside.values(name) else set()
            verdict.ask([unfold(value) for value in outer.values(name)] == [unfold(value) for value in inside.values(name)],
                        f"{name} was changed")
        verdict.ask(names == wanted, f"header fields against the rule: {sorted(names ^ wanted)}")
        subject = decoded(inside.value("Subject") or "")
        verdict.ask(verdict.subject.rstrip() == f"ANOMALIA MESSAGGIO: {subject}".rstrip(), f"Subject is {verdict.subject!r}")
        display = re.fullmatch(r'"Per conto di: (\S+)" <(\S+)>', outer.value("From"))
        verdict.ask(display and display[2] == self.service, f"From is {outer.value('From')}")
        date = email.utils.parsedate_to_datetime(outer.value("Date")).astimezone(ROME)
        for form, text in texts.items():
            words = [f"{date:%d/%m/%Y}", f"{date:%H:%M:%S}", f"({date:%z})"] + [display[1]] * bool(display)
            verdict.ask(all(word in spaced(text) for word in words), f"the {form} lacks some of {words}")
            if form == "text/html":
                self.page(verdict, text)

    # The text for people (RFC 6109 §3).

    def words(self, verdict, texts, root, letter):
        named = [verdict.recipient] if verdict.recipient else verdict.taken or list(letter.kinds)
        wanted = [letter.sender, verdict.identifier, *named]
        plain = spaced(texts["text/plain"])
        forms = {"text/plain": plain}
        if "text/html" in texts:
            forms["text/html"] = spaced(self.page(verdict, texts["text/html"]))
        subject = spaced(letter.readable_subject() or "")
        for form, text in forms.items():
            for word in wanted:
                alone = rf"(?<![\w.@-]){re.escape(word)}(?![\w@-])"
                verdict.ask(re.search(alone, text), f"the {form} lacks {word}")
            latin = [word for word in subject.split() if is_latin(word)] if form == "text/plain" else subject.split()
            verdict.ask(all(word in text for word in latin), f"the {form} lacks the subject")
            if verdict.kind == "accettazione":
                for address, kind in letter.kinds.items():
                    verdict.ask(re.search(rf"{re.escape(address)}\W+\(?[\"“]?{WAYS[kind]}", text), f"the {form} does not say how {address} is reached")
            if verdict.kind in ("errore-consegna", "non-accettazione"):
                verdict.ask(bool(verdict.detail), "no error is told")

    def page(self, verdict, text):
        page = Page()
        page.feed(text)
        verdict.faults.extend(page.faults)
        return " ".join(page.words)


def is_latin(word):
    try:
        word.encode("iso-8859-1")
    except UnicodeEncodeError:
        return False
    return True


def first_certificate(pem):
    end = "-----END CERTIFICATE-----"
    begin = pem.index("-----BEGIN CERTIFICATE-----")
    return pem[begin : pem.index(end) + len(end)]
