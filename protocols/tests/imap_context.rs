//! Searches whose changes are told (RFC 5267 §4.3): CONTEXT=SEARCH and CONTEXT=SORT.

mod account;

use std::sync::Arc;

use account::{
    client::{Client, connect_with, in_inbox},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;

fn message(subject: &str) -> Vec<u8> {
    format!("Subject: {subject}\r\n\r\nx\r\n").into_bytes()
}

fn flagged(flagged: bool) -> Flags {
    Flags { flagged, ..Flags::default() }
}

/// An account with messages of these subjects in INBOX.
fn with(subjects: &[&str]) -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for subject in subjects {
        account.deliver("INBOX", &message(subject));
    }
    account
}

/// What is told by NOOP, FETCH responses left out.
async fn news(client: &mut Client) -> Vec<String> {
    let told = client.command("n NOOP").await;
    let told = told.strip_suffix("n OK NOOP\r\n").unwrap_or_else(|| panic!("{told}"));
    told.lines().filter(|line| !line.contains(" FETCH ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn messages_join_and_leave_a_search() {
    let account = with(&["a", "b", "c"]);
    let mut client = in_inbox(&account).await;
    let first = client.command("B01 UID SEARCH RETURN (UPDATE COUNT) FLAGGED").await;
    assert_eq!(first, "* ESEARCH (TAG \"B01\") UID COUNT 0\r\nB01 OK SEARCH\r\n");
    let quiet = client.command("B02 SEARCH RETURN (UPDATE) SUBJECT d").await;
    assert_eq!(quiet, "B02 OK SEARCH\r\n");
    account.flag("INBOX", 1, flagged(true));
    account.flag("INBOX", 2, flagged(true));
    assert_eq!(news(&mut client).await, ["* ESEARCH (TAG \"B01\") UID ADDTO (0 1:2)"]);
    assert!(news(&mut client).await.is_empty(), "once");
    account.flag("INBOX", 1, flagged(false));
    assert_eq!(news(&mut client).await, ["* ESEARCH (TAG \"B01\") UID REMOVEFROM (0 1)"]);
    // What the client itself changes counts, too.
    let stored = client.command("s STORE 3 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(stored, "* ESEARCH (TAG \"B01\") UID ADDTO (0 3)\r\ns OK STORE\r\n");
    // A new message is counted before it joins; an expunged one leaves before it is told so.
    account.deliver("INBOX", &message("d"));
    let told = ["* 4 EXISTS", "* 4 RECENT", "* ESEARCH (TAG \"B02\") ADDTO (0 4)"];
    assert_eq!(news(&mut client).await, told);
    account.expunge("INBOX", 1);
    account.expunge("INBOX", 2);
    account.expunge("INBOX", 4);
    let told = [
        "* ESEARCH (TAG \"B01\") UID REMOVEFROM (0 2)",
        "* ESEARCH (TAG \"B02\") REMOVEFROM (0 4)",
        "* 4 EXPUNGE",
        "* 2 EXPUNGE",
        "* 1 EXPUNGE",
    ];
    assert_eq!(news(&mut client).await, told);
}

#[tokio::test]
async fn positions_in_a_sort_are_true_one_after_the_other() {
    let account = with(&["b", "d", "f"]);
    let mut client = in_inbox(&account).await;
    let command = "C01 UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 UNFLAGGED";
    assert!(client.command(command).await.starts_with("* ESEARCH (TAG \"C01\") UID ALL 1:3\r\n"));
    account.deliver("INBOX", &message("e"));
    account.deliver("INBOX", &message("Re: a"));
    let told = ["* 5 EXISTS", "* 5 RECENT", "* ESEARCH (TAG \"C01\") UID ADDTO (1 5 4 4)"];
    assert_eq!(news(&mut client).await, told);
    account.flag("INBOX", 1, flagged(true));
    account.flag("INBOX", 3, flagged(true));
    let told = ["* ESEARCH (TAG \"C01\") UID REMOVEFROM (5 3 2 1)"];
    assert_eq!(news(&mut client).await, told);
    // Both at once: who leaves is told first.
    account.flag("INBOX", 5, flagged(true));
    account.flag("INBOX", 1, flagged(false));
    let told =
        ["* ESEARCH (TAG \"C01\") UID REMOVEFROM (1 5)", "* ESEARCH (TAG \"C01\") UID ADDTO (1 1)"];
    assert_eq!(news(&mut client).await, told);
    account.expunge("INBOX", 2);
    let told = ["* ESEARCH (TAG \"C01\") UID REMOVEFROM (2 2)", "* 2 EXPUNGE"];
    assert_eq!(news(&mut client).await, told);
}

#[tokio::test]
async fn changes_are_told_during_idle_and_expunged_ones_when_numbers_may_change() {
    let account = with(&["a", "b"]);
    let mut client = in_inbox(&account).await;
    client.command("B01 SEARCH RETURN (UPDATE COUNT) ALL").await;
    account.expunge("INBOX", 1);
    let fetched = client.command("f FETCH 2 UID").await;
    assert_eq!(fetched, "* 2 FETCH (UID 2)\r\nf OK FETCH\r\n", "not while numbers stand");
    client.send("i IDLE\r\n").await;
    client.line().await;
    assert_eq!(client.line().await, "* ESEARCH (TAG \"B01\") REMOVEFROM (0 1)\r\n");
    assert_eq!(client.line().await, "* 1 EXPUNGE\r\n");
    account.deliver("INBOX", &message("c"));
    assert_eq!(client.line().await, "* 2 EXISTS\r\n");
    client.line().await;
    assert_eq!(client.line().await, "* ESEARCH (TAG \"B01\") ADDTO (0 2)\r\n");
    client.send("DONE\r\n").await;
    client.until("i").await;
}

#[tokio::test]
async fn updates_are_cancelled_by_tag_and_with_the_mailbox() {
    let account = with(&["a"]);
    let mut client = in_inbox(&account).await;
    for tag in ["B01", "B02"] {
        client.command(&format!("{tag} SEARCH RETURN (UPDATE COUNT) FLAGGED")).await;
    }
    let again = client.command("B01 SEARCH RETURN (UPDATE) ALL").await;
    assert!(again.starts_with("B01 BAD "), "{again}");
    assert_eq!(client.command("c CANCELUPDATE \"B01\"").await, "c OK CANCELUPDATE\r\n");
    account.flag("INBOX", 1, flagged(true));
    assert_eq!(news(&mut client).await, ["* ESEARCH (TAG \"B02\") ADDTO (0 1)"]);
    for wrong in ["CANCELUPDATE \"B01\"", "CANCELUPDATE B02", "CANCELUPDATE"] {
        assert!(client.command(&format!("c {wrong}")).await.starts_with("c BAD "), "{wrong}");
    }
    client.command("s SELECT INBOX").await;
    account.flag("INBOX", 1, flagged(false));
    assert!(news(&mut client).await.is_empty());
}

#[tokio::test]
async fn contexts_are_bounded_and_those_of_numbers_are_not_kept() {
    let account = with(&["a", "b"]);
    let limits = ImapLimits { contexts_max: 2, sort_octets_max: 100, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("s SELECT INBOX").await;
    let refused = |tag: &str, answer: &str| {
        assert!(answer.contains(&format!("* NO [NOUPDATE \"{tag}\"] ")), "{answer}");
        assert!(answer.contains(&format!("{tag} OK ")), "{answer}");
    };
    refused("N1", &client.command("N1 SEARCH RETURN (UPDATE COUNT) 1:2").await);
    refused("N2", &client.command("N2 UID SEARCH RETURN (UPDATE COUNT) UID $").await);
    let kept = client.command("C1 SORT RETURN (UPDATE) (SUBJECT) UTF-8 ALL").await;
    assert_eq!(kept, "C1 OK SORT\r\n");
    refused("C2", &client.command("C2 SORT RETURN (UPDATE) (SUBJECT) UTF-8 ALL").await);
    client.command("B1 SEARCH RETURN (UPDATE) ALL").await;
    refused("B2", &client.command("B2 SEARCH RETURN (UPDATE) ALL").await);
    // A context that grows beyond the bound is given up, and the client is told.
    account.deliver("INBOX", &message("c"));
    account.deliver("INBOX", &message("d"));
    let told = news(&mut client).await;
    let given_up = told.iter().any(|line| line.starts_with("* NO [NOUPDATE \"C1\"] "));
    assert!(given_up, "{told:?}");
    account.deliver("INBOX", &message("e"));
    assert!(news(&mut client).await.iter().all(|line| !line.contains("C1")));
}
