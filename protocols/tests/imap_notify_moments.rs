//! The moments of NOTIFY (RFC 5465 §3.1, §6.1) by transcripts: what a command held back, what could not
//! be read at once, and what a client sees that does not read.

mod account;
#[path = "support/notify.rs"]
mod notify;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use account::{
    client::{connect_with, in_inbox, logged_in, loopback},
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin},
};
use notify::{lines, news, set};
use protocols::{
    imap::{ImapLimits, Server, ServerSettings},
    net::stream::ChannelBindings,
};
use storage::mailbox::flags::Flags;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

fn message(from: &str, subject: &str) -> Vec<u8> {
    format!("From: {from}@pec.example\r\nSubject: {subject}\r\n\r\nx\r\n").into_bytes()
}

fn seen() -> Flags {
    Flags { seen: true, ..Flags::default() }
}

/// An account with so many messages in INBOX.
fn with(messages: usize) -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for _ in 0..messages {
        account.deliver("INBOX", &message("a", "b"));
    }
    account
}

#[tokio::test]
async fn notify_set_tells_all_that_has_gathered_whatever_is_wanted_from_then_on() {
    // What is told afterwards is what is wanted, and of that here only new messages tell.
    for (groups, watched) in [
        ("(SELECTED NONE)", false),
        ("(PERSONAL (MailboxName))", false),
        ("(SELECTED (MessageNew MessageExpunge))", true),
        ("(SELECTED-DELAYED (MessageNew MessageExpunge))", true),
    ] {
        let account = with(3);
        let mut client = in_inbox(&account).await;
        account.expunge("INBOX", 1);
        account.flag("INBOX", 2, seen());
        account.deliver("INBOX", &message("a", "b"));
        let answer = client.command(&format!("a NOTIFY SET {groups}")).await;
        let gathered = "* 1 EXPUNGE\r\n* 3 EXISTS\r\n* 3 RECENT\r\n\
                        * 1 FETCH (UID 2 FLAGS (\\Seen \\Recent))\r\na OK NOTIFY\r\n";
        assert_eq!(answer, gathered, "{groups}");
        account.flag("INBOX", 3, seen());
        account.deliver("INBOX", &message("a", "b"));
        let told = news(&mut client).await;
        let expected: &[&str] = if watched { &["* 4 EXISTS", "* 4 RECENT"] } else { &[] };
        assert_eq!(told, expected, "{groups}");
    }
}

#[tokio::test]
async fn notify_set_that_is_refused_or_none_tells_nothing_of_a_mailbox_that_is_not_watched() {
    let account = with(2);
    let mut client = in_inbox(&account).await;
    assert_eq!(client.command("a NOTIFY NONE").await, "a OK NOTIFY\r\n");
    account.expunge("INBOX", 1);
    let answer = client.command("b NOTIFY SET (PERSONAL (SomethingElse))").await;
    assert!(answer.starts_with("b NO [BADEVENT "), "{answer}");
    assert_eq!(client.command("c NOTIFY NONE").await, "c OK NOTIFY\r\n");
    assert!(news(&mut client).await.is_empty());
    let answer = client.command("d NOTIFY SET (SELECTED NONE)").await;
    assert_eq!(answer, "* 1 EXPUNGE\r\nd OK NOTIFY\r\n");
}

#[tokio::test]
async fn what_gathers_is_described_as_is_wanted_from_then_on_and_joins_its_searches() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    client.command("a SEARCH RETURN (COUNT UPDATE) FROM \"boss\"").await;
    client.command("b NOTIFY NONE").await;
    account.deliver("INBOX", &message("boss", "A"));
    let answer = client.command("c NOTIFY SET (SELECTED (MessageNew (UID) MessageExpunge))").await;
    assert_eq!(
        answer,
        "* 1 EXISTS\r\n* 1 RECENT\r\n* 1 FETCH (UID 1)\r\n\
         * ESEARCH (TAG \"a\") ADDTO (0 1)\r\nc OK NOTIFY\r\n"
    );
}

#[tokio::test]
async fn what_a_command_holds_back_is_told_right_behind_it() {
    for command in ["FETCH 3 UID", "SEARCH ALL", "STORE 3 +FLAGS.SILENT (\\Flagged)"] {
        let account = with(3);
        let mut client = in_inbox(&account).await;
        set(&mut client, "(SELECTED (MessageNew MessageExpunge))").await;
        // The rest of the line keeps the server from telling it before the command.
        client.send("a ").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        account.expunge("INBOX", 1);
        client.send(format!("{command}\r\n")).await;
        let answer = client.until("a").await;
        assert!(!answer.contains("EXPUNGE") && answer.contains("a OK"), "{command}: {answer}");
        lines(&mut client, &["* 1 EXPUNGE"]).await;
        assert!(news(&mut client).await.is_empty(), "once");
    }
}

