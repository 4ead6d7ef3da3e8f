//! Messages: FETCH, STORE, SEARCH, COPY, MOVE, APPEND, EXPUNGE of RFC 3501 §6.3.11 and §6.4.

mod account;

use std::sync::{Arc, atomic::Ordering};

use account::{
    client::{Client, in_inbox, logged_in},
    memory::{MemoryAccount, NOW},
};

/// The structure of the example in RFC 3501 §6.4.5: a text, a binary part, an embedded message
/// that is itself a multipart, and a nested multipart.
const NESTED: &str = "From: Anna Rossi <anna.rossi@pec.example>\r\n\
To: bruno@pec.example, Carla <carla@pec.example>\r\n\
Subject: =?utf-8?Q?Perch=C3=A9?= no\r\n\
Date: Wed, 17 Jul 1996 02:23:25 -0700\r\n\
Message-ID: <1@pec.example>\r\n\
X-Folded: one\r\n two\r\n\
Content-Type: multipart/mixed; boundary=outer\r\n\
\r\n\
preamble\r\n\
--outer\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\
\r\n\
La citt=C3=A0 =\r\ndorme\r\n\
--outer\r\n\
Content-Type: application/octet-stream\r\n\
Content-Transfer-Encoding: base64\r\n\
Content-Disposition: attachment; filename=\"a.bin\"\r\n\
\r\n\
c2VncmV0bw==\r\n\
--outer\r\n\
Content-Type: message/rfc822\r\n\
\r\n\
Subject: dentro\r\n\
From: x@pec.example\r\n\
Content-Type: multipart/alternative; boundary=inner\r\n\
\r\n\
--inner\r\n\
Content-Type: text/plain\r\n\
\r\n\
first inner\r\n\
--inner\r\n\
Content-Type: text/html; charset=iso-8859-1\r\n\
\r\n\
<p>second</p>\r\n\
--inner--\r\n\
--outer--\r\n";

fn simple(subject: &str, body: &str) -> Vec<u8> {
    format!("From: bruno@pec.example\r\nSubject: {subject}\r\n\r\n{body}\r\n").into_bytes()
}

async fn with_nested() -> (Arc<MemoryAccount>, Client) {
    let account = MemoryAccount::new();
    account.deliver("INBOX", NESTED.as_bytes());
    let client = in_inbox(&account).await;
    (account, client)
}

#[tokio::test]
async fn fetch_answers_every_item() {
    let (account, mut client) = with_nested().await;
    let size = NESTED.len();
    assert_eq!(
        client.command("a FETCH 1 FAST").await,
        format!(
            "* 1 FETCH (FLAGS (\\Recent) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" \
             RFC822.SIZE {size})\r\na OK FETCH\r\n"
        )
    );
    let answer = client.command("a FETCH 1 (UID ENVELOPE)").await;
    assert_eq!(
        answer,
        "* 1 FETCH (UID 1 ENVELOPE (\"Wed, 17 Jul 1996 02:23:25 -0700\" \
         \"=?utf-8?Q?Perch=C3=A9?= no\" ((\"Anna Rossi\" NIL \"anna.rossi\" \"pec.example\")) \
         ((\"Anna Rossi\" NIL \"anna.rossi\" \"pec.example\")) \
         ((\"Anna Rossi\" NIL \"anna.rossi\" \"pec.example\")) \
         ((NIL NIL \"bruno\" \"pec.example\")(\"Carla\" NIL \"carla\" \"pec.example\")) NIL NIL \
         NIL \"<1@pec.example>\"))\r\na OK FETCH\r\n"
    );
    let answer = client.command("a FETCH 1 BODY").await;
    assert!(
        answer.starts_with(
            "* 1 FETCH (BODY ((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \
             \"quoted-printable\" 22 1)(\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 12)\
             (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" "
        ),
        "{answer}"
    );
    assert!(answer.contains(" \"alternative\") 12) \"mixed\"))\r\n"), "{answer}");
    let answer = client.command("a FETCH 1 BODYSTRUCTURE").await;
    assert!(answer.contains("NIL (\"attachment\" (\"filename\" \"a.bin\")) NIL NIL)"), "{answer}");
    assert_eq!(account.reads.load(Ordering::SeqCst), 0, "summaries were enough");
    let answer = client.command("a FETCH 1 FULL").await;
    assert!(answer.contains("ENVELOPE (") && answer.contains(" BODY (("), "{answer}");
}

