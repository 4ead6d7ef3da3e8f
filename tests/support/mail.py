"""An independent mail client for the tests: Python's own smtplib, imaplib and email.

    mail.py submit  HOST PORT CA USER FIRST COUNT TO[,TO...] [CC[,CC...]]   password on stdin
    mail.py send    HOST PORT CA USER FILE TO[,TO...]                      password on stdin
    mail.py list    HOST PORT CA USER MAILBOX [UID]                        password on stdin

`submit` sends COUNT messages, numbered from FIRST in Subject and Message-ID, over one connection,
and prints one line for each that was accepted. `send` sends the octets of a file as they are and prints the
code and the text of the answer. `list` prints one JSON object per message, from UID
on when given, with the headers and certification data that the tests count.
"""

import email
import email.message
import email.policy
import imaplib
import json
import smtplib
import ssl
import sys
import xml.etree.ElementTree


def context(authority):
    return ssl.create_default_context(cafile=authority)


def submit(host, port, authority, user, first, count, to, cc=""):
    password = sys.stdin.readline().rstrip("\n")
    with smtplib.SMTP_SSL(host, int(port), context=context(authority), timeout=60) as client:
        client.login(user, password)
        for number in range(int(first), int(first) + int(count)):
            message = email.message.EmailMessage(policy=email.policy.SMTP)
            message["From"] = user
            message["To"] = ", ".join(to.split(","))
            if cc:
                message["Cc"] = ", ".join(cc.split(","))
            message["Subject"] = f"Perizia è numero {number}"
            message["Message-ID"] = f"<prova.{number}@client.example>"
            message.set_content(f"Questo è il messaggio numero {number}.\n" * 20)
            client.send_message(message)
            print(number, flush=True)


def send(host, port, authority, user, path, to):
    password = sys.stdin.readline().rstrip("\n")
    with open(path, "rb") as file:
        octets = file.read()
    with smtplib.SMTP_SSL(host, int(port), context=context(authority), timeout=300) as client:
        client.login(user, password)
        client.mail(user)
        for recipient in to.split(","):
            client.rcpt(recipient)
        code, text = client.data(octets)
        print(code, text.decode())


def certification_data(message):
    for part in message.walk():
        if part.get_filename() == "daticert.xml":
            root = xml.etree.ElementTree.fromstring(part.get_payload(decode=True))
            return {
                "tipo": root.get("tipo"),
                "errore": root.get("errore"),
                "oggetto": root.findtext("intestazione/oggetto"),
                "identificativo": root.findtext("dati/identificativo"),
                "msgid": root.findtext("dati/msgid"),
                "consegna": root.findtext("dati/consegna"),
                "ricezione": [element.text for element in root.findall("dati/ricezione")],
            }
    return None


def list_mailbox(host, port, authority, user, mailbox, first="1"):
    password = sys.stdin.readline().rstrip("\n")
    with imaplib.IMAP4_SSL(host, int(port), ssl_context=context(authority), timeout=60) as client:
        client.login(user, password)
        client.select(mailbox, readonly=True)
        _, found = client.uid("SEARCH", "ALL")
        for uid in (uid for uid in found[0].split() if int(uid) >= int(first)):
            _, fetched = client.uid("FETCH", uid, "(BODY.PEEK[])")
            octets = next(item[1] for item in fetched if isinstance(item, tuple))
            message = email.message_from_bytes(octets, policy=email.policy.SMTP)
            names = ("Subject", "Message-ID", "X-Ricevuta", "X-Trasporto", "X-Riferimento-Message-ID",
                     "X-VerificaSicurezza", "X-Mittente")
            print(json.dumps({
                "uid": int(uid),
                "octets": len(octets),
                "headers": {name: message[name] for name in names if message[name]},
                "daticert": certification_data(message),
            }))


if __name__ == "__main__":
    {"submit": submit, "send": send, "list": list_mailbox}[sys.argv[1]](*sys.argv[2:])
