//! Rights (RFC 4314): one owner for each account, and what others share, by transcripts.

mod account;

use account::{client::logged_in, memory::MemoryAccount};

const SHARED: &str = "\"Altri utenti/posta@pec.example/INBOX\"";

async fn tree() -> (std::sync::Arc<MemoryAccount>, account::client::Client) {
    let account = MemoryAccount::new();
    account.make("Istantanea");
    account.make_read_only("Istantanea");
    account.make(SHARED.trim_matches('"'));
    account.make_read_only(SHARED.trim_matches('"'));
    let client = logged_in(&account).await;
    (account, client)
}

#[tokio::test]
async fn the_owner_has_every_right_on_live_mailboxes() {
    let (_account, mut client) = tree().await;
    for (command, expected) in [
        ("MYRIGHTS INBOX", "* MYRIGHTS INBOX lrswipkxteacd\r\n"),
        ("GETACL inbox", "* ACL INBOX anna.rossi@pec.example lrswipkxteacd\r\n"),
        (
            "LISTRIGHTS INBOX Anna.Rossi@PEC.example",
            "* LISTRIGHTS INBOX Anna.Rossi@PEC.example lrswipkxteacd\r\n",
        ),
        ("LISTRIGHTS INBOX anyone", "* LISTRIGHTS INBOX anyone \"\"\r\n"),
    ] {
        let word = command.split(' ').next().unwrap();
        let answer = client.command(&format!("a {command}")).await;
        assert_eq!(answer, format!("{expected}a OK {word}\r\n"));
    }
    let answer = client.command("a MYRIGHTS nowhere").await;
    assert!(answer.starts_with("a NO [NONEXISTENT]"), "{answer}");
}

#[tokio::test]
async fn what_is_read_only_grants_looking_only() {
    let (_account, mut client) = tree().await;
    assert!(client.command("a MYRIGHTS Istantanea").await.contains(" Istantanea lra\r\n"));
    let answer = client.command("a GETACL Istantanea").await;
    assert!(answer.contains(" anna.rossi@pec.example lra\r\n"), "{answer}");
    let answer = client.command(&format!("a MYRIGHTS {SHARED}")).await;
    assert!(answer.contains(&format!("* MYRIGHTS {SHARED} lr\r\n")), "{answer}");
    // Without the right to administer nothing is told (RFC 4314 §4).
    for command in ["GETACL X", "LISTRIGHTS X anyone", "SETACL X anyone l", "DELETEACL X anyone"] {
        let answer = client.command(&format!("a {}", command.replace('X', SHARED))).await;
        assert!(answer.starts_with("a NO [NOPERM] "), "{command}: {answer}");
    }
}

#[tokio::test]
async fn a_change_of_rights_is_refused_unless_it_changes_nothing() {
    let (_account, mut client) = tree().await;
    for (command, expected) in [
        ("SETACL INBOX anna.rossi@pec.example lrswipkxtea", "OK SETACL"),
        ("SETACL INBOX anna.rossi@pec.example +lr", "OK SETACL"),
        ("SETACL INBOX fred \"\"", "OK SETACL"),
        ("SETACL INBOX fred -lrs", "OK SETACL"),
        ("DELETEACL INBOX fred", "OK DELETEACL"),
        ("SETACL INBOX anna.rossi@pec.example lr", "NO [CANNOT] "),
        ("SETACL INBOX anna.rossi@pec.example -x", "NO [CANNOT] "),
        ("SETACL INBOX fred lr", "NO [CANNOT] "),
        ("SETACL INBOX anyone +r", "NO [CANNOT] "),
        ("DELETEACL INBOX anna.rossi@pec.example", "NO [CANNOT] "),
        ("SETACL nowhere fred lr", "NO [NONEXISTENT] "),
        ("SETACL INBOX fred lrQ", "BAD "),
        ("SETACL INBOX fred", "BAD "),
        ("GETACL", "BAD "),
    ] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with(&format!("a {expected}")), "{command}: {answer}");
    }
    assert!(client.command("a GETACL INBOX").await.contains("lrswipkxteacd\r\n"));
}
