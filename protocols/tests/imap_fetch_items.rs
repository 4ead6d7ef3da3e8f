//! What FETCH tells beside RFC 3501: BINARY (RFC 3516), identifiers (RFC 8474), SAVEDATE
//! (RFC 8514), PREVIEW (RFC 8970), strings in UTF-8 (RFC 6855), and IMAP4rev2 (RFC 9051 §A).

mod account;

use std::sync::{Arc, atomic::Ordering};

use account::{
    client::{Client, in_inbox, logged_in},
    memory::MemoryAccount,
};

const MIXED: &str = "From: Anna <anna@pec.example>\r\nSubject: allegati\r\nMIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\r\n\
--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
Citt=C3=A0 =\r\nbella\r\n\
--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: BASE64\r\n\r\n\
AAEC\r\nAwQF\r\nBg==\r\n\
--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin\r\n\
--b\r\nContent-Type: text/plain\r\n\r\nsenza codifica\r\n\
--b--\r\n";

async fn with_mixed() -> (Arc<MemoryAccount>, Client) {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MIXED.as_bytes());
    let client = in_inbox(&account).await;
    (account, client)
}

#[tokio::test]
async fn binary_sends_parts_without_their_transfer_encoding() {
    let (_, mut client) = with_mixed().await;
    for (item, answer) in [
        ("BINARY.PEEK[1]", "BINARY[1] ~{12}\r\nCittà bella"),
        ("BINARY.PEEK[2]", "BINARY[2] ~{7}\r\n\0\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}"),
        ("BINARY.PEEK[4]", "BINARY[4] ~{14}\r\nsenza codifica"),
        ("BINARY.PEEK[2]<2.3>", "BINARY[2]<2> ~{3}\r\n\u{2}\u{3}\u{4}"),
        ("BINARY.PEEK[2]<5.100>", "BINARY[2]<5> ~{2}\r\n\u{5}\u{6}"),
        ("BINARY.PEEK[2]<7.1>", "BINARY[2]<7> ~{0}\r\n"),
        ("BINARY.PEEK[4]<6.8>", "BINARY[4]<6> ~{8}\r\ncodifica"),
        ("BINARY.PEEK[5]", "BINARY[5] NIL"),
        ("BINARY.SIZE[1]", "BINARY.SIZE[1] 12"),
        ("BINARY.SIZE[2]", "BINARY.SIZE[2] 7"),
        ("BINARY.SIZE[4]", "BINARY.SIZE[4] 14"),
        ("BINARY.SIZE[9]", "BINARY.SIZE[9] 0"),
    ] {
        let found = client.command(&format!("a FETCH 1 {item}")).await;
        assert_eq!(found, format!("* 1 FETCH ({answer})\r\na OK FETCH\r\n"), "{item}");
    }
    let whole = client.command("a FETCH 1 BINARY.PEEK[]").await;
    assert_eq!(
        whole,
        format!("* 1 FETCH (BINARY[] ~{{{}}}\r\n{MIXED})\r\na OK FETCH\r\n", MIXED.len())
    );
}

#[tokio::test]
async fn an_unknown_transfer_encoding_is_said_and_costs_no_other_message() {
    let (account, mut client) = with_mixed().await;
    account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    client.command("n NOOP").await;
    for item in ["BINARY.PEEK[3]", "BINARY.SIZE[3]"] {
        let answer = client.command(&format!("a FETCH 1:2 (UID {item})")).await;
        assert!(answer.starts_with("* 2 FETCH (UID 2 "), "{item}: {answer}");
        assert!(answer.contains("\r\na NO [UNKNOWN-CTE] "), "{item}: {answer}");
    }
    let answer = client.command("b FETCH 1 BODY.PEEK[3]").await;
    assert!(answer.contains("BODY[3] {5}\r\nbegin)"), "{answer}");
}

