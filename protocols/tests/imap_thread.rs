//! THREAD (RFC 5256 §3, and REFS of the Internet-Draft draft-ietf-morg-inthread).

mod account;

use std::sync::Arc;

use account::{
    client::{Client, in_inbox},
    memory::MemoryAccount,
};

/// Message-ID, other header lines; sent in the minute of its place unless these say otherwise.
const MAILS: [(&str, &str); 9] = [
    ("<1@x>", "Subject: offerta\r\n"),
    ("<2@x>", "Subject: Re: offerta\r\nReferences: <1@x>\r\n"),
    ("<3@x>", "Subject: Re: offerta\r\nReferences: <1@x> (quoted) <2@x>\r\n"),
    ("<4@x>", "Subject: Re: offerta\r\nIn-Reply-To: Your message <\"1\"@x> of today <9@x>\r\n"),
    ("<5@x>", "Subject: Fwd: offerta\r\n"),
    ("<6@x>", "Subject: altro\r\nReferences: <lost@x>\r\n"),
    ("<7@x>", "Subject: ancora altro\r\nReferences: <lost@x>\r\n"),
    ("", "Subject: solo\r\n"),
    ("<9@x>", "Subject: solo\r\n"),
];

async fn mails() -> (Arc<MemoryAccount>, Client) {
    let account = MemoryAccount::new();
    for (minute, (id, lines)) in MAILS.iter().enumerate() {
        let id = if id.is_empty() { String::new() } else { format!("Message-ID: {id}\r\n") };
        let date = format!("Date: Wed, 17 Jul 1996 02:{minute:02}:00 +0000\r\n");
        account.deliver("INBOX", format!("{id}{lines}{date}\r\nx\r\n").as_bytes());
    }
    let client = in_inbox(&account).await;
    (account, client)
}

async fn threads(client: &mut Client, command: &str) -> String {
    let answer = client.command(&format!("a {command}")).await;
    let told = answer.strip_suffix("\r\na OK THREAD\r\n").unwrap_or_else(|| panic!("{answer}"));
    told.strip_prefix("* THREAD").unwrap().to_owned()
}

#[tokio::test]
async fn messages_are_put_into_threads_by_each_algorithm() {
    let (account, mut client) = mails().await;
    let references = threads(&mut client, "THREAD REFERENCES UTF-8 ALL").await;
    assert_eq!(references, " (1 (2 3)(4)(5))((6)(7))((8)(9))");
    let subjects = threads(&mut client, "THREAD ORDEREDSUBJECT UTF-8 ALL").await;
    assert_eq!(subjects, " (1 (2)(3)(4)(5))(6)(7)(8 9)");
    let refs = threads(&mut client, "THREAD REFS UTF-8 ALL").await;
    assert_eq!(refs, " (1 (2 3)(4))(5)((6)(7))(8)(9)");
    assert_eq!(account.reads.load(std::sync::atomic::Ordering::SeqCst), 0, "headers were enough");
}

#[tokio::test]
async fn only_what_matches_is_put_into_threads() {
    let (account, mut client) = mails().await;
    assert_eq!(threads(&mut client, "THREAD REFERENCES UTF-8 SEEN").await, "");
    assert_eq!(threads(&mut client, "THREAD REFERENCES US-ASCII 3:4").await, " ((3)(4))");
    account.expunge("INBOX", 1);
    client.command("n NOOP").await;
    let by_uid = threads(&mut client, "UID THREAD REFERENCES UTF-8 ALL").await;
    assert_eq!(by_uid, " ((2 3)(4)(5))((6)(7))((8)(9))");
    let by_number = threads(&mut client, "THREAD ORDEREDSUBJECT UTF-8 ALL").await;
    assert_eq!(by_number, " (1 (2)(3)(4))(5)(6)(7 8)");
    for wrong in ["THREAD REFERENCES ALL", "THREAD JWZ UTF-8 ALL", "THREAD REFERENCES UTF-8"] {
        assert!(client.command(&format!("b {wrong}")).await.starts_with("b BAD "), "{wrong}");
    }
}

#[tokio::test]
async fn refs_orders_threads_by_what_arrived_last() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    for (id, references, day) in [("<a@x>", "", 1), ("<b@x>", "", 2), ("<c@x>", "<a@x>", 3)] {
        let text = format!("Message-ID: {id}\r\nReferences: {references}\r\n\r\n");
        let length = text.len();
        let date = format!("\" {day}-Jul-1996 00:00:00 +0000\"");
        client.send(format!("x APPEND INBOX {date} {{{length}+}}\r\n{text}\r\n")).await;
        assert!(client.until("x").await.contains("x OK "));
    }
    assert_eq!(threads(&mut client, "THREAD REFS UTF-8 ALL").await, " (2)(1 3)");
    assert_eq!(threads(&mut client, "THREAD REFERENCES UTF-8 ALL").await, " (1 3)(2)");
}