/// RFC 3501 §6.4.5 `BODY[<section>]<<partial>>`: every form of section.
#[tokio::test]
async fn fetch_finds_every_section() {
    let (_, mut client) = with_nested().await;
    let header = &NESTED[..NESTED.find("\r\n\r\n").unwrap() + 4];
    let text = &NESTED[header.len()..];
    let embedded =
        &NESTED[NESTED.find("Subject: dentro").unwrap()..NESTED.find("\r\n--outer--").unwrap()];
    let embedded_header = &embedded[..embedded.find("\r\n\r\n").unwrap() + 4];
    let embedded_text = &embedded[embedded_header.len()..];
    for (section, expected) in [
        ("", Some(NESTED)),
        ("HEADER", Some(header)),
        ("TEXT", Some(text)),
        ("1", Some("La citt=C3=A0 =\r\ndorme")),
        (
            "1.MIME",
            Some(
                "Content-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: quoted-printable\r\n\r\n",
            ),
        ),
        ("2", Some("c2VncmV0bw==")),
        ("3", Some(embedded)),
        ("3.HEADER", Some(embedded_header)),
        ("3.TEXT", Some(embedded_text)),
        ("3.1", Some("first inner")),
        ("3.2", Some("<p>second</p>")),
        ("3.2.MIME", Some("Content-Type: text/html; charset=iso-8859-1\r\n\r\n")),
        ("3.HEADER.FIELDS (SUBJECT)", Some("Subject: dentro\r\n\r\n")),
        (
            "HEADER.FIELDS (X-Folded Date)",
            Some("Date: Wed, 17 Jul 1996 02:23:25 -0700\r\nX-Folded: one\r\n two\r\n\r\n"),
        ),
        ("HEADER.FIELDS (X-None)", Some("\r\n")),
        (
            "HEADER.FIELDS.NOT (From To Subject Date Message-ID Content-Type)",
            Some("X-Folded: one\r\n two\r\n\r\n"),
        ),
        ("4", None),
        ("1.1", None),
        ("1.TEXT", None),
        ("2.HEADER", None),
        ("3.3", None),
        ("9.9.9", None),
    ] {
        let answer = client.command(&format!("a FETCH 1 BODY.PEEK[{section}]")).await;
        let expected = match expected {
            Some(octets) => format!(
                "* 1 FETCH (BODY[{section}] {{{}}}\r\n{octets})\r\na OK FETCH\r\n",
                octets.len()
            ),
            None => format!("* 1 FETCH (BODY[{section}] NIL)\r\na OK FETCH\r\n"),
        };
        assert_eq!(answer, expected, "{section}");
    }
}

/// RFC 3501 §6.4.5 `<partial>`, and the older names of the sections.
#[tokio::test]
async fn fetch_finds_octets_within_a_section() {
    let (_, mut client) = with_nested().await;
    let header = &NESTED[..NESTED.find("\r\n\r\n").unwrap() + 4];
    for (item, label, octets) in [
        ("BODY.PEEK[]<0.5>", "BODY[]<0>", "From:"),
        ("BODY.PEEK[TEXT]<4.4>", "BODY[TEXT]<4>", "mble"),
        ("BODY.PEEK[1]<100.5>", "BODY[1]<100>", ""),
        (
            "BODY.PEEK[HEADER.FIELDS (SUBJECT)]<32.10>",
            "BODY[HEADER.FIELDS (SUBJECT)]<32>",
            " no\r\n\r\n",
        ),
        ("RFC822.HEADER", "RFC822.HEADER", header),
    ] {
        let answer = client.command(&format!("a FETCH 1 {item}")).await;
        assert_eq!(
            answer,
            format!("* 1 FETCH ({label} {{{}}}\r\n{octets})\r\na OK FETCH\r\n", octets.len())
        );
    }
}

