"""IMAPClient with all that it can do: folders, flags, search, sort, threads, moving, IDLE, quota, CONDSTORE, access rights.

The samples lie in a folder. An assertion that fails ends with a traceback, which the calling test shows.
"""

import datetime
import os
import ssl

import imapclient
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

import samples

TRUST = ssl.create_default_context(cafile=os.environ["AUTHORITY"])
SAMPLES = samples.read(os.environ["SAMPLES"])
DAY = datetime.datetime(2026, 11, 20, 9, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
CITY = "Pratiche/Città più grandi & altre"


def login():
    client = IMAPClient("localhost", int(os.environ["IMAPS"]), ssl_context=TRUST, timeout=20)
    client.login(os.environ["RECIPIENT"], os.environ["PASSWORD"])
    return client


def refused(ask, *arguments):
    try:
        ask(*arguments)
    except IMAPClientError as error:
        return str(error)
    raise AssertionError(f"{ask.__name__}{arguments} was not refused")


def folders(client):
    special = {
        rb"\Sent": "Inviati", rb"\Drafts": "Bozze", rb"\Trash": "Cestino", rb"\Junk": "Posta indesiderata",
        rb"\Archive": "Archivio",
    }
    for attribute, name in special.items():
        assert client.find_special_folder(attribute) == name, name
    assert client.namespace().personal == (("", "/"),), client.namespace()
    client.create_folder(CITY)
    assert CITY in [name for _, _, name in client.list_folders()]
    assert [name for _, _, name in client.list_folders("Pratiche", "*")][-1] == CITY
    assert "ALREADYEXISTS" in refused(client.create_folder, CITY)
    client.rename_folder(CITY, "Pratiche/Città")
    client.subscribe_folder("Pratiche/Città")
    assert "Pratiche/Città" in [name for _, _, name in client.list_sub_folders()]
    client.unsubscribe_folder("Pratiche/Città")
    assert "Pratiche/Città" not in [name for _, _, name in client.list_sub_folders()]
    client.delete_folder("Pratiche/Città")
    assert not client.folder_exists("Pratiche/Città") and client.folder_exists("Pratiche")
    assert "TRYCREATE" in refused(client.append, "Nessuna", b"Subject: x\r\n\r\n")
    client.create_folder(CITY)


def messages(client):
    """Every sample goes in as it is and comes out as it was, with flags, keyword and date."""
    uids = {}
    for name, octets in SAMPLES.items():
        answer = client.append(CITY, octets, [imapclient.SEEN, "$Importante"], DAY)
        uids[name] = int(answer.split(b"[APPENDUID ")[1].split(b"]")[0].split()[1])
    counts = client.folder_status(CITY, ["MESSAGES", "UNSEEN", "UIDNEXT", "HIGHESTMODSEQ"])
    assert (counts[b"MESSAGES"], counts[b"UNSEEN"]) == (len(SAMPLES), 0), counts
    selected = client.select_folder(CITY)
    assert selected[b"EXISTS"] == len(SAMPLES) and selected[b"UIDNEXT"] == counts[b"UIDNEXT"], selected
    assert rb"\*" in selected[b"PERMANENTFLAGS"], selected
    items = ["BODY.PEEK[]", "RFC822.SIZE", "FLAGS", "INTERNALDATE", "ENVELOPE", "BODYSTRUCTURE"]
    fetched = client.fetch(uids.values(), items)
    for name, uid in uids.items():
        one = fetched[uid]
        assert one[b"BODY[]"] == SAMPLES[name], name
        assert one[b"RFC822.SIZE"] == len(SAMPLES[name]), name
        assert {imapclient.SEEN, b"$Importante"} <= set(one[b"FLAGS"]), one[b"FLAGS"]
        assert one[b"INTERNALDATE"] == DAY.astimezone().replace(tzinfo=None), one[b"INTERNALDATE"]
        assert one[b"ENVELOPE"].message_id == b"<%s@campioni.example>" % name.encode(), name
    assert fetched[uids["allegato"]][b"BODYSTRUCTURE"].is_multipart
    parts = ["BODY.PEEK[2]", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[2]<1000.5000>"]
    fetched = client.fetch([uids["allegato"]], parts)[uids["allegato"]]
    encoded = samples.lines(samples.ATTACHMENT)
    assert fetched[b"BODY[2]"] == encoded
    assert fetched[b"BODY[2]<1000>"] == encoded[1000:6000]
    assert fetched[b"BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: =?utf-8?q?Con_allegato_pi=C3=B9_grande?=\r\n\r\n"
    # A part of the message inside the message inside.
    deep = client.fetch([uids["annidato"]], ["BODY.PEEK[2.1.2]", "BODY.PEEK[2.1.HEADER.FIELDS (MESSAGE-ID)]"])
    deep = deep[uids["annidato"]]
    assert deep[b"BODY[2.1.2]"] == b"Due.\r\n", deep
    assert deep[b"BODY[2.1.HEADER.FIELDS (MESSAGE-ID)]"] == b"Message-ID: <interno@campioni.example>\r\n\r\n", deep
    return uids


def flags(client, uids):
    one = uids["punti"]
    client.add_flags(one, [imapclient.FLAGGED, "parola"])
    assert {imapclient.FLAGGED, b"parola"} <= set(client.get_flags(one)[one])
    client.remove_flags(one, [imapclient.SEEN, "parola"])
    assert set(client.get_flags(one)[one]) - {imapclient.RECENT} == {imapclient.FLAGGED, b"$Importante"}
    client.set_flags(one, [imapclient.ANSWERED])
    assert set(client.get_flags(one)[one]) - {imapclient.RECENT} == {imapclient.ANSWERED}


def searches(client, uids):
    def found(*criteria, charset=None):
        return [name for name, uid in uids.items() if uid in client.search(list(criteria), charset)]

    assert found("KEYWORD", "$Importante") == [name for name in uids if name != "punti"]
    assert found("ANSWERED") == ["punti"]
    assert found("LARGER", 100_000) == ["allegato"]
    assert found("SUBJECT", "più", charset="UTF-8") == ["allegato", "otto-bit"]
    assert found("BODY", "così è", charset="UTF-8") == []
    assert found("TEXT", "senza-corpo@") == ["senza-corpo"]
    assert found("OR", ["SUBJECT", "Senza fine"], ["HEADER", "X-Vuoto", ""]) == ["rotto", "senza-fine"]
    assert found("ON", DAY.date()) == list(uids) and found("SENTON", datetime.date(2026, 11, 21)) == list(uids)
    assert found("NOT", ["UID", f"{uids['allegato']}:{uids['semplice']}"]) == ["senza-corpo", "senza-fine"]
    assert client.sort("REVERSE SIZE") == [uids[name] for name in sorted(uids, key=lambda name: -len(SAMPLES[name]))]
    assert client.sort(["SUBJECT"], "ALL", "UTF-8")[-1] == uids["senza-fine"]
    assert len(client.thread("REFERENCES")) == len(uids)
    assert client.thread("ORDEREDSUBJECT", ["SUBJECT", "Prova"]) == ((uids["semplice"],),)


def moves(client, uids):
    """Octets and flags go along; COPYUID and EXPUNGE say where and what."""
    client.copy([uids["rotto"], uids["otto-bit"]], "Archivio")
    client.move([uids["annidato"]], "Archivio")
    assert uids.pop("annidato") not in client.search()
    client.select_folder("Archivio", readonly=True)
    copies = client.fetch("1:*", ["BODY.PEEK[]", "FLAGS"])
    expected = [SAMPLES[name] for name in ("otto-bit", "rotto", "annidato")]
    assert sorted(one[b"BODY[]"] for one in copies.values()) == sorted(expected)
    assert all(b"$Importante" in one[b"FLAGS"] for one in copies.values())
    assert "READ-ONLY" in refused(client.add_flags, list(copies), [imapclient.SEEN])
    client.unselect_folder()
    client.select_folder(CITY)
    client.delete_messages([uids["rotto"], uids["senza-corpo"]])
    client.uid_expunge([uids["rotto"]])
    del uids["rotto"]
    assert sorted(client.search()) == sorted(uids.values()), "the other one marked \\Deleted stays"
    assert client.search(["DELETED"]) == [uids["senza-corpo"]]
    client.expunge()
    del uids["senza-corpo"]
    assert sorted(client.search()) == sorted(uids.values())


def events(client, uids):
    """What another session does reaches one that waits in IDLE."""
    other = login()
    other.select_folder(CITY)
    client.idle()
    other.append(CITY, SAMPLES["rotto"])
    heard = waited(client, lambda event: event[1:] == (b"EXISTS",))
    assert (len(uids) + 1, b"EXISTS") in heard, heard
    other.add_flags(uids["semplice"], [imapclient.FLAGGED])
    waited(client, lambda event: event[1] == b"FETCH" and imapclient.FLAGGED in event[2][3])
    other.delete_messages(other.search(["HEADER", "Message-ID", "rotto@"]))
    other.expunge()
    waited(client, lambda event: event == (len(uids) + 1, b"EXPUNGE"))
    client.idle_done()
    other.logout()


def waited(client, wanted):
    heard = []
    for _ in range(20):
        heard += client.idle_check(timeout=1)
        if any(wanted(event) for event in heard if len(event) > 1 and event[0] != b"OK"):
            return heard
    raise AssertionError(f"never heard: {heard}")


def changes(client, uids):
    """CONDSTORE: what changed since, what is changed only if nobody else did."""
    client.enable("CONDSTORE")
    before = client.folder_status(CITY, ["HIGHESTMODSEQ"])[b"HIGHESTMODSEQ"]
    client.select_folder(CITY)
    client.add_flags(uids["punti"], ["nuova"])
    changed = client.fetch("1:*", ["FLAGS"], [f"CHANGEDSINCE {before}"])
    assert list(changed) == [uids["punti"]] and changed[uids["punti"]][b"MODSEQ"][0] > before, changed
    assert client.search(["MODSEQ", before + 1]) == [uids["punti"]]
    assert client.fetch("1:*", ["FLAGS"], [f"CHANGEDSINCE {changed[uids['punti']][b'MODSEQ'][0]}"]) == {}


def account(client):
    assert client.has_capability("QUOTA") and client.has_capability("MOVE")
    used = client.get_quota("INBOX")
    storage = [one for one in used if one.resource == "STORAGE"]
    assert storage[0].limit == 1 << 20 and storage[0].usage >= 160, used
    rights = client.getacl(CITY)
    assert rights[0][0] == os.environ["RECIPIENT"].encode() and b"l" in rights[0][1], rights
    assert b"Ceralacca" in client.id_({"name": "prova"})[0], "who answers"


def main():
    with login() as client:
        folders(client)
        uids = messages(client)
        flags(client, uids)
        searches(client, uids)
        moves(client, uids)
        events(client, uids)
        account(client)
    with login() as client:
        changes(client, uids)
    clear = IMAPClient("localhost", int(os.environ["IMAP"]), ssl=False, timeout=20)
    assert clear.has_capability("LOGINDISABLED")
    clear.starttls(TRUST)
    clear.login(os.environ["RECIPIENT"], os.environ["PASSWORD"])
    assert clear.select_folder(CITY, readonly=True)[b"EXISTS"] == len(uids)
    clear.logout()


main()
