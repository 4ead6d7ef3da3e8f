//! How MESSAGELIMIT bounds searches (RFC 9738 §3.1, §3.2) and APPEND.

mod account;

use std::{num::NonZeroU32, sync::Arc};

use account::{
    client::{Client, connect_with},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};

const TEXT: &str =
    "Troppi messaggi: continuare con i restanti / Too many messages: go on with the rest";

/// Seven messages of which every other one is about something.
fn account() -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for number in 1..=7 {
        let subject = if number % 2 == 1 { "dispari" } else { "pari" };
        account.deliver("INBOX", format!("Subject: {subject}\r\n\r\ny\r\n").as_bytes());
    }
    account
}

/// A client of a server that works on three messages at once.
async fn limited(account: &Arc<MemoryAccount>) -> Client {
    let limits = ImapLimits { message_limit: NonZeroU32::new(3), ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("sel SELECT INBOX").await;
    client
}

#[tokio::test]
async fn a_search_looks_through_the_newest_messages_and_says_where_to_go_on() {
    let mut client = limited(&account()).await;
    // As a client goes on: below the lowest UID that was looked at, found or not (RFC 9738 §3.2).
    assert_eq!(
        client.command("a UID SEARCH SUBJECT dispari").await,
        format!("* SEARCH 5 7\r\na OK [MESSAGELIMIT 3 5] {TEXT}\r\n")
    );
    assert_eq!(
        client.command("b UID SEARCH UIDBEFORE 5 SUBJECT dispari").await,
        format!("* SEARCH 3\r\nb OK [MESSAGELIMIT 3 2] {TEXT}\r\n")
    );
    assert_eq!(
        client.command("c UID SEARCH UIDBEFORE 2 SUBJECT dispari").await,
        "* SEARCH 1\r\nc OK SEARCH\r\n"
    );
    for (criteria, found, rest) in [
        ("1:3 ALL", " 1 2 3", None),
        ("2:5 ALL", " 3 4 5", Some(3)),
        ("UID 1,3,5,7", " 3 5 7", Some(3)),
        ("(UID 1:6 NOT 2:4) ALL", " 1 5 6", None),
        ("OR UID 1 UID 2", "", Some(5)),
        ("UIDAFTER 4", " 5 6 7", None),
        ("NOT ALL", "", Some(5)),
    ] {
        let end = match rest {
            Some(lowest) => format!("OK [MESSAGELIMIT 3 {lowest}] {TEXT}"),
            None => "OK SEARCH".to_owned(),
        };
        let answer = client.command(&format!("d SEARCH {criteria}")).await;
        assert_eq!(answer, format!("* SEARCH{found}\r\nd {end}\r\n"), "{criteria}");
    }
}

#[tokio::test]
async fn sets_of_numbers_and_of_uids_are_cut_together() {
    let account = account();
    // Six messages: UIDs 1, 2, 4, 5, 6, 7.
    account.expunge("INBOX", 3);
    let mut client = limited(&account).await;
    for (criteria, found, rest) in [
        ("NOT 6", " 3 4 5", Some(4)),
        ("NOT UID 6", " 3 4 6", Some(4)),
        ("NOT UID 1:4 NOT 6", " 4 5", None),
        ("1:5 UID 3:100", " 3 4 5", None),
        ("1:5 UID 2:*", " 3 4 5", Some(4)),
        ("UID 3", "", None),
        ("UID 50:60", "", None),
        ("NOT UID 1:7", "", None),
        ("1,3,5 NOT UID 4", " 1 5", None),
        ("((2:3,5:6) NOT UID 4)", " 2 5 6", None),
    ] {
        let end = match rest {
            Some(lowest) => format!("OK [MESSAGELIMIT 3 {lowest}] {TEXT}"),
            None => "OK SEARCH".to_owned(),
        };
        let answer = client.command(&format!("d SEARCH {criteria}")).await;
        assert_eq!(answer, format!("* SEARCH{found}\r\nd {end}\r\n"), "{criteria}");
    }
}

#[tokio::test]
async fn results_of_a_limited_search_are_those_of_what_was_looked_at() {
    let account = account();
    let mut client = limited(&account).await;
    let end = format!("OK [MESSAGELIMIT 3 5] {TEXT}\r\n");
    assert_eq!(
        client.command("a UID SEARCH RETURN (MIN MAX COUNT SAVE) SUBJECT dispari").await,
        format!("* ESEARCH (TAG \"a\") UID MIN 5 MAX 7 COUNT 2\r\na {end}")
    );
    assert_eq!(client.command("b UID SEARCH $").await, "* SEARCH 5 7\r\nb OK SEARCH\r\n");
    // Nothing is told of changes where only a part is known.
    let answer = client.command("c UID SEARCH RETURN (UPDATE COUNT) ALL").await;
    assert!(answer.contains("* NO [NOUPDATE \"c\"] "), "{answer}");
    assert!(answer.ends_with(&format!("c {end}")), "{answer}");
    account.deliver("INBOX", b"Subject: dispari\r\n\r\ny\r\n");
    let answer = client.command("d NOOP").await;
    assert!(!answer.contains("ESEARCH"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_done_in_parts_is_refused() {
    let account = account();
    account.make("Altra");
    for _ in 0..2 {
        account.deliver("Altra", b"Subject: dispari\r\n\r\ny\r\n");
    }
    let mut client = limited(&account).await;
    let no = format!("a NO [MESSAGELIMIT 3] {TEXT}\r\n");
    for (too_many, fits) in [
        ("UID SORT (SUBJECT) UTF-8 ALL", "UID SORT (SUBJECT) UTF-8 UID 1:3"),
        ("THREAD REFERENCES UTF-8 ALL", "THREAD REFERENCES UTF-8 5:7"),
        ("ESEARCH IN (selected) ALL", "ESEARCH IN (selected) UIDAFTER 4"),
        ("ESEARCH IN (mailboxes INBOX) UID 1:4", "ESEARCH IN (mailboxes Altra) ALL"),
        // Two of one mailbox and two of the other.
        ("ESEARCH IN (mailboxes (INBOX Altra)) UID 1:2", "ESEARCH IN (personal) UID 1"),
    ] {
        let answer = client.command(&format!("a {too_many}")).await;
        assert_eq!(answer, no, "{too_many}: nothing is told");
        let answer = client.command(&format!("a {fits}")).await;
        assert!(answer.contains("\r\na OK "), "{fits}: {answer}");
    }
    let answer = client.command("a ESEARCH IN (mailboxes (INBOX Altra)) UID 1").await;
    assert_eq!(answer.matches("* ESEARCH (TAG \"a\" MAILBOX ").count(), 2, "{answer}");
    let mut append = "a APPEND Altra".to_owned();
    for _ in 0..4 {
        append.push_str(" {4+}\r\na:b\n");
    }
    assert_eq!(client.command(&append).await, no);
    assert_eq!(account.messages("Altra").len(), 2);
}
