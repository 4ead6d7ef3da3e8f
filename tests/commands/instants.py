"""What `ceralacca snapshot … --json` prints, as a script reads it: `instants.py KIND FIRST SECOND`, JSON on standard input.

INBOX had the messages with subjects 1 and 2 at the first instant. Then the first one was moved to Pratiche, and a third
one came to INBOX.
"""

import datetime
import json
import re
import sys


def shaped(value, **kinds):
    """The object has these members, of these types, and no others."""
    assert isinstance(value, dict), value
    assert set(value) == set(kinds), (sorted(value), sorted(kinds))
    for name, kind in kinds.items():
        found = value[name]
        assert isinstance(found, kind) and (kind is bool or not isinstance(found, bool)), (name, found)
    return value


def instant_of(name):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", name), name
    at = datetime.datetime.strptime(name, "%Y-%m-%dT%H:%M:%SZ")
    return int(at.replace(tzinfo=datetime.timezone.utc).timestamp())


def listed(value, first, second):
    for one in value:
        shaped(one, name=str, number=int, instant_millis=int, kind=str, mailboxes=int, messages=int, octets=int,
               hold=(str, type(None)), state_root=str)
        assert one["instant_millis"] // 1000 == instant_of(one["name"]), one
        assert re.fullmatch("[0-9a-f]{64}", one["state_root"]), one
        assert one["kind"] == "operator" and one["hold"] is None, one
    assert [(one["name"], one["number"], one["messages"]) for one in value] == [(first, 1, 2), (second, 2, 3)], value
    assert value[0]["state_root"] != value[1]["state_root"]


def browsed(value, first):
    shaped(value, snapshot=str, mailboxes=list, messages=list, more=bool, unreadable=int,
           note=(dict, type(None)))
    assert value["snapshot"] == first, value
    for one in value["mailboxes"]:
        shaped(one, name=str, id=int, uid_validity=int, messages=int, octets=int)
    for one in value["messages"]:
        shaped(one, uid=int, internal_date_millis=int, octets=int, flags=str, subject=str, message_id=str,
               sha256=str)
    return value


def mailboxes(value, first, _):
    browsed(value, first)
    assert value["messages"] == [] and value["more"] is False, value
    found = {one["name"]: one["messages"] for one in value["mailboxes"]}
    assert found["INBOX"] == 2 and found["Pratiche"] == 0, found


def messages(value, first, _):
    browsed(value, first)
    assert [(one["uid"], one["subject"]) for one in value["messages"]] == [(1, "1"), (2, "2")], value
    assert value["more"] is False, value


def page(value, first, _):
    browsed(value, first)
    assert [one["uid"] for one in value["messages"]] == [1] and value["more"] is True, value


def compared(value):
    shaped(value, **{"from": str}, to=str, changes=list, added=int, removed=int, moved=int, flags=int, mailboxes=int,
           more=bool, moves_complete=bool, notes=list)
    for one in value["changes"]:
        shaped(one, change=str, mailbox=str, uid=int, before=str, after=str, sha256=str)
    return value


def diff(value, first, second):
    compared(value)
    assert (value["from"], value["to"], value["more"]) == (first, second, False), value
    counts = [value[name] for name in ("added", "removed", "moved", "flags", "mailboxes")]
    assert counts == [1, 0, 1, 0, 0], value
    assert sorted(one["change"] for one in value["changes"]) == ["added", "moved"], value


def same(value, _, second):
    compared(value)
    assert value["from"] == second and value["changes"] == [], value


def searched(value):
    shaped(value, messages=list, more=bool, snapshots=int, unreadable=int)
    for one in value["messages"]:
        shaped(one, subject=str, message_id=str, sha256=str, octets=int, first=dict, last=dict, is_there=bool)
        for seen in (one["first"], one["last"]):
            shaped(seen, snapshot=str, mailbox=str, uid=int)
    return value


def search(value, first, second):
    searched(value)
    (one,) = value["messages"]
    assert (one["subject"], one["is_there"], value["snapshots"]) == ("1", True, 2), value
    assert one["first"] == {"snapshot": first, "mailbox": "INBOX", "uid": 1}, one
    assert one["last"] == {"snapshot": second, "mailbox": "Pratiche", "uid": 1}, one


def nothing(value, *_):
    assert searched(value)["messages"] == [], value


KINDS = {"list": listed, "browse": mailboxes, "messages": messages, "page": page, "diff": diff, "same": same,
         "search": search, "nothing": nothing}

if __name__ == "__main__":
    KINDS[sys.argv[1]](json.load(sys.stdin), *sys.argv[2:])