#[tokio::test]
async fn part_one_of_a_message_without_parts_is_its_body() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", &simple("x", "corpo"));
    let mut client = in_inbox(&account).await;
    for (section, octets) in [("1", "corpo\r\n"), ("TEXT", "corpo\r\n")] {
        let answer = client.command(&format!("a FETCH 1 BODY.PEEK[{section}]")).await;
        assert!(answer.contains(&format!("BODY[{section}] {{7}}\r\n{octets})")), "{answer}");
    }
    assert!(client.command("a FETCH 1 BODY.PEEK[2]").await.contains("BODY[2] NIL"));
}

#[tokio::test]
async fn reading_sets_seen_unless_peeked_or_read_only() {
    let (account, mut client) = with_nested().await;
    client.command("a FETCH 1 (BODY.PEEK[] RFC822.HEADER ENVELOPE)").await;
    assert!(!account.messages("INBOX")[0].1.seen);
    let answer = client.command("a FETCH 1 BODY[1]").await;
    assert!(answer.contains("dorme FLAGS (\\Seen \\Recent))\r\n"), "{answer}");
    assert!(account.messages("INBOX")[0].1.seen);
    assert!(!client.command("a FETCH 1 RFC822.TEXT").await.contains("FLAGS"));
    account.deliver("INBOX", &simple("x", "y"));
    client.command("a EXAMINE INBOX").await;
    client.command("a FETCH 2 RFC822").await;
    assert!(!account.messages("INBOX")[1].1.seen);
}

#[tokio::test]
async fn sets_name_messages_by_number_and_by_uid() {
    let account = MemoryAccount::new();
    for number in 1..=5 {
        account.deliver("INBOX", &simple(&number.to_string(), "x"));
    }
    account.expunge("INBOX", 2);
    let mut client = in_inbox(&account).await;
    for (set, uids) in [
        ("1:*", vec![1, 3, 4, 5]),
        ("*", vec![5]),
        ("4:3,1", vec![1, 4, 5]),
        ("2,2:3,2", vec![3, 4]),
    ] {
        let answer = client.command(&format!("a FETCH {set} UID")).await;
        let expected: String =
            uids.iter().map(|uid| format!("(UID {uid})")).collect::<Vec<_>>().join("|");
        let found: Vec<&str> =
            answer.lines().filter_map(|line| line.split("FETCH ").nth(1)).collect();
        assert_eq!(found.join("|"), expected, "{set}");
    }
    assert!(client.command("a FETCH 5 UID").await.starts_with("a BAD "));
    assert_eq!(client.command("a UID FETCH 2 FLAGS").await, "a OK FETCH\r\n");
    assert_eq!(
        client.command("a UID FETCH 4:* FLAGS").await,
        "* 3 FETCH (UID 4 FLAGS (\\Recent))\r\n* 4 FETCH (UID 5 FLAGS (\\Recent))\r\na OK FETCH\r\n"
    );
    // §6.4.8: 559:* always names the last message.
    assert!(client.command("a UID FETCH 559:* FLAGS").await.starts_with("* 4 FETCH (UID 5 "));
}

#[tokio::test]
async fn an_empty_mailbox_has_no_last_message() {
    let mut client = in_inbox(&MemoryAccount::new()).await;
    assert_eq!(client.command("a FETCH 1:* FLAGS").await, "a OK FETCH\r\n");
    assert_eq!(client.command("a UID FETCH 1:* FLAGS").await, "a OK FETCH\r\n");
    assert!(client.command("a FETCH 1 FLAGS").await.starts_with("a BAD "));
    assert_eq!(client.command("a SEARCH ALL").await, "* SEARCH\r\na OK SEARCH\r\n");
}

