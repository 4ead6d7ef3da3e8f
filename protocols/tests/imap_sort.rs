//! SORT (RFC 5256), SORT=DISPLAY (RFC 5957) and ESORT (RFC 5267), without regard to case
//! (RFC 5255, I18NLEVEL=1).

mod account;

use std::sync::Arc;

use account::{
    client::{Client, connect_with, in_inbox},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};

/// From, To, Cc, Subject, Date, padding; received at midnight of the day of July 1996.
type Mail = (&'static str, &'static str, &'static str, &'static str, &'static str, usize, u8);

const MAILS: [Mail; 5] = [
    (
        "Zeno <anna@b.example>",
        "c@x.example",
        "",
        "Re: offerta",
        "Wed, 3 Jul 1996 10:00:00 +0000",
        30,
        9,
    ),
    ("BRUNO@a.example", "A@x.example", "z@x.example", "[lista] Offerta", "", 10, 2),
    (
        "anna@a.example",
        "b@x.example",
        "y@x.example, a@x.example",
        "Perché",
        "Wed, 3 Jul 1996 11:30:00 +0200",
        20,
        8,
    ),
    ("\"Carla\" <carla@a.example>", "d@x.example", "", "PERCHÉ NO", "Tue, 2 Jul 1996", 0, 1),
    ("", "", "", "", "not a date", 40, 5),
];

async fn mails() -> (Arc<MemoryAccount>, Client) {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    for (from, to, cc, subject, date, padding, day) in MAILS {
        let mut text = String::new();
        for (name, value) in
            [("From", from), ("To", to), ("Cc", cc), ("Subject", subject), ("Date", date)]
        {
            if !value.is_empty() {
                text.extend([name, ": ", value, "\r\n"]);
            }
        }
        text.extend(["\r\n", &"x".repeat(padding * 100), "\r\n"]);
        let command =
            format!("x APPEND INBOX \" {day}-Jul-1996 00:00:00 +0000\" {{{}+}}\r\n", text.len());
        client.send(format!("{command}{text}\r\n")).await;
        assert!(client.until("x").await.contains("x OK "));
    }
    (account, client)
}

async fn sorted(client: &mut Client, command: &str) -> String {
    let answer = client.command(&format!("a {command}")).await;
    answer.strip_suffix("\r\na OK SORT\r\n").unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn every_key_sorts_and_reverse_turns_it() {
    let (_account, mut client) = mails().await;
    for (criteria, order) in [
        ("ARRIVAL", "4 2 5 3 1"),
        ("REVERSE ARRIVAL", "1 3 5 2 4"),
        ("DATE", "2 4 3 1 5"),
        ("SIZE", "4 2 3 1 5"),
        ("REVERSE SIZE", "5 1 3 2 4"),
        ("FROM", "5 1 3 2 4"),
        ("FROM REVERSE SIZE", "5 1 3 2 4"),
        ("FROM SIZE", "5 3 1 2 4"),
        ("REVERSE FROM ARRIVAL", "4 2 3 1 5"),
        ("TO", "5 2 3 1 4"),
        ("CC", "1 4 5 3 2"),
        ("REVERSE CC", "2 3 1 4 5"),
        ("SUBJECT", "5 1 2 3 4"),
        ("SUBJECT REVERSE ARRIVAL", "5 1 2 3 4"),
        ("SUBJECT ARRIVAL", "5 2 1 3 4"),
        ("DISPLAYFROM", "5 3 2 4 1"),
        ("DISPLAYTO", "5 2 3 1 4"),
        ("REVERSE DISPLAYFROM", "1 4 2 3 5"),
    ] {
        let command = format!("SORT ({criteria}) UTF-8 ALL");
        assert_eq!(sorted(&mut client, &command).await, format!("* SORT {order}"), "{criteria}");
    }
}

#[tokio::test]
async fn what_matches_is_sorted_and_nothing_else() {
    let (account, mut client) = mails().await;
    assert_eq!(sorted(&mut client, "SORT (SUBJECT) US-ASCII SEEN").await, "* SORT");
    assert_eq!(sorted(&mut client, "SORT (ARRIVAL) utf-8 SUBJECT OFFERTA").await, "* SORT 2 1");
    assert_eq!(
        sorted(&mut client, "SORT (ARRIVAL) UTF-8 SUBJECT {7+}\r\nperchÉ").await,
        "* SORT 4 3"
    );
    account.expunge("INBOX", 1);
    client.command("n NOOP").await;
    assert_eq!(sorted(&mut client, "UID SORT (SIZE) UTF-8 ALL").await, "* SORT 4 2 3 5");
    assert_eq!(sorted(&mut client, "SORT (SIZE) UTF-8 ALL").await, "* SORT 3 1 2 4");
    let unknown = client.command("b SORT (SIZE) KOI8-R ALL").await;
    assert!(unknown.starts_with("b NO [BADCHARSET (UTF-8 US-ASCII)]"), "{unknown}");
    for wrong in
        ["SORT (SIZE) ALL", "SORT () UTF-8 ALL", "SORT (BCC) UTF-8 ALL", "SORT SIZE UTF-8 ALL"]
    {
        assert!(client.command(&format!("b {wrong}")).await.starts_with("b BAD "), "{wrong}");
    }
    let headers = account.reads.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(headers, 0, "no message was opened");
}

#[tokio::test]
async fn extended_results_are_in_the_order_of_the_sort() {
    let (_account, mut client) = mails().await;
    for (options, told) in [
        ("", "ALL 4,2,5,3,1"),
        ("ALL", "ALL 4,2,5,3,1"),
        ("MIN MAX COUNT", "MIN 4 MAX 1 COUNT 5"),
        ("PARTIAL 2:3", "PARTIAL (2:3 2,5)"),
        ("PARTIAL -1:-2", "PARTIAL (-1:-2 3,1)"),
        ("PARTIAL 6:9", "PARTIAL (6:9 NIL)"),
    ] {
        let command = format!("UID SORT RETURN ({options}) (ARRIVAL) UTF-8 ALL");
        let told = format!("* ESEARCH (TAG \"a\") UID {told}");
        assert_eq!(sorted(&mut client, &command).await, told, "{options}");
    }
    let saved = client.command("a SORT RETURN (SAVE MIN MAX) (ARRIVAL) UTF-8 ALL").await;
    assert_eq!(saved, "* ESEARCH (TAG \"a\") MIN 4 MAX 1\r\na OK SORT\r\n");
    assert_eq!(client.command("b SEARCH $").await, "* SEARCH 1 4\r\nb OK SEARCH\r\n");
}

#[tokio::test]
async fn a_sort_that_would_take_too_much_memory_is_refused() {
    let account = MemoryAccount::new();
    for number in 0..100 {
        account.deliver("INBOX", format!("Subject: {number}\r\n\r\n").as_bytes());
    }
    let limits = ImapLimits { sort_octets_max: 2_000, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("s SELECT INBOX").await;
    for command in ["SORT (SUBJECT)", "SORT (SIZE)", "THREAD REFERENCES", "THREAD ORDEREDSUBJECT"] {
        let refused = client.command(&format!("a {command} UTF-8 ALL")).await;
        assert!(refused.starts_with("a NO [LIMIT] "), "{refused}");
        let few = client.command(&format!("b {command} UTF-8 1:5")).await;
        assert!(few.contains("b OK "), "{few}");
    }
}
