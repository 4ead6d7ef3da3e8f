"""Python's own mail libraries, and IMAPClient, against a running provider.

`clients.py send` submits a message after STARTTLS; `clients.py flood` more than the plan allows in a minute;
`clients.py read` reads it back over IMAP and POP3 and compares; `clients.py erased` looks at a mailbox of which one
message was erased; `clients.py quota` fills an empty account until no more goes in. Ports, accounts and the authority
come through the environment. An assertion that fails ends with a traceback, which the calling test shows.
"""

import email.message
import email.policy
import imaplib
import os
import poplib
import re
import smtplib
import ssl
import sys

from imapclient import IMAPClient

SENDER, RECIPIENT, PASSWORD = (os.environ[name] for name in ("SENDER", "RECIPIENT", "PASSWORD"))
TRUST = ssl.create_default_context(cafile=os.environ["AUTHORITY"])


def port(name):
    return int(os.environ[name])


def send():
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"] = SENDER, RECIPIENT
    message["Subject"] = "Perché l'umidità è più alta"
    message["Message-ID"] = "<python@client.example>"
    message.set_content("Così è, se vi pare.\n")
    message.add_attachment(os.urandom(20_000), maintype="application", subtype="octet-stream", filename="dati")
    with smtplib.SMTP("localhost", port("SUBMISSION"), timeout=20) as server:
        server.starttls(context=TRUST)
        server.login(SENDER, PASSWORD)
        refused = server.send_message(message, SENDER, [RECIPIENT])
        assert refused == {}, refused


def flood():
    text = f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: Prova\r\n\r\nBuongiorno.\r\n"
    with smtplib.SMTP("localhost", port("SUBMISSION"), timeout=20) as server:
        server.starttls(context=TRUST)
        server.login(SENDER, PASSWORD)
        server.ehlo()
        assert server.esmtp_features["limits"] == "MAILMAX=1000 RCPTMAX=50", server.esmtp_features
        code, reply = server.mail(SENDER, [f"SIZE={(50 << 20) + 1}"])
        assert code == 552 and reply.startswith(b"5.3.4 Messaggio oltre"), (code, reply)
        # The first 50 recipients stay, the next is put off.
        assert server.mail(SENDER)[0] == 250
        answers = [server.rcpt(f"r{number}@pec.alfa.example") for number in range(51)]
        assert [code for code, _ in answers] == [250] * 50 + [452], answers
        assert answers[-1][1].startswith(b"4.5.3 Al massimo 50 destinatari"), answers[-1]
        assert server.rset()[0] == 250
        for _ in range(50):
            server.sendmail(SENDER, [RECIPIENT], text)
        code, reply = server.mail(SENDER)
        assert code == 450 and reply.startswith(b"4.7.1 Limite di 50 invii al minuto"), (code, reply)
        assert b" / 50 messages a minute reached: try again in " in reply, reply


def read():
    whole = read_with_imaplib()
    assert read_with_poplib() == whole
    read_with_imapclient(whole)


def read_with_imaplib():
    with imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=TRUST, timeout=20) as client:
        assert client.login(RECIPIENT, PASSWORD)[0] == "OK"
        status, counts = client.select("INBOX")
        assert (status, counts) == ("OK", [b"1"]), (status, counts)
        assert client.search(None, "HEADER", "X-Trasporto", "posta-certificata") == ("OK", [b"1"])
        assert client.search(None, "SUBJECT", "nothing-like-this") == ("OK", [b""])
        _, fetched = client.fetch("1", "(UID RFC822.SIZE BODY.PEEK[])")
        whole = fetched[0][1]
        assert b"RFC822.SIZE %d" % len(whole) in fetched[0][0], fetched[0][0]
        _, part = client.fetch("1", "(BODY.PEEK[]<10.100>)")
        assert part[0][1] == whole[10:110]
        assert client.store("1", "+FLAGS", r"(\Flagged)")[0] == "OK"
        assert client.search(None, "FLAGGED", "UNSEEN") == ("OK", [b"1"])
        assert client.create("Pratiche")[0] == "OK"
        assert client.copy("1", "Pratiche")[0] == "OK"
        assert client.status("Pratiche", "(MESSAGES)")[1] == [b"Pratiche (MESSAGES 1)"]
        assert client.append("Pratiche", r"(\Seen)", None, b"Subject: bozza\r\n\r\nTesto.\r\n")[0] == "OK"
        return whole


def read_with_poplib():
    client = poplib.POP3_SSL("localhost", port("POP3S"), context=TRUST, timeout=20)
    client.user(RECIPIENT)
    client.pass_(PASSWORD)
    count, octets = client.stat()
    assert count == 1
    _, lines, _ = client.retr(1)
    whole = b"".join(line + b"\r\n" for line in lines)
    assert octets == len(whole), (octets, len(whole))
    assert client.top(1, 0)[1][-1] == b""
    client.quit()
    return whole