#[tokio::test]
async fn store_changes_flags_in_every_form() {
    let account = MemoryAccount::new();
    for number in 1..=3 {
        account.deliver("INBOX", &simple(&number.to_string(), "x"));
    }
    let mut client = in_inbox(&account).await;
    client.command("a FETCH 1:3 FLAGS").await;
    assert_eq!(
        client.command("A003 STORE 2:3 +FLAGS (\\Deleted)").await,
        "* 2 FETCH (FLAGS (\\Deleted \\Recent))\r\n* 3 FETCH (FLAGS (\\Deleted \\Recent))\r\n\
         A003 OK STORE\r\n"
    );
    assert_eq!(client.command("a UID STORE 3 -FLAGS.SILENT (\\Deleted)").await, "a OK STORE\r\n");
    assert_eq!(
        client.command("a STORE 1 FLAGS \\Seen $Forwarded").await,
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded)\r\n\
         * 1 FETCH (FLAGS (\\Seen \\Recent $Forwarded))\r\na OK STORE\r\n"
    );
    assert_eq!(
        client.command("a UID STORE 1 FLAGS ()").await,
        "* 1 FETCH (UID 1 FLAGS (\\Recent))\r\na OK STORE\r\n"
    );
    let messages = account.messages("INBOX");
    assert!(messages[1].1.deleted && !messages[2].1.deleted && !messages[0].1.seen);
    assert!(client.command("a STORE 1 +FLAGS (\\Recent)").await.starts_with("a BAD "));
    assert!(client.command("a STORE 4 +FLAGS (\\Seen)").await.starts_with("a BAD "));
    client.command("a EXAMINE INBOX").await;
    assert!(client.command("a STORE 1 +FLAGS (\\Seen)").await.starts_with("a NO [READ-ONLY]"));
}

#[tokio::test]
async fn a_snapshot_is_read_and_never_changed() {
    let account = MemoryAccount::new();
    account.make("Snapshot");
    account.deliver("Snapshot", &simple("x", "y"));
    account.make_read_only("Snapshot");
    let mut client = logged_in(&account).await;
    assert!(client.command("a SELECT Snapshot").await.contains("a OK [READ-ONLY] SELECT"));
    assert!(client.command("a FETCH 1 BODY[]").await.contains("a OK"));
    for command in ["STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 INBOX"] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a NO [CANNOT] "), "{command}: {answer}");
    }
    assert!(client.command("a COPY 1 INBOX").await.starts_with("a OK [COPYUID 1 1 1]"));
    assert!(client.command("a CLOSE").await.starts_with("a OK"));
    assert_eq!(account.messages("Snapshot").len(), 1);
}