#[tokio::test]
async fn a_message_of_which_nothing_can_be_sent_stays_unseen() {
    let (account, mut client) = with_mixed().await;
    account.deliver("INBOX", MIXED.replace("x-uuencode", "7bit").as_bytes());
    client.command("n NOOP").await;
    let answer = client.command("a UID FETCH 1:2 BINARY[3]").await;
    assert!(answer.contains("* 2 FETCH (UID 2 BINARY[3] ~{5}\r\nbegin FLAGS (\\Seen"), "{answer}");
    assert!(answer.contains("\r\na NO [UNKNOWN-CTE] ") && !answer.contains("UID 1 "), "{answer}");
    let seen: Vec<bool> = account.messages("INBOX").iter().map(|message| message.1.seen).collect();
    assert_eq!(seen, [false, true]);
}

#[tokio::test]
async fn binary_marks_seen_as_body_does() {
    let (account, mut client) = with_mixed().await;
    client.command("a FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])").await;
    assert!(!account.messages("INBOX")[0].1.seen);
    let answer = client.command("b FETCH 1 BINARY[4]").await;
    assert!(answer.contains("senza codifica FLAGS (\\Seen \\Recent))\r\n"), "{answer}");
    assert!(account.messages("INBOX")[0].1.seen);
}

#[tokio::test]
async fn a_large_encoded_part_is_decoded_whole_however_it_is_cut() {
    let account = MemoryAccount::new();
    let octets: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).take(400_000).collect();
    let encoded = base64_lines(&octets);
    let head =
        "MIME-Version: 1.0\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    account.deliver("INBOX", format!("{head}{encoded}").as_bytes());
    let mut client = in_inbox(&account).await;
    client.send("a FETCH 1 BINARY.PEEK[1]\r\n").await;
    assert_eq!(client.line().await, "* 1 FETCH (BINARY[1] ~{400000}\r\n");
    assert!(client.exactly(400_000).await == octets);
    client.until("a").await;
    client.send("b FETCH 1 BINARY.PEEK[1]<399990.50>\r\n").await;
    assert_eq!(client.line().await, "* 1 FETCH (BINARY[1]<399990> ~{10}\r\n");
    assert!(client.exactly(10).await == octets[399_990..]);
    client.until("b").await;
    // The beginning is decoded without reading to the end.
    let before = account.reads.load(Ordering::SeqCst);
    client.command("c FETCH 1 BINARY.PEEK[1]<0.100>").await;
    assert_eq!(account.reads.load(Ordering::SeqCst) - before, 2, "once to count, once to send");
}

fn base64_lines(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (position, three) in octets.chunks(3).enumerate() {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit > three.len() { '=' } else { DIGITS[value].into() });
        }
        if position % 19 == 18 {
            text.push_str("\r\n");
        }
    }
    text
}