#[tokio::test]
async fn delayed_expunges_are_not_told_behind_a_command_of_numbers() {
    let account = with(3);
    let mut client = in_inbox(&account).await;
    client.command("s SEARCH RETURN (COUNT UPDATE) ALL").await;
    set(&mut client, "(SELECTED-DELAYED (MessageNew MessageExpunge))").await;
    account.expunge("INBOX", 1);
    assert_eq!(client.command("a FETCH 3 UID").await, "* 3 FETCH (UID 3)\r\na OK FETCH\r\n");
    account.deliver("INBOX", &message("a", "b"));
    lines(&mut client, &["* 4 EXISTS", "* 4 RECENT", "* ESEARCH (TAG \"s\") ADDTO (0 4)"]).await;
    // Its context is left before its number is.
    let left = ["* ESEARCH (TAG \"s\") REMOVEFROM (0 1)", "* 1 EXPUNGE"];
    assert_eq!(news(&mut client).await, left);
}

#[tokio::test]
async fn what_could_not_be_read_is_told_later_without_a_command_or_another_change() {
    let account = with(2);
    let mut client = in_inbox(&account).await;
    set(&mut client, "(SELECTED (MessageNew MessageExpunge))").await;
    account.changes_failing.store(1, Ordering::SeqCst);
    account.expunge("INBOX", 1);
    lines(&mut client, &["* 1 EXPUNGE"]).await;
    // As it is in IDLE, and at the next command of a client that never used NOTIFY.
    let account = with(1);
    let mut client = in_inbox(&account).await;
    account.changes_failing.store(1, Ordering::SeqCst);
    account.deliver("INBOX", &message("a", "b"));
    assert!(!client.command("c CAPABILITY").await.contains("EXISTS"));
    assert!(client.command("d CAPABILITY").await.contains("* 2 EXISTS\r\n* 2 RECENT\r\n"));
    client.send("i IDLE\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    account.changes_failing.store(1, Ordering::SeqCst);
    account.deliver("INBOX", &message("a", "b"));
    lines(&mut client, &["* 3 EXISTS", "* 3 RECENT"]).await;
    client.send("DONE\r\n").await;
    assert_eq!(client.until("i").await, "i OK IDLE\r\n");
}

#[tokio::test]
async fn a_search_that_cannot_be_judged_does_not_keep_new_messages_from_being_described() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    client.command("a SEARCH RETURN (COUNT UPDATE (RFC822.SIZE)) TEXT \"boss\"").await;
    client.command("b SEARCH RETURN (COUNT UPDATE) ALL").await;
    set(&mut client, "(SELECTED (MessageNew (UID FLAGS) MessageExpunge))").await;
    account.summaries_failing.store(1, Ordering::SeqCst);
    account.deliver("INBOX", &message("boss", "A"));
    let fetch = "* 1 FETCH (UID 1 FLAGS (\\Recent))";
    lines(&mut client, &["* 1 EXISTS", "* 1 RECENT", fetch]).await;
    lines(&mut client, &["* ESEARCH (TAG \"b\") ADDTO (0 1)"]).await;
    // When it can be judged, the message joins it and is described as it asks for.
    let fetch = "* 1 FETCH (UID 1 RFC822.SIZE 41)";
    lines(&mut client, &[fetch, "* ESEARCH (TAG \"a\") ADDTO (0 1)"]).await;
    assert!(news(&mut client).await.is_empty());
}

#[tokio::test]
async fn a_new_message_that_cannot_be_described_at_once_is_described_later() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    set(&mut client, "(SELECTED (MessageNew (UID ENVELOPE) MessageExpunge))").await;
    account.summaries_failing.store(1, Ordering::SeqCst);
    account.deliver("INBOX", &message("a", "b"));
    lines(&mut client, &["* 1 EXISTS", "* 1 RECENT"]).await;
    assert!(client.line().await.starts_with("* 1 FETCH (UID 1 ENVELOPE ("));
    assert!(news(&mut client).await.is_empty());
}

#[tokio::test]
async fn what_answers_the_own_command_is_told_whatever_is_watched() {
    for groups in ["(SELECTED NONE)", "(SELECTED (MessageNew MessageExpunge))"] {
        let account = with(2);
        let mut client = logged_in(&account).await;
        client.command("a ENABLE CONDSTORE").await;
        client.command("sel SELECT INBOX").await;
        let mod_seq = account.mod_seq();
        set(&mut client, groups).await;
        account.flag("INBOX", 1, seen());
        account.flag("INBOX", 2, seen());
        // A condition that failed shows what is there now (RFC 7162 §3.1.3), and nothing else does.
        let command = format!("b STORE 1 (UNCHANGEDSINCE {mod_seq}) FLAGS (\\Flagged)");
        let answer = client.command(&command).await;
        let now = format!("* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent) MODSEQ ({}))", mod_seq + 1);
        assert!(answer.starts_with(&format!("{now}\r\nb OK [MODIFIED 1] ")), "{groups}: {answer}");
        assert!(news(&mut client).await.is_empty(), "{groups}");
    }
}

