"""SMTP on both sides (RFC 5321, RFC 3207): a small server that can be told to misbehave, a client; and IMAP."""

import imaplib
import queue
import smtplib
import socketserver
import ssl
import threading

REPLIES = {"connect": "220 mail.foro.example ESMTP", "STARTTLS": "220 2.0.0 go on", "MAIL": "250 2.1.0 ok",
           "RCPT": "250 2.1.5 ok", "DATA": "354 go on", "end": "250 2.0.0 taken"}


class Transaction:
    def __init__(self, mail_from, recipients, octets, secured):
        self.mail_from, self.recipients, self.octets, self.secured = mail_from, recipients, octets, secured


class Manners:
    """What the server says instead of what it should: so many times at a stage, or until told otherwise."""

    def __init__(self):
        self.lock, self.wrong, self.heard = threading.Lock(), {}, {}

    def be(self, stage, reply, times):
        with self.lock:
            self.wrong[stage] = [reply, times]

    def reply(self, stage):
        with self.lock:
            self.heard[stage] = self.heard.get(stage, 0) + 1
            wrong = self.wrong.get(stage)
            if not wrong or wrong[1] == 0:
                return REPLIES[stage]
            wrong[1] -= 1
            return wrong[0]


class Closed(Exception):
    pass


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.secured = False
        try:
            self.say(self.server.manners.reply("connect"))
            self.serve()
        except (Closed, OSError, ssl.SSLError):
            pass

    def say(self, reply):
        if reply == "close":
            raise Closed
        self.wfile.write(reply.encode() + b"\r\n")
        self.wfile.flush()
        return reply[0] in "23"

    def line(self):
        line = self.rfile.readline()
        if not line:
            raise Closed
        return line

    def serve(self):
        mail_from, recipients = None, []
        while True:
            line = self.line().decode("utf-8", "replace").strip()
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb in ("EHLO", "HELO"):
                more = [] if self.secured else ["STARTTLS"]
                offers = ["mail.foro.example", "8BITMIME", "PIPELINING", *more, "ENHANCEDSTATUSCODES"]
                wrong = self.server.manners.reply("EHLO")
                self.say(wrong or "\r\n".join("250" + "- "[at + 1 == len(offers)] + offer for at, offer in enumerate(offers)))
            elif verb == "STARTTLS":
                if self.say(self.server.manners.reply("STARTTLS")):
                    self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
                    self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
                    self.secured, mail_from, recipients = True, None, []
            elif verb == "MAIL":
                recipients = []
                if self.say(self.server.manners.reply("MAIL")):
                    mail_from = path(line)
            elif verb == "RCPT":
                if self.say(self.server.manners.reply("RCPT")):
                    recipients.append(path(line))
            elif verb == "DATA":
                if not recipients:
                    self.say("503 5.5.1 nobody to take it")
                elif self.say(self.server.manners.reply("DATA")):
                    self.take(mail_from, recipients)
            elif verb == "QUIT":
                self.say("221 2.0.0 bye")
                raise Closed
            else:
                self.say("250 2.0.0 ok")

    def take(self, mail_from, recipients):
        lines = []
        while (line := self.line()) != b".\r\n":
            lines.append(line[1:] if line.startswith(b".") else line)
        reply = self.server.manners.reply("end")
        # A lost reply: the message is taken, and whoever sent it does not hear so.
        if reply[0] == "2" or reply == "close":
            self.server.taken.put(Transaction(mail_from, list(recipients), b"".join(lines), self.secured))
        recipients.clear()
        self.say(reply)


def path(line):
    return line.split("<", 1)[1].split(">", 1)[0]


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, certificate):
        super().__init__(("127.0.0.1", 0), Session)
        self.manners, self.taken = Manners(), queue.Queue()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate.path, certificate.key)
        threading.Thread(target=self.serve_forever, daemon=True).start()


REPLIES["EHLO"] = ""


class Client:
    """To the other provider: its incoming point, its submission port, its mailboxes."""

    def __init__(self, ports, authority, password):
        self.ports, self.password = ports, password
        self.tls = ssl.create_default_context(cafile=authority)

    def relay(self, mail_from, recipients, octets):
        """One transaction; the reply to the end of data, and those to RCPT that refuse."""
        with smtplib.SMTP("localhost", self.ports["relay"], "mail.foro.example", timeout=60) as client:
            client.starttls(context=self.tls)
            client.ehlo()
            size = ["BODY=8BITMIME"] if not octets.isascii() else []
            code, text = client.mail(mail_from, size)
            if code != 250:
                return [code, text.decode()], {}
            refused = {}
            for recipient in recipients:
                code, text = client.rcpt(recipient)
                if code != 250:
                    refused[recipient] = [code, text.decode()]
            if len(refused) == len(recipients):
                return None, refused
            code, text = client.data(octets)
            return [code, text.decode()], refused

    def submit(self, user, recipients, octets):
        with smtplib.SMTP_SSL("localhost", self.ports["submissions"], context=self.tls, timeout=60) as client:
            client.login(user, self.password)
            options = ["BODY=8BITMIME"] if not octets.isascii() else []
            client.sendmail(user, recipients, octets, options)

    def read(self, user, first):
        """The messages of a mailbox from UID `first` on."""
        with imaplib.IMAP4_SSL("localhost", self.ports["imaps"], ssl_context=self.tls, timeout=60) as client:
            client.login(user, self.password)
            client.select("INBOX", readonly=True)
            _, found = client.uid("SEARCH", "ALL")
            for uid in (uid for uid in found[0].split() if int(uid) >= first):
                _, fetched = client.uid("FETCH", uid, "(BODY.PEEK[])")
                yield int(uid), next(item[1] for item in fetched if isinstance(item, tuple))