#[tokio::test]
async fn partial_fetches_read_only_what_they_name_and_summaries_nothing() {
    let account = MemoryAccount::new();
    let message = format!("Subject: x\r\n\r\n{}", "0123456789".repeat(100_000));
    account.deliver("INBOX", message.as_bytes());
    let mut client = in_inbox(&account).await;
    let answer = client.command("a FETCH 1 BODY.PEEK[]<500014.10>").await;
    assert!(answer.contains("BODY[]<500014> {10}\r\n0123456789)"), "{answer}");
    assert_eq!(account.reads.load(Ordering::SeqCst), 1);
    let answer = client.command("b FETCH 1 BODY.PEEK[TEXT]<999990.100>").await;
    assert!(answer.contains("BODY[TEXT]<999990> {10}\r\n0123456789)"), "{answer}");
    assert_eq!(account.reads.load(Ordering::SeqCst), 2);
    client.command("c FETCH 1 (ALL BODYSTRUCTURE)").await;
    let all = "ENVELOPE BODYSTRUCTURE PREVIEW RFC822.SIZE SAVEDATE EMAILID THREADID MODSEQ FLAGS";
    assert!(client.command(&format!("d FETCH 1 ({all})")).await.ends_with("d OK FETCH\r\n"));
    assert_eq!(account.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn identifiers_stay_with_a_message_and_its_copies() {
    let account = MemoryAccount::new();
    account.make("Altra");
    account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    let mut client = logged_in(&account).await;
    assert!(client.command("s SELECT INBOX").await.contains("* OK [MAILBOXID (F1)] "));
    assert_eq!(
        client.command("a FETCH 1:2 (EMAILID THREADID)").await,
        "* 1 FETCH (EMAILID (M1) THREADID NIL)\r\n* 2 FETCH (EMAILID (M2) THREADID NIL)\r\n\
         a OK FETCH\r\n"
    );
    client.command("b COPY 2 Altra").await;
    client.command("c UID MOVE 1 Altra").await;
    assert!(client.command("d SELECT Altra").await.contains("* OK [MAILBOXID (F2)] "));
    assert_eq!(
        client.command("e FETCH 1:2 EMAILID").await,
        "* 1 FETCH (EMAILID (M2))\r\n* 2 FETCH (EMAILID (M1))\r\ne OK FETCH\r\n"
    );
}

#[tokio::test]
async fn the_save_date_is_that_of_the_copy() {
    let account = MemoryAccount::new();
    account.make("Altra");
    account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    let mut client = in_inbox(&account).await;
    assert_eq!(
        client.command("a FETCH 1 (SAVEDATE)").await,
        "* 1 FETCH (SAVEDATE \"17-Jul-1996 09:44:25 +0000\")\r\na OK FETCH\r\n"
    );
    client.command("b COPY 1 Altra").await;
    client.command("c SELECT Altra").await;
    let answer = client.command("d FETCH 1 (INTERNALDATE SAVEDATE)").await;
    assert!(answer.contains("INTERNALDATE \"17-Jul-1996 09:44:25 +0000\""), "{answer}");
    assert!(answer.contains("SAVEDATE \"17-Jul-1996 10:44:25 +0000\""), "{answer}");
}

#[tokio::test]
async fn previews_are_there_at_once_and_mark_nothing_seen() {
    let (account, mut client) = with_mixed().await;
    account.deliver("INBOX", b"Subject: vuoto\r\n\r\n");
    account.deliver("INBOX", format!("Subject: x\r\n\r\n{}", "parola ".repeat(100)).as_bytes());
    client.command("n NOOP").await;
    let expected = "* 1 FETCH (PREVIEW {12}\r\nCittà bella)\r\na OK FETCH\r\n";
    assert_eq!(client.command("a FETCH 1 PREVIEW").await, expected);
    assert_eq!(client.command("a FETCH 1 PREVIEW (LAZY)").await, expected);
    assert_eq!(
        client.command("b FETCH 2 (PREVIEW (LAZY) UID)").await,
        "* 2 FETCH (PREVIEW \"\" UID 2)\r\nb OK FETCH\r\n"
    );
    let answer = client.command("c FETCH 3 PREVIEW").await;
    let preview = answer.split('"').nth(1).unwrap();
    assert!(preview.starts_with("parola parola") && preview.chars().count() <= 200, "{answer}");
    assert_eq!(account.reads.load(Ordering::SeqCst), 0);
    assert!(account.messages("INBOX").iter().all(|message| !message.1.seen));
}

const EIGHT_BIT: &str = "From: \"Nicolò\" <nicolo@pec.example>\r\nSubject: perché\r\n\
MIME-Version: 1.0\r\nContent-Type: text/plain; name=\"città.txt\"\r\n\r\nx\r\n";

#[tokio::test]
async fn strings_stand_between_quotes_in_utf_8_once_the_client_reads_them() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", EIGHT_BIT.as_bytes());
    account.deliver("INBOX", b"Subject: \xe8\r\n\r\nperch\xc3\xa9\r\n");
    let mut client = in_inbox(&account).await;
    let answer = client.command("a FETCH 1 (ENVELOPE BODYSTRUCTURE)").await;
    assert!(answer.contains("(NIL \"=?UTF-8?B?cGVyY2jDqQ==?=\" "), "{answer}");
    assert!(answer.contains("((\"=?UTF-8?B?Tmljb2zDsg==?=\" NIL \"nicolo\" "), "{answer}");
    for extension in ["UTF8=ACCEPT", "IMAP4rev2"] {
        let mut client = logged_in(&account).await;
        client.command(&format!("e ENABLE {extension}")).await;
        client.command("s SELECT INBOX").await;
        let answer = client.command("a FETCH 1 (ENVELOPE BODYSTRUCTURE)").await;
        assert!(answer.contains("(NIL \"perché\" ((\"Nicolò\" NIL "), "{extension}: {answer}");
        assert!(answer.contains("(\"name\" \"città.txt\")"), "{extension}: {answer}");
        let answer = client.command("b FETCH 2 (ENVELOPE PREVIEW)").await;
        assert!(
            answer.contains("(NIL {1}\r\n") && answer.contains("PREVIEW \"perché\""),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn imap4rev2_knows_no_recent_and_names_the_mailbox_that_is_selected() {
    let account = MemoryAccount::new();
    account.make("Attività");
    account.deliver("Attività", b"Subject: x\r\n\r\ny\r\n");
    let mut client = logged_in(&account).await;
    client.command("e ENABLE IMAP4rev2").await;
    let answer = client.command("a SELECT \"Attività\"").await;
    assert!(answer.contains("* LIST () \"/\" \"Attività\"\r\n"), "{answer}");
    assert!(!answer.contains("RECENT") && !answer.contains("[UNSEEN"), "{answer}");
    assert_eq!(client.command("b FETCH 1 FLAGS").await, "* 1 FETCH (FLAGS ())\r\nb OK FETCH\r\n");
    account.deliver("Attività", b"Subject: x\r\n\r\ny\r\n");
    assert_eq!(client.command("c NOOP").await, "* 2 EXISTS\r\nc OK NOOP\r\n");
    assert!(client.command("d SELECT INBOX").await.starts_with("* OK [CLOSED] "));
    // A client of IMAP4rev1 beside it sees what it always saw.
    let answer = in_inbox(&account).await.command("f EXAMINE Attivit&AOA-").await;
    assert!(answer.contains("RECENT\r\n") && answer.contains("[UNSEEN 1]"), "{answer}");
    assert!(!answer.contains("* LIST"), "{answer}");
}

/// RFC 6855 §7, §8: headers in UTF-8 (RFC 6532) and who has not enabled UTF-8. A signature may cover
/// them, and a message whose octets differ is another: so they go out as they came.
#[tokio::test]
async fn octets_of_a_message_in_utf_8_are_the_same_for_every_client() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", EIGHT_BIT.as_bytes());
    let header = EIGHT_BIT.split_inclusive("\r\n\r\n").next().unwrap();
    for enabled in [None, Some("UTF8=ACCEPT"), Some("IMAP4rev2")] {
        let mut client = logged_in(&account).await;
        if let Some(extension) = enabled {
            client.command(&format!("e ENABLE {extension}")).await;
        }
        client.command("s SELECT INBOX").await;
        for (item, octets) in [
            ("BODY.PEEK[]", EIGHT_BIT),
            ("RFC822", EIGHT_BIT),
            ("BODY.PEEK[HEADER]", header),
            ("RFC822.HEADER", header),
            ("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "Subject: perché\r\n\r\n"),
        ] {
            let answer = client.command(&format!("a FETCH 1 {item}")).await;
            let literal = format!(" {{{}}}\r\n{octets}", octets.len());
            assert!(answer.contains(&literal), "{enabled:?} {item}: {answer}");
        }
        let answer = client.command("b FETCH 1 RFC822.SIZE").await;
        assert!(answer.contains(&format!("RFC822.SIZE {}", EIGHT_BIT.len())), "{answer}");
    }
}
