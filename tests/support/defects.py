"""Reads messages as Python's own parser does and names what it finds wrong, one line each.

    defects.py FILE...

What stands inside of included messages is their senders'.
"""

import email
import email.policy
import sys


def walk(name, part):
    found = [f"{name}: {part.get_content_type()}: {defect!r}" for defect in part.defects]
    for field, value in part.items():
        found += [f"{name}: {field}: {defect!r}" for defect in value.defects]
    if part.get_content_type() != "message/rfc822" and part.is_multipart():
        for inner in part.iter_parts():
            found += walk(name, inner)
    return found


for path in sys.argv[1:]:
    with open(path, "rb") as file:
        for defect in walk(path, email.message_from_binary_file(file, policy=email.policy.SMTP)):
            print(defect)
