//! What a session learns of others: RFC 3501 §5.2, §5.5, §7.4.1; RFC 2177; RFC 2180.

mod account;

use account::{
    client::{in_inbox, logged_in},
    memory::MemoryAccount,
};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;
use tokio::io::AsyncWriteExt;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

fn seen() -> Flags {
    Flags { seen: true, ..Flags::default() }
}

#[tokio::test]
async fn numbers_stay_true_while_fetch_store_and_search_by_number_are_answered() {
    let account = MemoryAccount::new();
    for _ in 0..4 {
        account.deliver("INBOX", MESSAGE);
    }
    let mut client = in_inbox(&account).await;
    account.expunge("INBOX", 2);
    for command in ["FETCH 4 UID", "SEARCH ALL", "STORE 4 +FLAGS.SILENT (\\Seen)"] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(!answer.contains("EXPUNGE\r\n"), "{command}: {answer}");
        assert!(answer.contains("a OK"), "{command}: {answer}");
    }
    // The message that is gone: by number the client must learn it, by UID it need not.
    let answer = client.command("b FETCH 2 BODY.PEEK[]").await;
    assert!(answer.ends_with("/ Some of the messages were expunged\r\n"), "{answer}");
    assert!(client.command("b STORE 2 +FLAGS (\\Seen)").await.contains("b NO [EXPUNGEISSUED]"));
    assert!(client.command("b COPY 2 INBOX").await.contains("b NO [EXPUNGEISSUED]"));
    assert_eq!(client.command("c NOOP").await, "c OK NOOP\r\n", "COPY reported it already");
    assert_eq!(client.command("d FETCH 3 UID").await, "* 3 FETCH (UID 4)\r\nd OK FETCH\r\n");
}

#[tokio::test]
async fn uid_commands_report_what_is_gone() {
    let account = MemoryAccount::new();
    for _ in 0..3 {
        account.deliver("INBOX", MESSAGE);
    }
    let mut client = in_inbox(&account).await;
    account.expunge("INBOX", 1);
    account.expunge("INBOX", 3);
    let answer = client.command("a UID FETCH 1:3 BODY.PEEK[]").await;
    assert!(answer.ends_with("* 3 EXPUNGE\r\n* 1 EXPUNGE\r\na OK FETCH\r\n"), "{answer}");
    assert_eq!(client.command("b UID SEARCH ALL").await, "* SEARCH 2\r\nb OK SEARCH\r\n");
}

#[tokio::test]
async fn arrivals_and_flags_of_others_are_told_after_the_next_command() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    let mut client = in_inbox(&account).await;
    account.deliver("INBOX", MESSAGE);
    account.flag("INBOX", 1, seen());
    assert_eq!(
        client.command("a FETCH 1 UID").await,
        "* 1 FETCH (UID 1)\r\n* 2 EXISTS\r\n* 2 RECENT\r\n\
         * 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))\r\na OK FETCH\r\n"
    );
    assert_eq!(client.command("b NOOP").await, "b OK NOOP\r\n", "everything is told once");
    // A message that came and went meanwhile was never there.
    account.deliver("INBOX", MESSAGE);
    account.expunge("INBOX", 3);
    assert_eq!(client.command("c NOOP").await, "c OK NOOP\r\n");
}

#[tokio::test]
async fn a_silent_store_still_tells_what_others_changed() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    let mut client = in_inbox(&account).await;
    account.flag("INBOX", 1, seen());
    assert_eq!(
        client.command("a STORE 1 +FLAGS.SILENT (\\Flagged)").await,
        "* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent))\r\na OK STORE\r\n"
    );
}

#[tokio::test]
async fn two_sessions_share_changes_and_recent_belongs_to_one() {
    let account = MemoryAccount::new();
    let mut first = in_inbox(&account).await;
    let mut second = in_inbox(&account).await;
    account.deliver("INBOX", MESSAGE);
    assert!(first.command("a NOOP").await.contains("* 1 EXISTS\r\n* 1 RECENT\r\n"));
    assert!(second.command("a NOOP").await.contains("* 1 EXISTS\r\n* 0 RECENT\r\n"));
    first.command("b STORE 1 +FLAGS (\\Deleted)").await;
    assert!(second.command("b NOOP").await.contains("* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n"));
    second.command("c EXPUNGE").await;
    assert_eq!(first.command("c NOOP").await, "* 1 EXPUNGE\r\nc OK NOOP\r\n");
}

#[tokio::test]
async fn idle_tells_changes_as_they_happen() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    let mut client = in_inbox(&account).await;
    client.send("a IDLE\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    account.deliver("INBOX", MESSAGE);
    assert_eq!(client.line().await, "* 2 EXISTS\r\n");
    assert_eq!(client.line().await, "* 2 RECENT\r\n");
    account.expunge("INBOX", 1);
    assert_eq!(client.line().await, "* 1 EXPUNGE\r\n");
    account.flag("INBOX", 2, seen());
    assert_eq!(client.line().await, "* 1 FETCH (UID 2 FLAGS (\\Seen \\Recent))\r\n");
    client.send("DO").await;
    account.deliver("INBOX", MESSAGE);
    assert_eq!(client.line().await, "* 2 EXISTS\r\n");
    assert_eq!(client.line().await, "* 2 RECENT\r\n");
    client.send("NE\r\n").await;
    assert_eq!(client.until("a").await, "a OK IDLE\r\n");
    client.send("b IDLE\r\nb NOOP\r\n").await;
    client.line().await;
    assert!(client.until("b").await.starts_with("b BAD "));
}

#[tokio::test]
async fn idle_without_a_mailbox_waits_for_done() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    client.send("a IDLE\r\n").await;
    client.line().await;
    account.deliver("INBOX", MESSAGE);
    client.send("done\r\n").await;
    assert_eq!(client.until("a").await, "a OK IDLE\r\n");
}

#[tokio::test]
async fn a_deleted_mailbox_ends_the_sessions_in_it() {
    let account = MemoryAccount::new();
    account.make("Altra");
    let mut client = logged_in(&account).await;
    client.command("a SELECT Altra").await;
    let mut other = logged_in(&account).await;
    assert!(other.command("a DELETE Altra").await.starts_with("a OK"));
    client.send("b NOOP\r\n").await;
    assert!(client.rest().await.starts_with("* BYE Cartella eliminata"));
}

#[tokio::test]
async fn the_server_stops_between_commands() {
    let account = MemoryAccount::new();
    let mut idle = in_inbox(&account).await;
    idle.send("a IDLE\r\n").await;
    idle.line().await;
    let mut quiet = in_inbox(&account).await;
    for client in [&mut idle, &mut quiet] {
        client.stopping.cancel();
        assert!(client.rest().await.starts_with("* BYE Server in chiusura"));
    }
}

#[tokio::test]
async fn silence_ends_a_session_before_and_after_the_login() {
    let account = MemoryAccount::new();
    let time = std::time::Duration::from_millis(100);
    let limits = ImapLimits { login_time_max: time, idle_time_max: time, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = account::client::connect_with(&account, settings.clone()).await;
    assert!(client.rest().await.contains("* BYE Accesso non effettuato"));
    let mut client = account::client::connect_with(&account, settings).await;
    client.send(b"a LOGIN anna.rossi@pec.example \"ceralacca \\\"1\\\"\"\r\n").await;
    assert!(client.rest().await.contains("* BYE Sessione inattiva"));
    client.stream.shutdown().await.ok();
}
