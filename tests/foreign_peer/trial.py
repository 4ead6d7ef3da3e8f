"""Whether the judge sees faults: this provider's own messages, each with one fault made before it was signed.

    trial.py FOLDER

Prints one line of JSON for each fault: what was changed, and what the judge says.
"""

import json
import pathlib
import sys

from making import now
from peer import DOMAIN, NAME, SERVICE, Peer

SENDER, RECIPIENT = "rosa@pec.foro.example", "sara@pec.foro.example"

# For each message: texts that are replaced in header, signed entity or certification data.
FAULTS = {
    "envelope": [
        ("X-Trasporto", "X-Trasplorto"),
        ("POSTA CERTIFICATA: ", "POSTA CERTIFICATA "),
        ("Per conto di: ", "On behalf of: "),
        ("<posta-certificata@", "<certified-mail@"),
        ("Reply-To", "X-Reply-To"),
        ("X-Riferimento-Message-ID", "X-Riferimento"),
        ("iso-8859-1", "utf-8"),
        ("daticert.xml", "certdata.xml"),
        ("postacert.eml", "original.eml"),
        ("7bit", "base64"),
        ("<html>", "<html><img src=x>"),
        ("<p>", "<p style=3D\"background:url(x)\">"),
        ("Saluti", "Salute"),
        ("<giorno>", "<giorno>0"),
        ("zona=\"+0", "zona=\"+1"),
        ("<oggetto>", "<oggetto>R: "),
        ("tipo=\"certificato\"", "tipo=\"esterno\""),
        ("<ricevuta tipo=\"completa\"/>", ""),
        ("<ricevuta tipo=\"completa\"/>", "<ricevuta tipo=\"intera\"/>"),
        ("&lt;lettera", "lettera"),
        ("<gestore-emittente>", "<gestore-emittente>Altro "),
        ("<risposte>", "<risposte>x"),
        ("alle ore", "alle ore 00:00:00, non"),
        ("Identificativo messaggio: ", "Identificativo messaggio: x"),
    ],
    "charge": [
        ("X-Ricevuta", "X-Trasporto"),
        ("PRESA IN CARICO: ", "ACCETTAZIONE: "),
        ("<ricezione>", "<ricezione>x"),
        ("<dati>", "<dati><consegna>x</consegna>"),
    ],
    "delivery": [
        ("CONSEGNA: ", "AVVENUTA CONSEGNA: "),
        ("To", "Cc"),
        ("<consegna>", "<consegna>x"),
        ("Offerta", "Domanda"),
    ],
    "brief": [
        (".hash", ".sha1"),
        ("text/plain; name", "text/html; name"),
        ("altro.eml", "altra.eml"),
        ("epilogo", "epilog"),
    ],
    "failure": [
        ("5.1.1 - ", ""),
        ("errore=\"no-dest\"", "errore=\"casella-inesistente\""),
        ("errore=\"no-dest\"", "errore=\"virus\""),
    ],
}


def judged(peer, what, fault):
    """What the judge says of one message with one fault."""
    maker, judge = peer.maker, peer.judge
    brief = what == "brief"
    letter = peer.letter("attached_message" if brief else "plain", SENDER, [RECIPIENT], [], "breve" if brief else None)
    at = now()
    maker.spoil = fault if what == "envelope" else None
    octets, letter.included = maker.envelope(letter, at)
    if what != "envelope":
        maker.spoil = fault
        make = {
            "charge": lambda: maker.charge(letter, at, [RECIPIENT], SERVICE),
            "delivery": lambda: maker.delivery(letter, at, RECIPIENT, letter.included),
            "brief": lambda: maker.delivery(letter, at, RECIPIENT, letter.included),
            "failure": lambda: maker.failure(letter, at, RECIPIENT, "no-dest", "5.1.1 - Gestore Foro - casella inesistente"),
        }
        octets = make[what]()
    maker.spoil = None
    return judge.judge(octets, lambda *_: letter).faults


def main(folder):
    peer = Peer(folder)
    peer.domains = [DOMAIN, "pec.foro.example"]
    peer.judge.meet(NAME, SERVICE, DOMAIN, peer.authority.certificate, pathlib.Path(peer.authority.listed.path).read_text())
    for what, faults in FAULTS.items():
        for fault in (None, *faults):
            print(json.dumps({"message": what, "fault": fault, "said": judged(peer, what, fault)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
