//! Every command of IMAP that changes anything, as a client would try it on what a snapshot shows.

/// Every command that changes anything, whatever the client has selected; `X` stands for a mailbox of
/// the snapshot. Answered NO [CANNOT] and said to be for copying.
pub(crate) const REFUSED: [&str; 34] = [
    "STORE 1 +FLAGS (\\Seen)",
    "STORE 1:* FLAGS.SILENT ()",
    "STORE 1 (UNCHANGEDSINCE 100) +FLAGS (\\Deleted)",
    "UID STORE 1:* -FLAGS (\\Flagged)",
    "EXPUNGE",
    "UID EXPUNGE 1:*",
    "MOVE 1 INBOX",
    "MOVE 1 X",
    "UID MOVE 1:* INBOX",
    "COPY 1 X",
    "UID COPY 1 Snapshot",
    "COPY 1 Snapshot/2026-11-21T06:00:17Z/Nuova",
    "CREATE Snapshot",
    "CREATE Snapshot/",
    "CREATE Snapshot/mia",
    "CREATE X/sotto",
    "CREATE Snapshot/mia (USE (\\Junk))",
    "DELETE X",
    "DELETE Snapshot",
    "RENAME X Mia",
    "RENAME INBOX X",
    "RENAME Inviati Snapshot/Inviati",
    "RENAME Snapshot Mia",
    "SETACL X anyone lr",
    "DELETEACL X anna.rossi@pec.example",
    "SETMETADATA X (/private/comment \"mio\")",
    "SETMETADATA X (/shared/comment NIL)",
    "SETQUOTA X (STORAGE 10)",
    "APPEND X {3}",
    "APPEND X (\\Seen) \"20-Nov-2026 06:00:00 +0000\" {3}",
    "APPEND X CATENATE (URL \"/INBOX;UIDVALIDITY=1/;UID=2\")",
    "APPEND Snapshot/nuova {3}",
    "REPLACE 1 INBOX {3}",
    "UID REPLACE 1 X {3}",
];

/// The same with literals that do not wait, sent behind each other.
pub(crate) const PIPELINED: [&str; 8] = [
    "APPEND X {14+}\r\nSubject: x\r\n\r\n",
    "APPEND X (\\Seen) {3+}\r\nabc {3+}\r\nabc",
    "APPEND X CATENATE (TEXT {3+}\r\nabc)",
    "UID REPLACE 1 INBOX {3+}\r\nabc",
    "CREATE {12+}\r\nSnapshot/mia",
    "SETMETADATA X (/private/comment {3+}\r\nmio)",
    "STORE 1 +FLAGS (\\Deleted)",
    "EXPUNGE",
];
