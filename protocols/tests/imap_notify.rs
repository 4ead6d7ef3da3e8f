//! NOTIFY (RFC 5465) by transcripts: what is told, and when.

mod account;
#[path = "support/notify.rs"]
mod notify;

use std::{sync::Arc, time::Duration};

use account::{
    client::{connect_with, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use notify::{lines, news, set};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;

fn message(from: &str, subject: &str) -> Vec<u8> {
    format!("From: {from}@pec.example\r\nSubject: {subject}\r\n\r\nx\r\n").into_bytes()
}

fn seen() -> Flags {
    Flags { seen: true, ..Flags::default() }
}

/// An account with these mailboxes beside INBOX.
fn with(names: &[&str]) -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for name in names {
        account.make(name);
    }
    account
}

#[tokio::test]
async fn news_come_while_no_command_is_in_progress() {
    let account = with(&["Lists/Im2000", "Lists/Lemonade", "Altro"]);
    account.deliver("Lists/Lemonade", &message("a", "b"));
    let mut client = in_inbox(&account).await;
    let answer = client
        .command("b notify set status (selected (MessageNew (uid body.peek[header.fields (from to subject)]) MessageExpunge)) (subtree Lists (MessageNew MessageExpunge))")
        .await;
    assert_eq!(
        answer,
        "* STATUS Lists/Im2000 (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 2)\r\n\
         * STATUS Lists/Lemonade (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)\r\nb OK NOTIFY\r\n"
    );
    account.deliver("Altro", &message("a", "b"));
    account.deliver("INBOX", &message("anna", "Ciao"));
    let fetch = "* 1 FETCH (UID 1 BODY[HEADER.FIELDS (from to subject)] {41}";
    lines(&mut client, &["* 1 EXISTS", "* 1 RECENT", fetch]).await;
    assert_eq!(client.exactly(41).await, b"From: anna@pec.example\r\nSubject: Ciao\r\n\r\n");
    lines(&mut client, &[")"]).await;
    account.deliver("Lists/Lemonade", &message("a", "b"));
    lines(&mut client, &["* STATUS Lists/Lemonade (UIDNEXT 3 MESSAGES 2)"]).await;
    account.expunge("Lists/Lemonade", 1);
    lines(&mut client, &["* STATUS Lists/Lemonade (UIDNEXT 3 MESSAGES 1)"]).await;
    // Flags were not asked for, here and there; numbers change at once.
    account.flag("INBOX", 1, seen());
    account.flag("Lists/Lemonade", 2, seen());
    account.expunge("INBOX", 1);
    lines(&mut client, &["* 1 EXPUNGE"]).await;
    assert!(news(&mut client).await.is_empty());
    assert_eq!(account.messages("INBOX").len(), 0);
}

#[tokio::test]
async fn delayed_expunges_wait_for_a_command_that_lets_numbers_change() {
    let account = MemoryAccount::new();
    for _ in 0..3 {
        account.deliver("INBOX", &message("a", "b"));
    }
    let mut client = in_inbox(&account).await;
    set(&mut client, "(SELECTED-DELAYED (MessageNew MessageExpunge FlagChange))").await;
    account.expunge("INBOX", 1);
    account.deliver("INBOX", &message("a", "b"));
    lines(&mut client, &["* 4 EXISTS", "* 4 RECENT"]).await;
    account.flag("INBOX", 3, seen());
    lines(&mut client, &["* 3 FETCH (UID 3 FLAGS (\\Seen \\Recent))"]).await;
    let answer = client.command("a FETCH 3 UID").await;
    assert_eq!(answer, "* 3 FETCH (UID 3)\r\na OK FETCH\r\n");
    assert_eq!(news(&mut client).await, ["* 1 EXPUNGE"]);
    account.expunge("INBOX", 2);
    client.send("b IDLE\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    lines(&mut client, &["* 1 EXPUNGE"]).await;
    client.send("DONE\r\n").await;
    assert_eq!(client.until("b").await, "b OK IDLE\r\n");
}

#[tokio::test]
async fn a_selected_mailbox_that_is_not_watched_stays_as_it_was() {
    let account = MemoryAccount::new();
    for _ in 0..3 {
        account.deliver("INBOX", &message("a", "b"));
    }
    let mut client = in_inbox(&account).await;
    assert_eq!(client.command("a NOTIFY NONE").await, "a OK NOTIFY\r\n");
    account.expunge("INBOX", 1);
    account.flag("INBOX", 2, seen());
    account.deliver("INBOX", &message("a", "b"));
    assert!(news(&mut client).await.is_empty());
    // What the client does itself is told, with the numbers that it knows.
    let answer = client.command("b STORE 3 +FLAGS (\\Deleted)").await;
    assert_eq!(answer, "* 3 FETCH (FLAGS (\\Deleted \\Recent))\r\nb OK STORE\r\n");
    assert_eq!(client.command("c EXPUNGE").await, "* 3 EXPUNGE\r\nc OK EXPUNGE\r\n");
    assert!(client.command("d FETCH 1 BODY.PEEK[]").await.contains("d NO [EXPUNGEISSUED]"));
    // What has gathered is told at once, whatever is watched from then on.
    let answer = client.command("e NOTIFY SET (SELECTED NONE)").await;
    let gathered = "* 1 EXPUNGE\r\n* 2 EXISTS\r\n* 2 RECENT\r\n\
                    * 1 FETCH (UID 2 FLAGS (\\Seen \\Recent))\r\ne OK NOTIFY\r\n";
    assert_eq!(answer, gathered);
    account.expunge("INBOX", 2);
    assert!(news(&mut client).await.is_empty());
}

#[tokio::test]
async fn news_speak_as_the_client_has_enabled() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    client.command("a ENABLE QRESYNC IMAP4rev2").await;
    client.command("b SELECT INBOX").await;
    set(&mut client, "(SELECTED (MessageNew (FLAGS UID) MessageExpunge FlagChange))").await;
    account.deliver("INBOX", &message("a", "b"));
    lines(&mut client, &["* 1 EXISTS", "* 1 FETCH (UID 1 MODSEQ (2) FLAGS ())"]).await;
    account.flag("INBOX", 1, seen());
    lines(&mut client, &["* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (3))"]).await;
    account.expunge("INBOX", 1);
    lines(&mut client, &["* VANISHED 1"]).await;
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    client.command("a ENABLE UIDONLY").await;
    client.command("b SELECT INBOX").await;
    set(&mut client, "(SELECTED (MessageNew (FLAGS) MessageExpunge))").await;
    account.deliver("INBOX", &message("a", "b"));
    let fetch = "* 1 UIDFETCH (FLAGS (\\Recent))";
    lines(&mut client, &["* 1 EXISTS", "* 1 RECENT", fetch]).await;
    account.expunge("INBOX", 1);
    lines(&mut client, &["* VANISHED 1"]).await;
}

#[tokio::test]
async fn flags_elsewhere_are_told_by_modification_sequences_or_by_what_is_unread() {
    let account = with(&["Altro"]);
    account.deliver("Altro", &message("a", "b"));
    let groups = "(PERSONAL (MessageNew MessageExpunge FlagChange))";
    let mut plain = logged_in(&account).await;
    set(&mut plain, groups).await;
    let mut modern = logged_in(&account).await;
    modern.command("a ENABLE CONDSTORE").await;
    let answer = modern.command(&format!("b NOTIFY SET STATUS {groups}")).await;
    assert_eq!(
        answer,
        "* STATUS Altro (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 2 HIGHESTMODSEQ 3)\r\n\
         * STATUS INBOX (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1 HIGHESTMODSEQ 1)\r\nb OK NOTIFY\r\n"
    );
    account.flag("Altro", 1, Flags { flagged: true, ..Flags::default() });
    lines(&mut modern, &["* STATUS Altro (UIDVALIDITY 2 HIGHESTMODSEQ 4)"]).await;
    assert!(news(&mut plain).await.is_empty(), "nothing that it could read");
    account.flag("Altro", 1, seen());
    lines(&mut modern, &["* STATUS Altro (UIDVALIDITY 2 UNSEEN 0 HIGHESTMODSEQ 5)"]).await;
    lines(&mut plain, &["* STATUS Altro (UNSEEN 0)"]).await;
    account.deliver("Altro", &message("a", "b"));
    lines(&mut modern, &["* STATUS Altro (UIDNEXT 3 MESSAGES 2 UNSEEN 1 HIGHESTMODSEQ 6)"]).await;
    lines(&mut plain, &["* STATUS Altro (UIDNEXT 3 MESSAGES 2 UNSEEN 1)"]).await;
    // What was expunged so long ago that it is forgotten shows in the counters.
    account.forget_expunged("Altro");
    account.expunge("Altro", 1);
    lines(&mut plain, &["* STATUS Altro (UIDNEXT 3 MESSAGES 1)"]).await;
}

#[tokio::test]
async fn idle_tells_what_notify_asked_for() {
    let account = with(&["Altro"]);
    let mut client = in_inbox(&account).await;
    set(&mut client, "(PERSONAL (MessageNew MessageExpunge))").await;
    client.send("a IDLE\r\n").await;
    assert!(client.line().await.starts_with("+ "));
    account.deliver("INBOX", &message("a", "b"));
    account.deliver("Altro", &message("a", "b"));
    lines(&mut client, &["* STATUS Altro (UIDNEXT 2 MESSAGES 1)"]).await;
    client.send("DONE\r\n").await;
    assert_eq!(client.until("a").await, "a OK IDLE\r\n");
}

#[tokio::test]
async fn names_that_come_go_and_change_are_listed() {
    let account = with(&["Progetti", "Progetti/Uno"]);
    let mut client = logged_in(&account).await;
    set(&mut client, "(PERSONAL (MailboxName))").await;
    let mut other = logged_in(&account).await;
    other.command("a CREATE Nuova").await;
    lines(&mut client, &["* LIST (\\HasNoChildren) \"/\" Nuova"]).await;
    other.command("b CREATE Nuova/Sotto").await;
    let nested = "* LIST (\\HasNoChildren) \"/\" Nuova/Sotto";
    lines(&mut client, &["* LIST (\\HasChildren) \"/\" Nuova", nested]).await;
    other.command("c DELETE Nuova/Sotto").await;
    let gone = "* LIST (\\NonExistent) \"/\" Nuova/Sotto";
    lines(&mut client, &["* LIST (\\HasNoChildren) \"/\" Nuova", gone]).await;
    other.command("d RENAME Nuova Vecchia").await;
    let renamed = "* LIST (\\HasNoChildren) \"/\" Vecchia (\"OLDNAME\" (Nuova))";
    lines(&mut client, &[renamed]).await;
    other.command("e DELETE Progetti").await;
    lines(&mut client, &["* LIST (\\NonExistent \\HasChildren) \"/\" Progetti"]).await;
    // Subscriptions were not asked for, and what the client does itself it knows.
    other.command("f SUBSCRIBE Vecchia").await;
    for command in ["CREATE a/b", "RENAME Vecchia Terza", "DELETE a/b", "DELETE Progetti/Uno"] {
        let answer = client.command(&format!("g {command}")).await;
        assert!(!answer.contains("LIST") && answer.contains("g OK"), "{command}: {answer}");
    }
    assert!(news(&mut client).await.is_empty());
    other.command("h CREATE Quarta").await;
    lines(&mut client, &["* LIST (\\HasNoChildren) \"/\" Quarta"]).await;
    // A name has children now, though none was made.
    other.command("i RENAME Quarta Terza/Quarta").await;
    let renamed = "* LIST (\\HasNoChildren) \"/\" Terza/Quarta (\"OLDNAME\" (Quarta))";
    lines(&mut client, &["* LIST (\\HasChildren) \"/\" Terza", renamed]).await;
}

#[tokio::test]
async fn subscriptions_are_told_and_followed() {
    let account = with(&["Altro", "Terza"]);
    let mut client = logged_in(&account).await;
    let groups = "(PERSONAL (SubscriptionChange)) (SUBSCRIBED (MessageNew MessageExpunge))";
    set(&mut client, groups).await;
    let mut other = logged_in(&account).await;
    account.deliver("Altro", &message("a", "b"));
    other.command("a SUBSCRIBE Altro").await;
    let listed = "* LIST (\\Subscribed \\HasNoChildren) \"/\" Altro";
    lines(&mut client, &[listed, "* STATUS Altro (UIDVALIDITY 2 UIDNEXT 2 MESSAGES 1)"]).await;
    account.deliver("Altro", &message("a", "b"));
    lines(&mut client, &["* STATUS Altro (UIDNEXT 3 MESSAGES 2)"]).await;
    other.command("b UNSUBSCRIBE Altro").await;
    lines(&mut client, &["* LIST (\\HasNoChildren) \"/\" Altro"]).await;
    account.deliver("Altro", &message("a", "b"));
    client.command("c SUBSCRIBE Terza").await;
    assert!(news(&mut client).await.is_empty());
    account.deliver("Terza", &message("a", "b"));
    lines(&mut client, &["* STATUS Terza (UIDNEXT 2 MESSAGES 1)"]).await;
}

#[tokio::test]
async fn changed_annotations_are_named() {
    let account = with(&["Altro"]);
    let mut client = logged_in(&account).await;
    let mut other = logged_in(&account).await;
    other.command("a SETMETADATA INBOX (/private/x \"1\")").await;
    set(&mut client, "(MAILBOXES (inbox no) (MailboxMetadataChange ServerMetadataChange))").await;
    other.command("b SETMETADATA INBOX (/shared/comment \"2\" /private/x NIL)").await;
    lines(&mut client, &["* METADATA INBOX /private/x /shared/comment"]).await;
    other.command("c SETMETADATA \"\" (/private/comment \"3\")").await;
    lines(&mut client, &["* METADATA \"\" /private/comment"]).await;
    other.command("d SETMETADATA Altro (/private/x \"4\")").await;
    for change in ["INBOX (/shared/comment \"5\")", "\"\" (/private/comment NIL)"] {
        let answer = client.command(&format!("e SETMETADATA {change}")).await;
        assert_eq!(answer, "e OK SETMETADATA\r\n", "{change}");
    }
    assert!(news(&mut client).await.is_empty());
    other.command("g SETMETADATA INBOX (/shared/comment \"5\" /private/y \"6\")").await;
    lines(&mut client, &["* METADATA INBOX /private/y"]).await;
}

#[tokio::test]
async fn what_cannot_be_told_is_refused() {
    let account = MemoryAccount::new();
    let mut client = account::client::greeted(&account).await;
    assert!(client.command("a NOTIFY NONE").await.starts_with("a BAD "));
    let mut client = logged_in(&account).await;
    for wrong in [
        "NOTIFY",
        "NOTIFY SET",
        "NOTIFY SET (SELECTED (MessageNew))",
        "NOTIFY SET (PERSONAL (FlagChange))",
        "NOTIFY SET (SELECTED (MailboxName))",
        "NOTIFY SET (SELECTED NONE) (SELECTED-DELAYED NONE)",
        "NOTIFY SET (PERSONAL (MessageNew (UID) MessageExpunge))",
    ] {
        let answer = client.command(&format!("a {wrong}")).await;
        assert!(answer.starts_with("a BAD "), "{wrong}: {answer}");
    }
    for events in ["MessageNew MessageExpunge AnnotationChange", "SomethingElse"] {
        let answer = client.command(&format!("a NOTIFY SET (PERSONAL ({events}))")).await;
        let code = "a NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName \
                    SubscriptionChange MailboxMetadataChange ServerMetadataChange)] ";
        assert!(answer.starts_with(code), "{events}: {answer}");
    }
}

#[tokio::test]
async fn more_mailboxes_than_may_be_watched_are_refused_or_end_all_notifications() {
    let account = with(&["a", "b"]);
    let limits = ImapLimits { notify_mailboxes_max: 3, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("sel SELECT INBOX").await;
    set(&mut client, "(SELECTED (MessageNew MessageExpunge)) (PERSONAL (MailboxName))").await;
    account.make("c");
    let answer = client.command("x NOTIFY SET (PERSONAL (SubscriptionChange))").await;
    let refused = "x NO [NOTIFICATIONOVERFLOW] ";
    assert!(answer.lines().any(|line| line.starts_with(refused)), "{answer}");
    let overflow = "* OK [NOTIFICATIONOVERFLOW] ";
    account.deliver("b", &message("a", "b"));
    assert!(client.line().await.starts_with(overflow));
    // As after NOTIFY NONE.
    account.deliver("INBOX", &message("a", "b"));
    assert!(news(&mut client).await.is_empty());
    // Fewer may be watched, however many there are.
    let fewer = "(MAILBOXES (a b) (MessageNew MessageExpunge))";
    let answer = client.command(&format!("z NOTIFY SET {fewer}")).await;
    assert_eq!(answer, "* 1 EXISTS\r\n* 1 RECENT\r\nz OK NOTIFY\r\n");
    account.deliver("b", &message("a", "b"));
    lines(&mut client, &["* STATUS b (UIDNEXT 3 MESSAGES 2)"]).await;
    let answer = client.command("y NOTIFY SET (MAILBOXES (a b c d) NONE)").await;
    assert!(answer.starts_with("y NO [NOTIFICATIONOVERFLOW] "), "{answer}");
}

#[tokio::test]
async fn a_mailbox_that_can_no_longer_be_read_is_dropped_in_silence_and_watched_again_later() {
    let account = with(&["Altro"]);
    let shared = "Altri utenti/posta@pec.example/INBOX";
    account.make_shared(shared, "Altro");
    account.make_read_only(shared);
    let mut client = logged_in(&account).await;
    set(&mut client, "(SUBTREE \"Altri utenti\" (MessageNew MessageExpunge))").await;
    account.deliver(shared, &message("a", "b"));
    lines(&mut client, &[&format!("* STATUS \"{shared}\" (UIDNEXT 2 MESSAGES 1)")]).await;
    account.move_away(shared, "Nascosta");
    account.deliver("Nascosta", &message("a", "b"));
    assert!(news(&mut client).await.is_empty());
    account.move_away("Nascosta", shared);
    let again = format!("* STATUS \"{shared}\" (UIDVALIDITY 2 UIDNEXT 3 MESSAGES 2)");
    lines(&mut client, &[&again]).await;
    // Shared mailboxes are not the holder's own, and receipts may be delivered to any of his.
    for own in ["PERSONAL", "INBOXES"] {
        set(&mut client, &format!("({own} (MessageNew MessageExpunge))")).await;
        account.deliver(shared, &message("a", "b"));
        assert!(news(&mut client).await.is_empty(), "{own}");
        account.deliver("Altro", &message("a", "b"));
        assert!(client.line().await.starts_with("* STATUS Altro ("), "{own}");
    }
}

#[tokio::test]
async fn what_the_client_does_itself_it_is_not_told() {
    let account = with(&["Altro"]);
    for _ in 0..4 {
        account.deliver("INBOX", &message("a", "b"));
    }
    let mut client = in_inbox(&account).await;
    let groups =
        "(SELECTED (MessageNew (UID) MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))";
    set(&mut client, groups).await;
    let answer = client.command("a COPY 1 Altro").await;
    assert_eq!(answer, "a OK [COPYUID 2 1 1] COPY\r\n");
    let answer = client.command("b APPEND Altro {5+}\r\na: b\n").await;
    assert_eq!(answer, "b OK [APPENDUID 2 2] APPEND\r\n");
    let answer = client.command("c MOVE 2 Altro").await;
    assert_eq!(answer, "* OK [COPYUID 2 2 3] MOVE\r\n* 2 EXPUNGE\r\nc OK MOVE\r\n");
    // In the selected mailbox it is counted, and not described.
    let answer = client.command("d COPY 1 INBOX").await;
    assert_eq!(answer, "* 4 EXISTS\r\n* 4 RECENT\r\nd OK [COPYUID 1 1 5] COPY\r\n");
    // What others do at the same time is told all the same.
    account.deliver("Altro", &message("a", "b"));
    lines(&mut client, &["* STATUS Altro (UIDNEXT 5 MESSAGES 4)"]).await;
    account.deliver("INBOX", &message("a", "b"));
    lines(&mut client, &["* 5 EXISTS", "* 5 RECENT", "* 5 FETCH (UID 6)"]).await;
    // A mailbox that was left is watched like any other, from where it was left.
    client.command("e STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(client.command("f CLOSE").await, "f OK CLOSE\r\n");
    assert!(news(&mut client).await.is_empty());
    account.expunge("INBOX", 3);
    lines(&mut client, &["* STATUS INBOX (UIDNEXT 7 MESSAGES 3)"]).await;
    // While it is selected it is told of as such, and not twice.
    client.command("g SELECT Altro").await;
    account.deliver("Altro", &message("a", "b"));
    lines(&mut client, &["* 5 EXISTS", "* 5 RECENT", "* 5 FETCH (UID 5)"]).await;
    assert!(news(&mut client).await.is_empty());
}

#[tokio::test]
async fn another_mailbox_of_the_same_name_has_another_uidvalidity() {
    let account = with(&["Altro", "*"]);
    let mut client = logged_in(&account).await;
    set(&mut client, "(MAILBOXES (Altro \"*\" Manca) (MessageNew MessageExpunge))").await;
    let mut other = logged_in(&account).await;
    other.command("a DELETE Altro").await;
    other.command("b CREATE Altro").await;
    lines(&mut client, &["* STATUS Altro (UIDVALIDITY 4 UIDNEXT 1 MESSAGES 0)"]).await;
    // A name is no pattern, and may come later.
    account.deliver("INBOX", &message("a", "b"));
    other.command("c CREATE Manca").await;
    lines(&mut client, &["* STATUS Manca (UIDVALIDITY 5 UIDNEXT 1 MESSAGES 0)"]).await;
    account.deliver("Manca", &message("a", "b"));
    lines(&mut client, &["* STATUS Manca (UIDNEXT 2 MESSAGES 1)"]).await;
    // Under another name that is watched it is the same mailbox.
    other.command("d DELETE Altro").await;
    other.command("e RENAME Manca Altro").await;
    assert!(news(&mut client).await.is_empty());
    account.deliver("Altro", &message("a", "b"));
    lines(&mut client, &["* STATUS Altro (UIDNEXT 3 MESSAGES 2)"]).await;
}

#[tokio::test]
async fn a_new_message_is_described_between_its_number_and_the_searches_it_joins() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    let answer = client
        .command("a SEARCH RETURN (COUNT UPDATE (UID BODY[HEADER.FIELDS (SUBJECT)])) FROM \"boss\"")
        .await;
    assert_eq!(answer, "* ESEARCH (TAG \"a\") COUNT 0\r\na OK SEARCH\r\n");
    account.deliver("INBOX", &message("boss", "A"));
    account.deliver("INBOX", &message("anna", "B"));
    let told = news(&mut client).await;
    let fetch = "* 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT)] {14}";
    let added = "* ESEARCH (TAG \"a\") ADDTO (0 1)";
    assert_eq!(
        told,
        ["* 2 EXISTS", "* 2 RECENT", fetch, "Subject: A", "", ")", added],
        "after the number, before the search"
    );
    assert!(!account.messages("INBOX")[0].1.seen, "nobody has read it");
    // Both ask for something: one response.
    set(&mut client, "(SELECTED (MessageNew (RFC822.SIZE UID) MessageExpunge FlagChange))").await;
    account.deliver("INBOX", &message("boss", "C"));
    let fetch = "* 3 FETCH (UID 3 RFC822.SIZE 41 BODY[HEADER.FIELDS (SUBJECT)] {14}";
    lines(&mut client, &["* 3 EXISTS", "* 3 RECENT", fetch]).await;
    client.exactly(14).await;
    lines(&mut client, &[")", "* ESEARCH (TAG \"a\") ADDTO (0 3)"]).await;
    account.expunge("INBOX", 1);
    lines(&mut client, &["* ESEARCH (TAG \"a\") REMOVEFROM (0 1)", "* 1 EXPUNGE"]).await;
}

#[tokio::test]
async fn a_watching_session_ends_as_any_other() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    set(&mut client, "(SELECTED (MessageNew MessageExpunge))").await;
    client.stopping.cancel();
    assert!(client.rest().await.starts_with("* BYE Server in chiusura"));
    let limits = ImapLimits { idle_time_max: Duration::from_millis(300), ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    set(&mut client, "(PERSONAL (MailboxName))").await;
    assert!(client.rest().await.contains("* BYE Sessione inattiva"));
    // Another session begins with nothing watched.
    let mut client = in_inbox(&account).await;
    set(&mut client, "(PERSONAL (MessageNew MessageExpunge))").await;
    assert!(client.command("u UNAUTHENTICATE").await.contains("u OK "));
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("sel SELECT INBOX").await;
    account.deliver("INBOX", &message("a", "b"));
    assert_eq!(news(&mut client).await, ["* 1 EXISTS", "* 1 RECENT"]);
}
