"""A small provider of certified mail, written from RFC 6109 alone, for tests of another one.

    peer.py FOLDER

It serves SMTP on a port of 127.0.0.1 and takes one order a line on standard input, JSON, each answered
with one line of JSON. It shares no code, text or constant with the provider that it meets, and judges
whatever it gets from it: `faults` of an answer are sentences. Nothing happens between two orders but
that the server takes messages.

Not here: what the tests expect. They stand in the .rs files beside.
"""

import hashlib
import json
import pathlib
import queue
import sys
import traceback

from authority import Authority
from judge import Judge
from letters import write
from making import Letter, Maker, now
from octets import fields
from post import Client, Server

NAME, DOMAIN, MAILBOXES = "Gestore Foro", "foro.example", "pec.foro.example"
SERVICE = f"posta-certificata@{DOMAIN}"
USERS = {f"rosa@{MAILBOXES}", f"sara@{MAILBOXES}", f"tito@{MAILBOXES}"}


class Peer:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.authority = Authority(folder / "authority", NAME, SERVICE)
        self.maker = Maker(self.authority, NAME, DOMAIN, SERVICE)
        self.judge = Judge(folder / "judge")
        self.judge.peer_service = SERVICE
        self.server = Server(self.authority.server)
        self.letters, self.sent, self.seen = [], [], {}
        entry = folder / "entry.ldif"
        entry.write_text(self.authority.directory_entry(SERVICE, [DOMAIN, MAILBOXES]))
        self.begin = {"port": self.server.server_address[1], "authority": str(self.authority.certificate),
                      "revocations": str(self.authority.revocations), "entry": str(entry)}

    # Orders.

    def meet(self, name, service, domain, domains, authority, certificate, ports, password):
        self.ours, self.domains = service, [*domains, DOMAIN, MAILBOXES]
        self.judge.meet(name, service, domain, authority, pathlib.Path(certificate).read_text())
        self.client = Client(ports, authority, password)
        return {}

    def submit(self, sort, sender, to, cc=(), wish=None, hidden=()):
        """A user of the other provider submits a letter, to `hidden` too, whom it does not name; its number."""
        letter = self.letter(sort, sender, to, cc, wish)
        letter.kinds |= {address: self.kind(address) for address in hidden}
        self.client.submit(sender, list(letter.kinds), letter.octets)
        return {"letter": self.letters.index(letter)}

    def send(self, sort, sender, to, cc=(), wish=None, manner="new", signer="listed", change=None, spoil=None):
        """A user of this provider has submitted a letter: its envelope goes to the other one's users.

        `change` replaces text after the signature was made, `spoil` before."""
        letter = self.letter(sort, sender, to, cc, wish)
        certificate = getattr(self.authority, signer)
        self.maker.spoil = spoil
        octets, letter.included = self.maker.envelope(letter, now(), manner, certificate)
        self.maker.spoil = None
        if change:
            before, after = change
            octets = octets.replace(before.encode(), after.encode(), 1)
        there = [address for address in letter.kinds if not address.endswith(MAILBOXES)]
        handed = self.hand_over(letter, sender, there, octets)
        letter.handed = [address for address in there if address not in handed["refused"]]
        return handed

    def ordinary(self, sender, to, fields="", body="testo\r\n"):
        """A message that nobody has certified."""
        octets = f"From: {sender}\r\nTo: {', '.join(to)}\r\n{fields}\r\n{body}".encode()
        return self.hand_over(None, sender, to, octets)

    def answer(self, letter, what, recipient=None, signer="listed", manner="new", to=None, identifier=None):
        """A receipt for a letter of the other provider's user; `to` is whose mailbox gets it."""
        about = self.letters[letter]
        known, about.identifier = about.identifier, identifier or about.identifier
        how = {"manner": manner, "certificate": getattr(self.authority, signer)}
        if what == "charge":
            octets = self.maker.charge(about, now(), [recipient or self.users_of(about)[0]], self.ours, **how)
        elif what == "delivery":
            octets = self.maker.delivery(about, now(), recipient, about.included, **how)
        else:
            octets = self.maker.failure(about, now(), recipient, "no-dest", "5.1.1 - Gestore Foro - casella inesistente", **how)
        about.identifier = known
        to = to or (self.ours if what == "charge" else about.sender)
        return self.hand_over(about, SERVICE, [to], octets)

    def repeat(self, sent):
        """The same octets again, as after a lost reply."""
        mail_from, recipients, octets = self.sent[sent]
        reply, refused = self.client.relay(mail_from, recipients, octets)
        return {"reply": reply, "refused": refused}

    def work(self, answer=True, manner="new"):
        """Judges what was taken since the last time; `answer`: also does what a provider does then."""
        taken = []
        while True:
            try:
                transaction = self.server.taken.get_nowait()
            except queue.Empty:
                return {"taken": taken}
            verdict = self.judge.judge(transaction.octets, self.find, transaction.mail_from, transaction.recipients)
            if not transaction.secured:
                verdict.faults.append("it came without TLS")
            taken.append(self.told(verdict, transaction.octets) | {"to": transaction.recipients})
            if answer and verdict.kind == "posta-certificata" and verdict.letter:
                self.receive(verdict.letter, transaction.recipients, manner)

    def read(self, user):
        """What is new in a mailbox of the other provider."""
        found = []
        for uid, octets in self.client.read(user, self.seen.get(user, 0) + 1):
            self.seen[user] = uid
            own = next((at for at, (_, _, sent) in enumerate(self.sent) if octets.endswith(sent)), None)
            if own is not None:
                # This provider's own message: it is as it was, below the fields of its way.
                above = octets[: len(octets) - len(self.sent[own][2])]
                faults = [] if all_trace(above) else [f"{above!r} stands above a message of this provider"]
                found.append({"kind": "own", "sent": own, "faults": faults})
            else:
                verdict = self.judge.judge(octets, self.find)
                about = self.told(verdict, octets)
                if verdict.kind == "errore" and verdict.included is not None:
                    about["inside"] = next((at for at, (_, _, sent) in enumerate(self.sent) if verdict.included.endswith(sent)), None)
                found.append(about)
        return {"messages": found}

    def manners(self, stage, reply, times=-1):
        self.server.manners.be(stage, reply, times)
        return {}

    def heard(self, stage):
        return {"times": self.server.manners.heard.get(stage, 0)}

    # What a provider does.

    def receive(self, letter, recipients, manner):
        """RFC 6109 §3.5: take charge, deliver, tell."""
        manner = ("new", "old")[self.letters.index(letter) % 2] if manner == "mixed" else manner
        own = [recipient for recipient in recipients if recipient.endswith(MAILBOXES)]
        if own:
            charge = self.maker.charge(letter, now(), own, self.ours, manner=manner)
            self.hand_over(letter, SERVICE, [self.ours], charge)
        for recipient in own:
            if recipient in USERS:
                answer = self.maker.delivery(letter, now(), recipient, letter.included, manner=manner)
            else:
                answer = self.maker.failure(letter, now(), recipient, "no-dest", "5.1.1 - Gestore Foro - indirizzo non valido",
                                            manner=manner)
            self.hand_over(letter, SERVICE, [letter.sender], answer)

    def letter(self, sort, sender, to, cc, wish):
        octets = write(sort, len(self.letters), sender, list(to), list(cc), wish, self.authority)
        letter = Letter(octets, sender, {address: self.kind(address) for address in [*to, *cc]})
        self.letters.append(letter)
        return letter

    def kind(self, address):
        return "certificato" if address.split("@")[1] in self.domains else "esterno"

    def hand_over(self, letter, mail_from, recipients, octets):
        self.sent.append((mail_from, list(recipients), octets))
        reply, refused = self.client.relay(mail_from, list(recipients), octets)
        number = self.letters.index(letter) if letter else None
        return {"letter": number, "sent": len(self.sent) - 1, "reply": reply, "refused": refused}

    def users_of(self, letter):
        return [address for address in letter.kinds if address.endswith(MAILBOXES)]

    def find(self, message_id, subject, identifier):
        """The letter that certification data speak of."""
        for letter in self.letters:
            if letter.identifier and letter.identifier == identifier:
                return letter
        for letter in self.letters:
            if message_id and letter.message_id == message_id or not message_id and letter.readable_subject() == subject:
                return letter
        return None

    def told(self, verdict, octets):
        letter = self.letters.index(verdict.letter) if verdict.letter in self.letters else None
        return {"kind": verdict.kind, "letter": letter, "subject": verdict.subject, "recipient": verdict.recipient,
                "error": verdict.error, "detail": verdict.detail, "receipt": verdict.receipt, "takenInCharge": verdict.taken,
                "digest": hashlib.sha256(octets).hexdigest(), "faults": verdict.faults}


def all_trace(octets):
    return all(name in ("received", "return-path") for name, _, _ in fields(octets))


def main(folder):
    peer = Peer(folder)
    print(json.dumps(peer.begin), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(peer, order.pop("do"))(**order)
        except Exception:
            # The test that gave the order fails with this.
            answer = {"broken": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
