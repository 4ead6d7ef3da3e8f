"""A snapshot through Python's imaplib: `instants.py ADDRESS INSTANT` looks, reads, tries to change, and copies out.

Prints the names of the messages that the snapshot shows in INBOX, one line each. Whatever is answered otherwise than a
client expects ends with a traceback.
"""

import imaplib
import re
import sys

from view import connect, contents, ok, quoted


def refused(answer):
    status, text = answer
    assert status == "NO" and b"[CANNOT]" in text[0] and b"copiare" in text[0], answer


def main(address, instant):
    client = connect(address)
    assert b"Snapshot/" in ok(client.namespace())[0]
    assert not any(b"Snapshot" in line for line in ok(client.list()))
    instants = ok(client.list('""', "Snapshot/%"))
    # The first run of the server has taken one, too.
    assert f"Snapshot/{instant}".encode() in [line.split()[-1] for line in instants], instants
    assert all(b"\\Noselect" in line for line in instants), instants
    inbox = quoted(f"Snapshot/{instant}/INBOX")
    shown = contents(client, f"Snapshot/{instant}/INBOX")
    # SELECT for writing is answered, and says that nothing can be written.
    status, count = client._simple_command("SELECT", inbox)
    assert status == "OK" and client.response("READ-ONLY")[1] != [None], (status, count)
    client.state = "SELECTED"
    ok(client.fetch("1:*", "(RFC822)"))
    flags = ok(client.fetch("1:*", "(FLAGS)"))
    assert not any(b"\\Seen" in line for line in flags), flags
    refused(client.store("1", "+FLAGS", r"(\Deleted)"))
    refused(client.uid("STORE", "1", "+FLAGS", r"(\Seen)"))
    refused(client.expunge())
    refused(client.uid("MOVE", "1", "Archivio"))
    refused(client.append(inbox, "", None, b"Subject: x\r\n\r\ny\r\n"))
    refused(client.create(quoted(f"Snapshot/{instant}/Nuova")))
    refused(client.create(quoted("Snapshot/Mia")))
    refused(client.delete(inbox))
    refused(client.rename(inbox, "Nuova"))
    ok(client.create("Ripristinata"))
    copied = ok(client.uid("COPY", "1:*", "Ripristinata"))
    assert re.search(rb"COPYUID \d+ ", copied[0] or b"") or client.response("COPYUID")[1] != [None], copied
    ok(client.close())
    # What was copied is a change: a snapshot that the holder asks for shows it.
    asked = ok(client.create(quoted("Snapshot/Adesso")))
    now = re.search(rb"[0-9T:-]+Z", asked[0])[0].decode()
    assert now > instant, asked
    assert contents(client, f"Snapshot/{now}/Ripristinata") == contents(client, "Ripristinata")
    again = contents(client, f"Snapshot/{instant}/INBOX")
    assert again == shown
    restored = contents(client, "Ripristinata")["messages"]
    for was, now in zip(sorted(shown["messages"].items()), sorted(restored.items())):
        assert was[1] == now[1]
    assert len(restored) == len(shown["messages"])
    try:
        ok(client.select(quoted("Snapshot/2001-01-01T00:00:00Z/INBOX"), readonly=True))
    except (AssertionError, imaplib.IMAP4.error):
        pass
    else:
        raise AssertionError("no such snapshot")
    client.logout()
    print("\n".join(sorted(message["name"] for message in shown["messages"].values())))


if __name__ == "__main__":
    main(*sys.argv[1:])