#[tokio::test]
async fn expunge_removes_what_is_deleted() {
    let account = MemoryAccount::new();
    for number in 1..=11 {
        account.deliver("INBOX", &simple(&number.to_string(), "x"));
    }
    let mut client = in_inbox(&account).await;
    client.command("a STORE 3,4,7,11 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(
        client.command("a UID EXPUNGE 4:7").await,
        "* 7 EXPUNGE\r\n* 4 EXPUNGE\r\na OK EXPUNGE\r\n"
    );
    assert_eq!(client.command("a EXPUNGE").await, "* 9 EXPUNGE\r\n* 3 EXPUNGE\r\na OK EXPUNGE\r\n");
    assert_eq!(client.command("a EXPUNGE").await, "a OK EXPUNGE\r\n");
    client.command("a STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    // UNSELECT keeps what CLOSE removes (RFC 3691 §2).
    client.command("a UNSELECT").await;
    assert_eq!(account.messages("INBOX").len(), 7);
    client.command("a SELECT INBOX").await;
    assert_eq!(client.command("a CLOSE").await, "a OK CLOSE\r\n");
    assert_eq!(account.messages("INBOX").len(), 6);
}

#[tokio::test]
async fn copy_and_move_tell_the_new_uids() {
    let account = MemoryAccount::new();
    account.make("Altra");
    account.deliver("Altra", &simple("0", "x"));
    for number in 1..=4 {
        account.deliver("INBOX", &simple(&number.to_string(), "x"));
    }
    let mut client = in_inbox(&account).await;
    client.command("a STORE 2 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(client.command("a COPY 2:4 Altra").await, "a OK [COPYUID 2 2:4 2:4] COPY\r\n");
    assert_eq!(client.command("a UID COPY 99 Altra").await, "a OK COPY\r\n");
    assert!(client.command("a COPY 1 nowhere").await.starts_with("a NO [TRYCREATE]"));
    assert_eq!(
        client.command("a MOVE 1,3 Altra").await,
        "* OK [COPYUID 2 1,3 5:6] MOVE\r\n* 3 EXPUNGE\r\n* 1 EXPUNGE\r\na OK MOVE\r\n"
    );
    let flagged: Vec<bool> = account.messages("Altra").iter().map(|m| m.1.flagged).collect();
    assert_eq!(flagged, [false, true, false, false, false, false]);
    assert_eq!(account.messages("INBOX").len(), 2);
}

#[tokio::test]
async fn append_streams_a_message_into_a_mailbox() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    let message = simple("appended", &"riga\r\n".repeat(100_000));
    client
        .send(format!(
            "A003 APPEND INBOX (\\Seen $Label) \"17-Jul-1996 02:44:25 -0700\" {{{}}}\r\n",
            message.len()
        ))
        .await;
    assert_eq!(client.line().await, "+ OK\r\n");
    client.send(&message).await;
    client.send("\r\n").await;
    let answer = client.until("A003").await;
    assert!(answer.contains("* 1 EXISTS\r\n"), "{answer}");
    assert!(answer.ends_with("A003 OK [APPENDUID 1 1] APPEND\r\n"), "{answer}");
    let (_, flags, octets) = account.messages("INBOX").remove(0);
    assert_eq!(octets, message);
    assert!(flags.seen && flags.keywords.len() == 1);
    assert_eq!(account.internal_dates("INBOX"), [NOW]);
    // LITERAL+ (RFC 7888), and a mailbox name that is a literal itself.
    let answer = client.command("b APPEND {5+}\r\nINBOX {4+}\r\na: b").await;
    assert!(answer.ends_with("b OK [APPENDUID 1 2] APPEND\r\n"), "{answer}");
    let answer = client.command("c FETCH 1 BODY.PEEK[]").await;
    assert!(answer.contains(std::str::from_utf8(&message).unwrap()));
}

#[tokio::test]
async fn append_is_refused_before_the_message_is_sent() {
    let account = MemoryAccount::new();
    account.set_limit(1_000);
    let mut client = logged_in(&account).await;
    for (command, code) in [
        ("a APPEND nowhere {10}", "TRYCREATE"),
        ("a APPEND INBOX {1001}", "OVERQUOTA"),
        ("a APPEND INBOX {0}", "CANNOT"),
        ("a APPEND INBOX {4294967296}", "TOOBIG"),
        ("a APPEND a&b {10}", "CANNOT"),
    ] {
        let answer = client.command(command).await;
        assert!(answer.starts_with(&format!("a NO [{code}] ")), "{command}: {answer}");
    }
    assert!(client.command("a APPEND INBOX (\\Recent) {10}").await.starts_with("a BAD "));
    // With LITERAL+ the message comes all the same and is forgotten.
    let answer = client.command("b APPEND nowhere {10+}\r\n0123456789").await;
    assert!(answer.starts_with("b NO [TRYCREATE]"), "{answer}");
    let answer = client.command("c APPEND INBOX {3+}\r\na\0b").await;
    assert!(answer.starts_with("c NO [CANNOT]"), "{answer}");
    let answer = client.command("d APPEND INBOX {3+}\r\na:b more").await;
    assert!(answer.starts_with("d BAD "), "{answer}");
    assert!(account.messages("INBOX").is_empty());
    assert!(client.command("e NOOP").await.starts_with("e OK"));
}

#[tokio::test]
async fn search_evaluates_every_key() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", NESTED.as_bytes());
    account.deliver("INBOX", &simple("fattura", "Importo: 100 EUR"));
    account.deliver("INBOX", b"Subject: vuoto\r\nCc: dora@pec.example\r\n\r\n");
    let mut client = in_inbox(&account).await;
    client.command("a STORE 2 +FLAGS (\\Seen \\Flagged Lavoro)").await;
    client.command("a STORE 3 +FLAGS (\\Deleted \\Answered \\Draft)").await;
    for (keys, found) in [
        ("ALL", "1 2 3"),
        ("ANSWERED", "3"),
        ("UNANSWERED UNDELETED UNDRAFT", "1 2"),
        ("DELETED DRAFT", "3"),
        ("FLAGGED", "2"),
        ("UNFLAGGED SEEN", ""),
        ("UNSEEN", "1 3"),
        ("KEYWORD lavoro", "2"),
        ("UNKEYWORD Lavoro", "1 3"),
        ("NEW", "1 3"),
        ("OLD", ""),
        ("RECENT", "1 2 3"),
        ("FROM \"anna rossi\"", "1"),
        ("FROM \"<anna.rossi@pec.example>\"", "1"),
        ("TO CARLA", "1"),
        ("CC dora", "3"),
        ("BCC x", ""),
        ("SUBJECT fatt", "2"),
        ("CHARSET UTF-8 SUBJECT {7+}\r\nPERCHÉ", "1"),
        ("SUBJECT \"perché no\"", "1"),
        ("HEADER X-Folded \"one two\"", "1"),
        ("HEADER X-Folded \"\"", "1"),
        ("HEADER Subject \"\"", "1 2 3"),
        ("HEADER X-None \"\"", ""),
        ("BODY \"città dorme\"", "1"),
        ("BODY \"first inner\"", "1"),
        ("BODY dentro", "1"),
        ("BODY c2Vncm", ""),
        ("BODY anna", ""),
        ("TEXT anna", "1"),
        ("TEXT \"importo: 100\"", "2"),
        ("BODY \"\"", "1 2 3"),
        ("TEXT importo TEXT eur BODY 100", "2"),
        ("OR TEXT importo TEXT vuoto", "2 3"),
        ("NOT TEXT importo", "1 3"),
        ("LARGER 500", "1"),
        ("SMALLER 100", "2 3"),
        ("SINCE 17-Jul-1996", "1 2 3"),
        ("BEFORE 17-Jul-1996", ""),
        ("ON \"17-Jul-1996\" 1:2", "1 2"),
        ("SENTON 17-Jul-1996", "1"),
        ("SENTBEFORE 17-Jul-1996", ""),
        ("SENTSINCE 1-Feb-1994", "1"),
        ("UID 2:*", "2 3"),
        ("NOT 2", "1 3"),
        ("(OR SEEN DELETED) NOT KEYWORD lavoro", "3"),
    ] {
        let answer = client.command(&format!("a SEARCH {keys}")).await;
        let space = if found.is_empty() { "" } else { " " };
        assert_eq!(answer, format!("* SEARCH{space}{found}\r\na OK SEARCH\r\n"), "{keys}");
    }
    account.expunge("INBOX", 1);
    client.command("a NOOP").await;
    assert_eq!(client.command("a UID SEARCH 1:*").await, "* SEARCH 2 3\r\na OK SEARCH\r\n");
    assert!(
        client
            .command("a SEARCH CHARSET KOI8-R ALL")
            .await
            .starts_with("a NO [BADCHARSET (UTF-8 US-ASCII)]")
    );
}