#[tokio::test]
async fn who_wants_the_modseq_of_new_messages_is_told_that_of_changed_ones() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    let items = "(MessageNew (MODSEQ) MessageExpunge FlagChange)";
    let answer = client.command(&format!("a NOTIFY SET (SELECTED {items})")).await;
    assert_eq!(answer, "* OK [HIGHESTMODSEQ 1] MODSEQ\r\na OK NOTIFY\r\n");
    account.deliver("INBOX", &message("a", "b"));
    lines(&mut client, &["* 1 EXISTS", "* 1 RECENT", "* 1 FETCH (UID 1 MODSEQ (2))"]).await;
    account.flag("INBOX", 1, seen());
    lines(&mut client, &["* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent) MODSEQ (3))"]).await;
}

#[tokio::test]
async fn status_of_what_flags_are_watched_of_names_its_highestmodseq_to_everybody() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let events = "(MessageNew MessageExpunge FlagChange)";
    let answer = client.command(&format!("a NOTIFY SET STATUS (PERSONAL {events})")).await;
    assert_eq!(
        answer,
        "* STATUS INBOX (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1 HIGHESTMODSEQ 1)\r\na OK NOTIFY\r\n"
    );
}

#[tokio::test]
async fn a_mailbox_with_news_that_is_selected_is_told_of_by_that() {
    for select in ["SELECT", "EXAMINE"] {
        let account = with(1);
        account.make("Altro");
        let mut client = in_inbox(&account).await;
        let groups =
            "(SELECTED (MessageNew (UID) MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))";
        set(&mut client, groups).await;
        client.send("a ").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        account.deliver("Altro", &message("a", "b"));
        account.deliver("INBOX", &message("a", "b"));
        client.send(format!("{select} Altro\r\n")).await;
        let answer = client.until("a").await;
        assert!(answer.contains("* 1 EXISTS\r\n") && !answer.contains("STATUS Altro"), "{answer}");
        // The mailbox that was left is watched from what was told of it.
        assert!(answer.contains("* STATUS INBOX (UIDNEXT 3 MESSAGES 2)\r\n"), "{answer}");
        account.deliver("Altro", &message("a", "b"));
        assert_eq!(client.line().await, "* 2 EXISTS\r\n");
        assert!(client.line().await.ends_with(" RECENT\r\n"));
        lines(&mut client, &["* 2 FETCH (UID 2)"]).await;
        assert!(news(&mut client).await.is_empty());
    }
}

#[tokio::test]
async fn a_watched_mailbox_that_is_deleted_ends_the_session_between_commands() {
    let account = MemoryAccount::new();
    account.make("Altro");
    let mut client = logged_in(&account).await;
    client.command("a SELECT Altro").await;
    set(&mut client, "(SELECTED (MessageNew MessageExpunge))").await;
    let mut other = logged_in(&account).await;
    assert_eq!(other.command("b DELETE Altro").await, "b OK DELETE\r\n");
    assert!(client.rest().await.starts_with("* BYE "));
}

#[tokio::test]
async fn a_mailbox_that_was_left_is_watched_from_when_that_is_asked_for() {
    let account = MemoryAccount::new();
    account.make("Altro");
    let mut client = in_inbox(&account).await;
    set(&mut client, "(SELECTED (MessageNew MessageExpunge))").await;
    for command in ["SELECT Altro", "UNSELECT"] {
        assert!(client.command(&format!("a {command}")).await.contains("a OK "));
    }
    for name in ["Altro", "INBOX"] {
        account.deliver(name, &message("a", "b"));
    }
    set(&mut client, "(PERSONAL (MessageNew MessageExpunge))").await;
    assert!(news(&mut client).await.is_empty());
    account.deliver("Altro", &message("a", "b"));
    lines(&mut client, &["* STATUS Altro (UIDNEXT 3 MESSAGES 2)"]).await;
}

#[tokio::test]
async fn a_session_that_begins_anew_watches_nothing() {
    let account = MemoryAccount::new();
    account.make("Altro");
    let mut client = in_inbox(&account).await;
    set(&mut client, "(PERSONAL (MessageNew MessageExpunge))").await;
    assert!(client.command("u UNAUTHENTICATE").await.contains("u OK "));
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    account.deliver("Altro", &message("a", "b"));
    assert!(news(&mut client).await.is_empty());
}