def read_with_imapclient(whole):
    with IMAPClient("localhost", port("IMAPS"), ssl_context=TRUST, timeout=20) as client:
        client.login(RECIPIENT, PASSWORD)
        assert "Pratiche" in [name for _, _, name in client.list_folders()]
        client.select_folder("Pratiche")
        first, second = client.search()
        fetched = client.fetch([first, second], ["BODY[]", "ENVELOPE", "FLAGS", "BODYSTRUCTURE"])
        assert fetched[first][b"BODY[]"] == whole
        assert fetched[second][b"ENVELOPE"].subject == b"bozza"
        assert b"\\Seen" in fetched[second][b"FLAGS"]
        assert fetched[first][b"BODYSTRUCTURE"].is_multipart
        client.delete_messages([second])
        client.expunge()
        assert client.search() == [first]


def erased():
    """The first message of the mailbox was erased, a second one was not."""
    with imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=TRUST, timeout=20) as client:
        client.login(RECIPIENT, PASSWORD)
        assert client.select("INBOX") == ("OK", [b"2"])
        status, listed = client.fetch("1:2", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        headers = b"".join(part[1] for part in listed if isinstance(part, tuple))
        assert status == "OK" and b"[Messaggio cancellato / Message erased]" in headers, listed
        status, answer = client.fetch("1", "(BODY.PEEK[])")
        assert status == "NO" and b"[CANNOT] Messaggio cancellato" in answer[0], answer
        status, both = client.fetch("1:2", "(BODY.PEEK[])")
        assert status == "OK" and len([part for part in both if isinstance(part, tuple)]) == 1, both
        assert client.search(None, "BODY", "umid") == ("OK", [b""])
        assert client.noop()[0] == "OK"
    client = poplib.POP3_SSL("localhost", port("POP3S"), context=TRUST, timeout=20)
    client.user(RECIPIENT)
    client.pass_(PASSWORD)
    assert client.stat()[0] == 1
    assert b"Subject: intatto" in client.retr(1)[1]
    client.quit()


def quota():
    """The figures follow what goes in and out; at the limit APPEND and COPY are refused and change nothing."""
    message = b"Subject: peso\r\n\r\n" + (b"x" * 76 + b"\r\n") * 100_000
    with imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=TRUST, timeout=60) as client:
        client.login(RECIPIENT, PASSWORD)
        assert storage(client) == (0, 1 << 20)
        assert client.append("INBOX", None, None, message)[0] == "OK"
        assert client.select("INBOX") == ("OK", [b"1"])
        assert storage(client) == (units(len(message)), 1 << 20)
        count, most = 1, (1 << 30) // len(message)
        while 2 * count <= most:
            assert client.copy("1:*", "INBOX")[0] == "OK"
            count *= 2
            assert storage(client)[0] == units(count * len(message)), count
            assert client.noop()[0] == "OK"
        refused, answer = client.copy("1:*", "INBOX")
        assert refused == "NO" and answer[0].startswith(b"[OVERQUOTA] "), answer
        assert storage(client)[0] == units(count * len(message)), "a refused COPY copies nothing"
        assert client.copy(f"1:{most - count}", "INBOX")[0] == "OK"
        full = storage(client)
        assert full == (units(most * len(message)), 1 << 20), full
        refused, answer = client.append("INBOX", None, None, message)
        assert refused == "NO" and answer[0].startswith(b"[OVERQUOTA] "), answer
        assert storage(client) == full
        client.store("1", "+FLAGS", r"(\Deleted)")
        assert client.expunge()[0] == "OK"
        assert storage(client)[0] == units((most - 1) * len(message))
        assert client.append("INBOX", None, None, message)[0] == "OK"
        assert storage(client) == full


def units(octets):
    """Octets in the unit of STORAGE (RFC 9208, section 5.1), rounded up."""
    return -(-octets // 1024)


def storage(client):
    """Use and limit as GETQUOTAROOT and GETQUOTA tell them."""
    status, (roots, quotas) = client.getquotaroot("INBOX")
    assert (status, roots) == ("OK", [b"INBOX Casella"]), roots
    assert client.getquota("Casella") == ("OK", quotas), quotas
    found = re.fullmatch(rb"Casella \(STORAGE (\d+) (\d+)( .*)?\)", quotas[0])
    assert found, quotas
    return int(found[1]), int(found[2])


{"send": send, "flood": flood, "read": read, "erased": erased, "quota": quota}[sys.argv[1]]()