#[tokio::test]
async fn rows_and_summaries_decide_a_search_where_they_can() {
    let account = MemoryAccount::new();
    for number in 0..50 {
        account.deliver("INBOX", &simple(&format!("numero {number}"), "x"));
    }
    let mut client = in_inbox(&account).await;
    client.command("a SEARCH SEEN TEXT never").await;
    assert_eq!(account.summaries.load(Ordering::SeqCst), 0, "flags were enough");
    client.command("a SEARCH SUBJECT \"numero 7\"").await;
    assert_eq!(account.reads.load(Ordering::SeqCst), 0, "summaries were enough");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_costs_a_no_or_the_connection_but_never_wrong_octets() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", &simple("x", &"y".repeat(200_000)));
    let mut client = in_inbox(&account).await;
    account.damage_from(0);
    let answer = client.command("a FETCH 1 (UID BODY.PEEK[])").await;
    assert!(answer.starts_with("* 1 FETCH (UID 1 BODY[] NIL)\r\na NO [CORRUPTION]"), "{answer}");
    account.damage_from(100_000);
    client.send("b FETCH 1 BODY.PEEK[]\r\n").await;
    let rest = client.rest().await;
    assert!(rest.len() < 200_000 && !rest.contains("b OK") && !rest.contains("BYE"));
}