/// A client over a stream without a socket, for a time that stands still until everybody waits.
fn over_a_pipe(account: &Arc<MemoryAccount>, limits: ImapLimits) -> DuplexStream {
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mail = Arc::new(OneAccount(Arc::clone(account)));
    let server = Server::new(settings, Arc::new(OneLogin), mail);
    let (ours, theirs) = duplex(64 * 1024);
    tokio::spawn(async move {
        let tls = Some(ChannelBindings::default());
        server.serve(theirs, loopback(), tls, CancellationToken::new()).await;
    });
    ours
}

/// Sends a command, and reads up to the line that begins with `end`.
async fn exchange(client: &mut DuplexStream, command: &str, end: &str) -> String {
    client.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    loop {
        assert!(client.read_buf(&mut read).await.unwrap() > 0, "the stream ended");
        let text = String::from_utf8_lossy(&read);
        let ends = |line: &str| line.starts_with(end) && line.ends_with('\n');
        if text.split_inclusive('\n').any(ends) {
            return text.into_owned();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_news_is_dropped_and_holds_nobody_up() {
    let account = MemoryAccount::new();
    let limits = ImapLimits { write_time_max: Duration::from_secs(90), ..ImapLimits::default() };
    let mut slow = over_a_pipe(&account, limits.clone());
    let login = format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"");
    exchange(&mut slow, &login, "in OK").await;
    exchange(&mut slow, "a SELECT INBOX", "a OK").await;
    let watch = "b NOTIFY SET (SELECTED (MessageNew (BODY.PEEK[]) MessageExpunge))";
    exchange(&mut slow, watch, "b OK").await;
    let mut quick = over_a_pipe(&account, limits);
    exchange(&mut quick, &login, "in OK").await;
    exchange(&mut quick, "a SELECT INBOX", "a OK").await;
    exchange(&mut quick, "b NOTIFY SET (SELECTED (MessageNew MessageExpunge))", "b OK").await;
    let large = [message("a", "b"), vec![b'x'; 8 << 20]].concat();
    for _ in 0..4 {
        account.deliver("INBOX", &large);
    }
    let begun = tokio::time::Instant::now();
    let told = exchange(&mut quick, "c NOOP", "c OK").await;
    assert!(told.contains("* 4 EXISTS\r\n"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody waits for the slow one");
    tokio::time::sleep(Duration::from_secs(100)).await;
    // What it could take, and no more of the first message was read than that.
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(rest.starts_with(b"* ") && rest.len() <= 256 * 1024, "{}", rest.len());
    let reads = account.reads.load(Ordering::SeqCst);
    assert!(reads <= 8, "{reads} pieces of 64 KiB");
}

#[tokio::test(start_paused = true)]
async fn idle_is_no_command_that_says_how_far_it_is() {
    let account = with(3);
    let mut client = over_a_pipe(&account, ImapLimits::default());
    exchange(&mut client, &format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\""), "in OK").await;
    exchange(&mut client, "a SELECT INBOX", "a OK").await;
    exchange(&mut client, "b SEARCH RETURN (COUNT UPDATE) TEXT x", "b OK").await;
    exchange(&mut client, "c IDLE", "+ ").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    account.set_pace(Duration::from_secs(30));
    account.deliver("INBOX", &message("a", "b"));
    let mut told = String::new();
    while !told.contains("ADDTO") {
        let mut read = vec![0; 4096];
        let count = client.read(&mut read).await.unwrap();
        told.push_str(&String::from_utf8_lossy(&read[..count]));
    }
    assert!(!told.contains("INPROGRESS"), "{told}");
    let told = exchange(&mut client, "DONE", "c OK").await;
    assert!(!told.contains("INPROGRESS"), "{told}");
}

#[tokio::test]
async fn a_line_that_has_begun_is_waited_for_and_its_command_tells_the_news() {
    let account = MemoryAccount::new();
    let limits = ImapLimits { idle_time_max: Duration::from_millis(700), ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("sel SELECT INBOX").await;
    set(&mut client, "(SELECTED (MessageNew MessageExpunge))").await;
    client.send("n NO").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    account.deliver("INBOX", &message("a", "b"));
    client.send("OP\r\n").await;
    assert_eq!(client.until("n").await, "* 1 EXISTS\r\n* 1 RECENT\r\nn OK NOOP\r\n");
    // Not for ever.
    client.send("o NO").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    account.deliver("INBOX", &message("a", "b"));
    assert!(client.rest().await.starts_with("* BYE Sessione inattiva"));
}
