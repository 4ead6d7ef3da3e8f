//! ESEARCH in several mailboxes (RFC 7377).

mod account;

use std::sync::Arc;

use account::{
    client::{Client, connect_with, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;

/// Mailboxes with one message more each, of which the last is seen; UIDVALIDITY 1 to 5.
fn tree() -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for (number, name) in (1..).zip(["INBOX", "Lavoro", "Lavoro/a", "Lavoro/a/b", "Perché"]) {
        if name != "INBOX" {
            account.make(name);
        }
        for _ in 0..number {
            account.deliver(name, b"Subject: x\r\n\r\n");
        }
        account.flag(name, number, Flags { seen: true, ..Flags::default() });
    }
    account
}

async fn answers(client: &mut Client, command: &str) -> Vec<String> {
    let answer = client.command(&format!("a ESEARCH {command}")).await;
    let told = answer.strip_suffix("a OK ESEARCH\r\n").unwrap_or_else(|| panic!("{answer}"));
    told.lines().map(str::to_owned).collect()
}

fn line(name: &str, uid_validity: u32, items: &str) -> String {
    format!("* ESEARCH (TAG \"a\" MAILBOX {name} UIDVALIDITY {uid_validity}) UID {items}")
}

#[tokio::test]
async fn mailboxes_are_named_in_every_way() {
    let account = tree();
    let mut client = in_inbox(&account).await;
    client.command("s SUBSCRIBE Lavoro/a").await;
    let inbox = line("INBOX", 1, "ALL 1");
    let work = line("Lavoro", 2, "ALL 2");
    let a = line("Lavoro/a", 3, "ALL 3");
    let b = line("Lavoro/a/b", 4, "ALL 4");
    let why = line("Perch&AOk-", 5, "ALL 5");
    for (sources, expected) in [
        ("mailboxes Lavoro", vec![&work]),
        ("mailboxes (\"Lavoro\" Perch&AOk- Niente)", vec![&work, &why]),
        ("subtree Lavoro", vec![&work, &a, &b]),
        ("subtree-one Lavoro", vec![&work, &a]),
        ("SUBTREE (Lavoro/a) mailboxes Lavoro/a", vec![&a, &b]),
        ("personal", vec![&inbox, &work, &a, &b, &why]),
        ("subscribed", vec![&a]),
        // Messages may be delivered to any of them (RFC 5465 §6.3).
        ("inboxes", vec![&inbox, &work, &a, &b, &why]),
        ("selected", vec![&inbox]),
        ("selected-delayed mailboxes inbox", vec![&inbox]),
        ("mailboxes Niente", vec![]),
        ("subtree Lav", vec![]),
    ] {
        let told = answers(&mut client, &format!("IN ({sources}) SEEN")).await;
        assert_eq!(told.iter().collect::<Vec<_>>(), expected, "{sources}");
    }
    assert_eq!(answers(&mut client, "SEEN").await, [inbox], "the selected mailbox is meant");
}

#[tokio::test]
async fn one_search_covers_live_mail_and_the_archive() {
    let account = MemoryAccount::new();
    for name in ["Archivio", "Archivio/2025", "Archivio/2025/INBOX", "Archivio2"] {
        account.make(name);
        account.deliver(name, b"Subject: fattura\r\n\r\n");
    }
    account.deliver("INBOX", b"Subject: fattura\r\n\r\n");
    let mut client = in_inbox(&account).await;
    let told = answers(&mut client, "IN (mailboxes INBOX subtree Archivio) SUBJECT fattura").await;
    let archive = [("Archivio", 2), ("Archivio/2025", 3), ("Archivio/2025/INBOX", 4), ("INBOX", 1)];
    let mut expected: Vec<String> =
        archive.iter().map(|(name, validity)| line(name, *validity, "ALL 1")).collect();
    let mut told = told;
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn results_are_told_of_each_mailbox_in_which_something_is_found() {
    let mut client = logged_in(&tree()).await;
    let command = "IN (subtree Lavoro) RETURN (MIN COUNT PARTIAL -1:-1) UNSEEN";
    assert_eq!(
        answers(&mut client, command).await,
        [
            line("Lavoro", 2, "MIN 1 COUNT 1 PARTIAL (-1:-1 1)"),
            line("Lavoro/a", 3, "MIN 1 COUNT 2 PARTIAL (-1:-1 2)"),
            line("Lavoro/a/b", 4, "MIN 1 COUNT 3 PARTIAL (-1:-1 3)"),
        ]
    );
    assert!(answers(&mut client, "IN (personal) RETURN (COUNT) FLAGGED").await.is_empty());
    let some = answers(&mut client, "IN (personal) CHARSET UTF-8 UID 3 SEEN MODSEQ 1").await;
    assert_eq!(some, [line("Lavoro/a", 3, "ALL 3 MODSEQ 12")]);
    client.command("e ENABLE UTF8=ACCEPT").await;
    let utf8 = answers(&mut client, "IN (mailboxes \"Perché\") SEEN").await;
    assert_eq!(utf8, [line("\"Perché\"", 5, "ALL 5")]);
}

#[tokio::test]
async fn what_is_of_the_selected_mailbox_is_not_asked_of_others() {
    let account = tree();
    let mut client = logged_in(&account).await;
    for wrong in ["SEEN", "IN (selected) SEEN", "IN (personal selected) SEEN"] {
        assert!(
            client.command(&format!("a ESEARCH {wrong}")).await.starts_with("a BAD "),
            "{wrong}"
        );
    }
    client.command("s SELECT Lavoro").await;
    for wrong in ["IN (personal) RETURN (SAVE) SEEN", "IN (personal) 1:2", "IN (inboxes) UID $"] {
        assert!(
            client.command(&format!("a ESEARCH {wrong}")).await.starts_with("a BAD "),
            "{wrong}"
        );
    }
    assert_eq!(answers(&mut client, "IN (selected) RETURN (SAVE) 2").await, Vec::<String>::new());
    assert_eq!(client.command("b UID SEARCH $").await, "* SEARCH 2\r\nb OK SEARCH\r\n");
    assert_eq!(answers(&mut client, "$").await, [line("Lavoro", 2, "ALL 2")]);
    let live = answers(&mut client, "IN (selected) RETURN (UPDATE COUNT) SEEN").await;
    assert_eq!(live[0], line("Lavoro", 2, "COUNT 1"));
    assert!(live[1].starts_with("* NO [NOUPDATE \"a\"] "), "{live:?}");
    // The selected mailbox is searched as the client knows it.
    account.deliver("Lavoro", b"Subject: x\r\n\r\n");
    let told = client.command("c ESEARCH IN (mailboxes Lavoro) UID 3").await;
    assert_eq!(told, "* 3 EXISTS\r\n* 3 RECENT\r\nc OK ESEARCH\r\n");
}

#[tokio::test]
async fn mailboxes_are_bounded() {
    let limits = ImapLimits { search_mailboxes_max: 3, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&tree(), settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    assert_eq!(answers(&mut client, "IN (subtree Lavoro) SEEN").await.len(), 3);
    let refused = client.command("a ESEARCH IN (personal) SEEN").await;
    assert!(refused.starts_with("a NO [LIMIT] "), "{refused}");
    let names = client.command("a ESEARCH IN (mailboxes (a b c d)) SEEN").await;
    assert!(names.starts_with("a BAD "), "{names}");
}

/// Numbers of mailboxes are counted for each account by itself.
#[tokio::test]
async fn mailboxes_of_two_accounts_with_one_number_are_two() {
    let account = tree();
    let shared = "Altri utenti/posta@pec.example/INBOX";
    account.make_shared(shared, "INBOX");
    account.deliver(shared, b"Subject: x\r\n\r\n");
    account.deliver(shared, b"Subject: x\r\n\r\n");
    let mut client = logged_in(&account).await;
    client.command(&format!("s SELECT \"{shared}\"")).await;
    let own = line("INBOX", 1, "ALL 1");
    let other = line(&format!("\"{shared}\""), 1, "ALL 1:2");
    let both = format!("IN (mailboxes (INBOX \"{shared}\")) ALL");
    let mut found = answers(&mut client, &both).await;
    found.sort();
    assert_eq!(found, [other.clone(), own.clone()]);
    assert_eq!(answers(&mut client, "IN (selected) ALL").await, [other]);
    assert_eq!(answers(&mut client, "IN (mailboxes INBOX) ALL").await, std::slice::from_ref(&own));
    let personal = answers(&mut client, "IN (personal) ALL").await;
    assert_eq!(personal.len(), 5, "{personal:?}");
    assert_eq!(personal[0], own);
    // So are numbers of messages.
    let answer = client.command("f UID FETCH 1 EMAILID").await;
    let (_, id) = answer.split_once("EMAILID (").unwrap();
    let (id, _) = id.split_once(')').unwrap();
    let (_, number) = id.split_once('-').unwrap();
    let found = client.command(&format!("g UID SEARCH EMAILID {id}")).await;
    assert_eq!(found, "* SEARCH 1\r\ng OK SEARCH\r\n");
    let found = client.command(&format!("h UID SEARCH EMAILID M{number}")).await;
    assert_eq!(found, "* SEARCH\r\nh OK SEARCH\r\n");
}
