//! NOTIFY (RFC 5465) by transcripts: how the watched mailboxes are looked at, and which of them.

mod account;
#[path = "support/notify.rs"]
mod notify;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use account::{
    client::{Client, connect_with, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use notify::{lines, news, set};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;

const MESSAGE: &[u8] = b"Subject: Ciao\r\n\r\nx\r\n";

/// An account with these mailboxes beside INBOX.
fn with(names: &[&str]) -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for name in names {
        account.make(name);
    }
    account
}

async fn in_inbox_with(account: &Arc<MemoryAccount>, limits: ImapLimits) -> Client {
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("sel SELECT INBOX").await;
    client
}

fn pause(pause: Duration) -> ImapLimits {
    ImapLimits { notify_pause: pause, ..ImapLimits::default() }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

#[tokio::test]
async fn one_change_among_a_thousand_mailboxes_costs_one_listing_and_opens_one_of_them() {
    let account = MemoryAccount::new();
    for number in 0..1_000 {
        account.make(&format!("m{number}"));
        account.deliver(&format!("m{number}"), MESSAGE);
    }
    let mut client = logged_in(&account).await;
    set(&mut client, "(PERSONAL (MessageNew MessageExpunge FlagChange MailboxName))").await;
    let (lists, opened) = (count(&account.lists), count(&account.opened));
    assert_eq!(opened, 0, "the listing tells how they are");
    account.flag("m700", 1, Flags { seen: true, ..Flags::default() });
    lines(&mut client, &["* STATUS m700 (UNSEEN 0)"]).await;
    assert_eq!((count(&account.lists), count(&account.opened)), (lists + 1, opened + 1));
    account.deliver("m999", MESSAGE);
    lines(&mut client, &["* STATUS m999 (UIDNEXT 3 MESSAGES 2 UNSEEN 2)"]).await;
    assert_eq!((count(&account.lists), count(&account.opened)), (lists + 2, opened + 2));
}

#[tokio::test]
async fn many_changes_are_told_by_one_look_after_the_pause() {
    let account = with(&["Altro"]);
    let mut client = in_inbox_with(&account, pause(Duration::from_millis(300))).await;
    set(&mut client, "(PERSONAL (MessageNew MessageExpunge))").await;
    let lists = count(&account.lists);
    for _ in 0..50 {
        account.deliver("Altro", MESSAGE);
        tokio::task::yield_now().await;
    }
    lines(&mut client, &["* STATUS Altro (UIDNEXT 51 MESSAGES 50)"]).await;
    assert_eq!(count(&account.lists), lists + 1);
}

#[tokio::test]
async fn commands_and_the_selected_mailbox_wait_for_no_pause() {
    let account = with(&["Altro"]);
    let mut client = in_inbox_with(&account, pause(Duration::from_hours(1))).await;
    let groups = "(SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))";
    set(&mut client, groups).await;
    account.deliver("Altro", MESSAGE);
    account.deliver("INBOX", MESSAGE);
    lines(&mut client, &["* 1 EXISTS", "* 1 RECENT"]).await;
    assert_eq!(news(&mut client).await, ["* STATUS Altro (UIDNEXT 2 MESSAGES 1)"]);
    account.deliver("Altro", MESSAGE);
    assert_eq!(news(&mut client).await, ["* STATUS Altro (UIDNEXT 3 MESSAGES 2)"]);
    // Whoever sends many commands at once has no look after each.
    let lists = count(&account.lists);
    account.deliver("Altro", MESSAGE);
    let commands = (0..200).map(|n| format!("c{n} STORE 1 FLAGS (k{n})\r\n"));
    let commands = commands.collect::<Vec<_>>().concat();
    client.send(commands).await;
    let told = client.until("c199").await;
    assert!(told.contains("* STATUS Altro (UIDNEXT 4 MESSAGES 3)\r\n"), "{told}");
    assert!(count(&account.lists) - lists <= 20, "{}", count(&account.lists) - lists);
    account.deliver("Altro", MESSAGE);
    client.stopping.cancel();
    assert!(client.rest().await.starts_with("* BYE Server in chiusura"));
}

#[tokio::test]
async fn children_of_a_renamed_mailbox_are_not_told_one_by_one() {
    let account = with(&["Progetti", "Progetti/Uno", "Progetti/Uno/Due", "x/a/b", "x/a"]);
    let mut client = logged_in(&account).await;
    let mut other = logged_in(&account).await;
    set(&mut client, "(PERSONAL (MailboxName))").await;
    other.command("a RENAME Progetti Lavori").await;
    lines(&mut client, &["* LIST (\\HasChildren) \"/\" Lavori (\"OLDNAME\" (Progetti))"]).await;
    // A name that only stands above others is no mailbox that is renamed.
    other.command("b RENAME x y").await;
    lines(&mut client, &["* LIST (\\HasChildren) \"/\" y/a (\"OLDNAME\" (x/a))"]).await;
    // One that is renamed by itself, too, is told.
    other.command("c RENAME Lavori/Uno Lavori/Tre").await;
    let renamed = "* LIST (\\HasChildren) \"/\" Lavori/Tre (\"OLDNAME\" (Lavori/Uno))";
    lines(&mut client, &[renamed]).await;
    assert!(news(&mut client).await.is_empty());
    // Who is not told of the mailbox above is told of the one he watches.
    set(&mut client, "(MAILBOXES (Lavori/Tre Ultimi/Tre) (MailboxName))").await;
    other.command("d RENAME Lavori Ultimi").await;
    let renamed = "* LIST (\\HasChildren) \"/\" Ultimi/Tre (\"OLDNAME\" (Lavori/Tre))";
    lines(&mut client, &[renamed]).await;
    assert!(news(&mut client).await.is_empty());
}

#[tokio::test]
async fn whoever_renames_inbox_is_not_told_where_its_messages_went() {
    let account = MemoryAccount::new();
    for _ in 0..2 {
        account.deliver("INBOX", MESSAGE);
    }
    let mut client = logged_in(&account).await;
    let mut other = logged_in(&account).await;
    for watching in [&mut client, &mut other] {
        set(watching, "(PERSONAL (MessageNew MessageExpunge MailboxName))").await;
    }
    assert_eq!(client.command("a RENAME INBOX Vecchia").await, "a OK RENAME\r\n");
    assert!(news(&mut client).await.is_empty());
    // To others a mailbox came, and INBOX is empty.
    let listed = "* LIST (\\HasNoChildren) \"/\" Vecchia";
    lines(&mut other, &[listed, "* STATUS INBOX (UIDNEXT 3 MESSAGES 0)"]).await;
    lines(&mut other, &["* STATUS Vecchia (UIDVALIDITY 2 UIDNEXT 3 MESSAGES 2)"]).await;
    account.deliver("INBOX", MESSAGE);
    lines(&mut client, &["* STATUS INBOX (UIDNEXT 4 MESSAGES 1)"]).await;
    account.expunge("Vecchia", 1);
    lines(&mut client, &["* STATUS Vecchia (UIDNEXT 3 MESSAGES 1)"]).await;
}

#[tokio::test]
async fn a_group_without_events_takes_its_mailboxes_out_of_the_others() {
    let account = with(&["Altro", "Spam", "Spam/Sotto"]);
    let mut client = logged_in(&account).await;
    let mut other = logged_in(&account).await;
    let personal = "(PERSONAL (MessageNew MessageExpunge MailboxName))";
    let groups =
        [format!("(MAILBOXES Spam NONE) {personal}"), format!("{personal} (MAILBOXES Spam NONE)")];
    for (round, groups) in (1..).zip(groups) {
        set(&mut client, &groups).await;
        account.deliver("Spam", MESSAGE);
        assert!(news(&mut client).await.is_empty(), "{groups}");
        for name in ["Altro", "Spam/Sotto"] {
            account.deliver(name, MESSAGE);
            let next = round + 1;
            let told = format!("* STATUS {name} (UIDNEXT {next} MESSAGES {round})");
            lines(&mut client, &[&told]).await;
        }
    }
    other.command("a DELETE Spam").await;
    assert!(news(&mut client).await.is_empty());
    set(&mut client, &format!("(SUBTREE Spam NONE) {personal}")).await;
    other.command("b DELETE Spam/Sotto").await;
    account.deliver("Altro", MESSAGE);
    lines(&mut client, &["* STATUS Altro (UIDNEXT 4 MESSAGES 3)"]).await;
}

#[tokio::test]
async fn a_group_for_each_mailbox_is_taken() {
    let names: Vec<String> = (0..200).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let account = with(&names);
    let mut client = logged_in(&account).await;
    let group = |name: &&str| format!("(mailboxes {name} (MessageNew MessageExpunge))");
    let groups: Vec<String> = names.iter().map(group).collect();
    set(&mut client, &groups.join(" ")).await;
    account.deliver("m199", MESSAGE);
    lines(&mut client, &["* STATUS m199 (UIDNEXT 2 MESSAGES 1)"]).await;
}

#[tokio::test]
async fn entries_of_annotations_are_counted_as_names_are() {
    let account = MemoryAccount::new();
    let mut other = logged_in(&account).await;
    other.command("a SETMETADATA INBOX (/shared/a \"1\" /shared/b \"2\" /shared/c \"3\")").await;
    let limits = ImapLimits { notify_mailboxes_max: 3, ..ImapLimits::default() };
    let mut client = in_inbox_with(&account, limits).await;
    let group = "(MAILBOXES INBOX (MailboxMetadataChange))";
    set(&mut client, group).await;
    other.command("b SETMETADATA INBOX (/shared/d \"4\")").await;
    lines(&mut client, &["* METADATA INBOX /shared/d"]).await;
    assert!(client.line().await.starts_with("* OK [NOTIFICATIONOVERFLOW] "));
    let answer = client.command(&format!("c NOTIFY SET {group}")).await;
    assert!(answer.starts_with("c NO [NOTIFICATIONOVERFLOW] "), "{answer}");
}

#[tokio::test]
async fn what_the_client_put_elsewhere_is_not_taken_for_what_came_to_the_selected_mailbox() {
    let account = with(&["Altro"]);
    let mut client = in_inbox(&account).await;
    client.command("a SELECT Altro").await;
    set(&mut client, "(SELECTED (MessageNew (UID) MessageExpunge))").await;
    let mut other = logged_in(&account).await;
    other.command("b RENAME Altro Vecchia").await;
    other.command("c CREATE Altro").await;
    // While the client appends to the one, another message comes to the one that is selected: both have
    // the same UID.
    account.set_pace(Duration::from_millis(200));
    client.send("d APPEND Altro {5+}\r\na: b\n\r\n").await;
    while count(&account.appended_octets) == 0 {
        tokio::task::yield_now().await;
    }
    account.deliver("Vecchia", MESSAGE);
    let answer = client.until("d").await;
    let told = "* 1 EXISTS\r\n* 1 RECENT\r\n* 1 FETCH (UID 1)\r\n";
    assert_eq!(answer, format!("{told}d OK [APPENDUID 3 1] APPEND\r\n"));
    // What it puts into the selected one it knows, whatever that is called now.
    let answer = client.command("e APPEND Vecchia {5+}\r\na: b\n").await;
    assert_eq!(answer, "* 2 EXISTS\r\n* 2 RECENT\r\ne OK [APPENDUID 2 2] APPEND\r\n");
}
