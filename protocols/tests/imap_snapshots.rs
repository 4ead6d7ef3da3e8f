//! Snapshots as mailboxes that are read and never changed, by transcripts.

mod account;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use account::{
    changing::{PIPELINED, REFUSED},
    client::{Client, connect_with, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;

const OLD: &str = "2026-11-20T06:00:01Z";
const NEW: &str = "2026-11-21T06:00:17Z";

/// INBOX with three messages, of which the last one came after the first snapshot and the first one was
/// expunged after the second; `Inviati` with one.
async fn tree() -> (Arc<MemoryAccount>, Client) {
    let account = MemoryAccount::new();
    account.make("Inviati");
    account.deliver("INBOX", b"Subject: uno\r\n\r\nprimo\r\n");
    account.deliver("INBOX", b"Subject: due\r\n\r\nsecondo\r\n");
    account.deliver("Inviati", b"Subject: mio\r\n\r\nspedito\r\n");
    account.flag("INBOX", 2, Flags { flagged: true, ..Flags::default() });
    account.take_snapshot(OLD);
    account.deliver("INBOX", b"Subject: tre\r\n\r\nterzo\r\n");
    account.take_snapshot(NEW);
    account.expunge("INBOX", 1);
    let client = logged_in(&account).await;
    (account, client)
}

fn inbox(instant: &str) -> String {
    format!("Snapshot/{instant}/INBOX")
}

/// The untagged lines of the answer to `command`, which must be OK.
async fn lines(client: &mut Client, command: &str) -> Vec<String> {
    let answer = client.command(&format!("a {command}")).await;
    let (lines, tagged) = answer.trim_end().rsplit_once("\r\n").unwrap_or(("", answer.trim_end()));
    assert!(tagged.starts_with("a OK"), "{command}: {answer}");
    lines.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What each capability that the server announces lets a client change, as parts of the commands that are
/// tried; nothing where it brings nothing that changes mailboxes or messages.
const CHANGES: [(&str, &[&str]); 53] = [
    (
        "IMAP4rev1",
        &["CREATE X", "DELETE X", "RENAME X", "APPEND X {", "EXPUNGE", "STORE 1 ", "COPY 1 X"],
    ),
    ("IMAP4rev2", &["UID STORE ", "UID COPY ", "UID EXPUNGE ", "UID MOVE "]),
    ("UIDPLUS", &["UID EXPUNGE 1"]),
    ("MOVE", &["MOVE 1 X", "MOVE 1 INBOX", "UID MOVE 1:* X", "UID MOVE 1:* INBOX"]),
    ("MULTIAPPEND", &["{3+}\r\nabc {3+}\r\nabc"]),
    ("CATENATE", &["CATENATE (URL ", "CATENATE (TEXT "]),
    ("REPLACE", &["REPLACE 1 INBOX ", "UID REPLACE 1 X "]),
    ("BINARY", &["APPEND X ~{"]),
    ("LITERAL+", &["{14+}"]),
    ("CONDSTORE", &["(UNCHANGEDSINCE "]),
    ("SEARCHRES", &["STORE $ "]),
    ("CREATE-SPECIAL-USE", &["(USE ("]),
    ("ACL", &["SETACL X ", "DELETEACL X "]),
    ("METADATA", &["SETMETADATA X (/private/", "SETMETADATA X (/shared/"]),
    ("QUOTASET", &["SETQUOTA X "]),
    ("UTF8", &["APPEND X UTF8 ("]),
    ("UIDONLY", &["UID STORE ", "UID COPY ", "UID EXPUNGE ", "UID MOVE ", "UID REPLACE "]),
    // These read, or concern the session, or what it is told.
    ("APPENDLIMIT", &[]),
    ("CHILDREN", &[]),
    ("COMPRESS", &[]),
    ("CONTEXT", &[]),
    ("ENABLE", &[]),
    ("ESEARCH", &[]),
    ("ESORT", &[]),
    ("I18NLEVEL", &[]),
    ("ID", &[]),
    ("IDLE", &[]),
    ("INPROGRESS", &[]),
    ("LIST-EXTENDED", &[]),
    ("LIST-METADATA", &[]),
    ("LIST-MYRIGHTS", &[]),
    ("LIST-STATUS", &[]),
    ("MULTISEARCH", &[]),
    ("NAMESPACE", &[]),
    ("NOTIFY", &[]),
    ("OBJECTID", &[]),
    ("PARTIAL", &[]),
    ("PREVIEW", &[]),
    ("QRESYNC", &[]),
    ("QUOTA", &[]),
    ("RIGHTS", &[]),
    ("SAVEDATE", &[]),
    ("SASL-IR", &[]),
    ("SAVELIMIT", &[]),
    ("SORT", &[]),
    ("SPECIAL-USE", &[]),
    ("STATUS", &[]),
    ("THREAD", &[]),
    ("UIDBATCHES", &[]),
    ("UNAUTHENTICATE", &[]),
    ("UNSELECT", &[]),
    ("URL-PARTIAL", &[]),
    ("WITHIN", &[]),
];

const LIVE: [&str; 2] =
    ["* LIST (\\HasNoChildren) \"/\" INBOX", "* LIST (\\HasNoChildren \\Sent) \"/\" Inviati"];

#[tokio::test]
async fn a_provider_that_takes_no_snapshots_says_so() {
    let (_, mut client) = tree().await;
    for name in ["Snapshot/Adesso", "Snapshot/now"] {
        let answer = client.command(&format!("a CREATE {name}")).await;
        let told =
            "a NO [CANNOT] Il gestore non scatta istantanee / This provider takes no snapshots";
        assert!(answer.starts_with(told), "{answer}");
    }
}

#[tokio::test]
async fn who_lists_everything_is_shown_no_snapshots() {
    let (account, mut client) = tree().await;
    let opened = account.opened.load(Ordering::SeqCst);
    for pattern in ["*", "%", "%/%", "Snap*", "*INBOX"] {
        let listed = lines(&mut client, &format!("LIST \"\" \"{pattern}\"")).await;
        assert!(!listed.iter().any(|line| line.contains("Snapshot")), "{pattern}: {listed:?}");
    }
    assert_eq!(lines(&mut client, "LIST \"\" *").await, LIVE);
    assert_eq!(lines(&mut client, "LSUB \"\" *").await, Vec::<String>::new());
    assert_eq!(account.opened.load(Ordering::SeqCst), opened, "and none is opened for it");
}

#[tokio::test]
async fn who_asks_for_snapshots_walks_down_from_their_root() {
    let (account, mut client) = tree().await;
    assert_eq!(
        lines(&mut client, "NAMESPACE").await,
        ["* NAMESPACE ((\"\" \"/\")) NIL ((\"Snapshot/\" \"/\"))"]
    );
    let root = "* LIST (\\Noselect \\HasChildren) \"/\" Snapshot";
    let instant = |name| format!("* LIST (\\Noselect \\HasChildren) \"/\" Snapshot/{name}");
    assert_eq!(lines(&mut client, "LIST \"\" Snapshot").await, [root]);
    let opened = account.opened.load(Ordering::SeqCst);
    assert_eq!(lines(&mut client, "LIST \"\" Snapshot/%").await, [instant(OLD), instant(NEW)]);
    assert_eq!(account.opened.load(Ordering::SeqCst), opened, "instants are listed unopened");
    let of =
        |name, mailbox: &str| format!("* LIST (\\HasNoChildren) \"/\" Snapshot/{name}/{mailbox}");
    let below = [of(NEW, "INBOX"), of(NEW, "Inviati")];
    assert_eq!(lines(&mut client, &format!("LIST \"Snapshot/{NEW}/\" %")).await, below);
    let all = lines(&mut client, "LIST \"\" Snapshot*").await;
    assert_eq!(all.len(), 1 + 2 * 3, "{all:?}");
    assert!(!all.iter().any(|line| line.contains("\\Sent")), "no client files mail there: {all:?}");
    let command =
        format!("LIST () \"\" Snapshot/{OLD}/% RETURN (STATUS (MESSAGES UNSEEN) MYRIGHTS)");
    assert_eq!(
        lines(&mut client, &command).await,
        [
            format!("* LIST () \"/\" {}", inbox(OLD)),
            format!("* STATUS {} (MESSAGES 2 UNSEEN 2)", inbox(OLD)),
            format!("* MYRIGHTS {} lr", inbox(OLD)),
            format!("* LIST () \"/\" Snapshot/{OLD}/Inviati"),
            format!("* STATUS Snapshot/{OLD}/Inviati (MESSAGES 1 UNSEEN 1)"),
            format!("* MYRIGHTS Snapshot/{OLD}/Inviati lr"),
        ]
    );
    let extended = lines(&mut client, "LIST () \"\" Snapshot RETURN (CHILDREN)").await;
    assert_eq!(extended, ["* LIST (\\NonExistent \\HasChildren) \"/\" Snapshot"]);
}

#[tokio::test]
async fn only_the_newest_instants_are_listed_and_all_are_opened() {
    let (account, _) = tree().await;
    let limits = ImapLimits { snapshots_listed_max: 1, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    let listed = lines(&mut client, "LIST \"\" Snapshot/%").await;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].ends_with(NEW), "{listed:?}");
    let named = lines(&mut client, &format!("LIST \"\" Snapshot/{OLD}/*")).await;
    assert_eq!(named.len(), 2, "one that is called by its name is listed: {named:?}");
    let answer = client.command(&format!("a EXAMINE {}", inbox(OLD))).await;
    assert!(answer.contains("* 2 EXISTS"), "{answer}");
}

#[tokio::test]
async fn a_provider_may_list_snapshots_to_everybody() {
    let (account, _) = tree().await;
    let limits = ImapLimits { snapshots_listed: true, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    assert_eq!(lines(&mut client, "LIST \"\" *").await.len(), 2 + 1 + 2 * 3);
    assert_eq!(lines(&mut client, "LIST \"\" %").await.len(), 3);
}

#[tokio::test]
async fn what_is_subscribed_to_is_listed_with_all_else_and_outlives_the_snapshot() {
    let (account, mut client) = tree().await;
    let name = inbox(OLD);
    assert!(lines(&mut client, &format!("SUBSCRIBE {name}")).await.is_empty());
    assert_eq!(lines(&mut client, "LSUB \"\" *").await, [format!("* LSUB () \"/\" {name}")]);
    assert_eq!(
        lines(&mut client, "LIST (SUBSCRIBED) \"\" *").await,
        [format!("* LIST (\\Subscribed) \"/\" {name}")]
    );
    let returned = lines(&mut client, "LIST () \"\" * RETURN (SUBSCRIBED)").await;
    assert!(returned.contains(&format!("* LIST (\\Subscribed) \"/\" {name}")), "{returned:?}");
    let listed = lines(&mut client, "LIST \"\" *").await;
    assert!(listed.contains(&format!("* LIST (\\HasNoChildren) \"/\" {name}")), "{listed:?}");
    assert!(!listed.iter().any(|line| line.contains("Inviati") && line.contains(OLD)));
    assert!(!listed.iter().any(|line| line.contains(NEW)), "{listed:?}");
    assert_eq!(lines(&mut client, "LIST \"\" %").await.len(), 3, "INBOX, Inviati, and the root");
    account.expire(OLD);
    assert_eq!(
        lines(&mut client, "LIST (SUBSCRIBED) \"\" *").await,
        [format!("* LIST (\\NonExistent \\Subscribed) \"/\" {name}")]
    );
    assert_eq!(lines(&mut client, "LIST \"\" *").await, LIVE);
    assert!(lines(&mut client, &format!("UNSUBSCRIBE {name}")).await.is_empty());
    assert!(lines(&mut client, "LSUB \"\" *").await.is_empty());
}

#[tokio::test]
async fn a_mailbox_of_a_snapshot_is_read_as_it_was() {
    let (_account, mut client) = tree().await;
    let live = client.command("a SELECT INBOX").await;
    let (old, new) = (inbox(OLD), inbox(NEW));
    let answer = client.command(&format!("a SELECT {new}")).await;
    for expected in [
        "* 3 EXISTS\r\n",
        "* OK [PERMANENTFLAGS ()] ",
        "* OK [UIDVALIDITY 1] ",
        "* OK [UIDNEXT 4] ",
        "* OK [MAILBOXID (S2-1)] ",
        "a OK [READ-ONLY] SELECT\r\n",
    ] {
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
    assert!(live.contains("* OK [MAILBOXID (F1)] ") && live.contains("[UIDVALIDITY 1] "), "{live}");
    let fetched = client.command("a UID FETCH 1 (FLAGS EMAILID BODY[] MODSEQ)").await;
    assert!(fetched.contains("primo\r\n") && fetched.contains("EMAILID (M1)"), "{fetched}");
    assert!(!fetched.contains("\\Seen"), "{fetched}");
    let again = client.command("a FETCH 1:* (FLAGS)").await;
    assert!(!again.contains("\\Seen"), "reading is no change: {again}");
    let searched = lines(&mut client, "UID SEARCH SUBJECT uno").await;
    assert_eq!(searched, ["* SEARCH 1"]);
    assert_eq!(lines(&mut client, "UID SORT (REVERSE SUBJECT) UTF-8 ALL").await, ["* SORT 1 3 2"]);
    assert_eq!(lines(&mut client, "UID THREAD REFERENCES UTF-8 ALL").await, ["* THREAD (1)(2)(3)"]);
    let answer = client.command(&format!("a EXAMINE {old}")).await;
    assert!(answer.contains("* 2 EXISTS\r\n") && answer.contains("[MAILBOXID (S1-1)]"), "{answer}");
    let status =
        lines(&mut client, &format!("STATUS {new} (MAILBOXID MESSAGES APPENDLIMIT)")).await;
    assert_eq!(status, [format!("* STATUS {new} (MAILBOXID (S2-1) MESSAGES 3 APPENDLIMIT 0)")]);
    for command in [format!("GETQUOTAROOT {old}"), format!("GETMETADATA {old} /private/comment")] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.contains("a OK") && !answer.contains("* QUOTA "), "{answer}");
    }
}

#[tokio::test]
async fn a_search_in_several_mailboxes_and_notify_know_snapshots_by_name_alone() {
    let (account, mut client) = tree().await;
    let (old, new) = (inbox(OLD), inbox(NEW));
    let found = |name: &str, uids: &str| {
        format!("* ESEARCH (TAG \"a\" MAILBOX {name} UIDVALIDITY 1) UID ALL {uids}")
    };
    let live = found("INBOX", "3");
    for (sources, expected) in [
        ("personal", vec![live.clone()]),
        ("mailboxes Snapshot/none/INBOX", vec![]),
        (&format!("mailboxes ({old} INBOX)"), vec![live.clone()]),
        (&format!("mailboxes ({new} INBOX)"), vec![live.clone(), found(&new, "3")]),
        ("subtree Snapshot", vec![found(&new, "3")]),
    ] {
        let answer = lines(&mut client, &format!("ESEARCH IN ({sources}) SUBJECT tre")).await;
        assert_eq!(answer, expected, "{sources}");
    }
    client.command(&format!("s SUBSCRIBE {new}")).await;
    let answer = lines(&mut client, "ESEARCH IN (subscribed) SUBJECT tre").await;
    assert_eq!(answer, [found(&new, "3")]);

    let set = format!("NOTIFY SET STATUS (mailboxes {old} (MessageNew MessageExpunge))");
    let told = lines(&mut client, &set).await;
    assert_eq!(told, [format!("* STATUS {old} (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 1)")]);
    // The live mailbox, whose number the snapshot's has, is another one.
    client.command(&format!("a EXAMINE {old}")).await;
    account.deliver("INBOX", b"Subject: quattro\r\n\r\n");
    assert!(lines(&mut client, "NOOP").await.is_empty());
}

#[tokio::test]
async fn what_has_expired_is_said_to_be_gone() {
    let (account, mut client) = tree().await;
    let (old, new) = (inbox(OLD), inbox(NEW));
    account.expire(OLD);
    for command in [
        format!("SELECT {old}"),
        format!("EXAMINE {old}"),
        format!("STATUS {old} (MESSAGES)"),
        format!("MYRIGHTS {old}"),
        format!("GETMETADATA {old} /private/comment"),
        format!("SELECT Snapshot/{NEW}/Niente"),
        format!("SELECT Snapshot/{NEW}"),
        "SELECT Snapshot".to_owned(),
    ] {
        let answer = client.command(&format!("a {command}")).await;
        let expected = "a NO [NONEXISTENT] Istantanea inesistente o scaduta";
        assert!(answer.starts_with(expected), "{command}: {answer}");
    }
    assert!(lines(&mut client, &format!("LIST \"\" Snapshot/{OLD}/*")).await.is_empty());
    let answer = client.command(&format!("a SELECT {new}")).await;
    assert!(answer.contains("a OK [READ-ONLY]"), "{answer}");
    account.expire(NEW);
    client.send("a NOOP\r\n").await;
    let answer = client.line().await;
    assert!(answer.starts_with("* BYE "), "nobody goes on reading what is gone: {answer}");
}

#[tokio::test]
async fn a_read_only_name_space_survives_a_client_that_tries_every_changing_command() {
    let (account, mut client) = tree().await;
    let name = inbox(NEW);
    let every = |account: &MemoryAccount| -> Vec<_> {
        let names = account.names();
        names
            .into_iter()
            .map(|name| (account.messages(&name), account.internal_dates(&name), name))
            .collect()
    };
    let before = every(&account);
    for open in ["SELECT", "EXAMINE"] {
        let answer = client.command(&format!("a {open} {name}")).await;
        assert!(answer.contains("a OK [READ-ONLY]"), "{answer}");
        for command in REFUSED {
            let answer =
                client.command(&format!("a {}", command.replace(" X", &format!(" {name}")))).await;
            assert!(answer.contains("a NO [CANNOT] "), "{command}: {answer}");
            assert!(answer.contains("copiare"), "{command}: {answer}");
        }
        let mut all = String::new();
        for (tag, command) in (0..).zip(PIPELINED) {
            let command = command.replace(" X", &format!(" {name}"));
            all.extend(["p", &tag.to_string(), " ", &command, "\r\n"]);
        }
        client.send(all).await;
        for (tag, command) in (0..).zip(PIPELINED) {
            let answer = client.until(&format!("p{tag}")).await;
            assert!(answer.contains(" NO [CANNOT] "), "{command}: {answer}");
        }
        // What a client does in passing is no error, and no change.
        for command in ["CHECK", "FETCH 1:* (BODY[])", "FETCH 1 RFC822", "CLOSE"] {
            let answer = client.command(&format!("a {command}")).await;
            assert!(answer.contains("a OK"), "{command}: {answer}");
        }
        client.command(&format!("a {open} {name}")).await;
        assert!(client.command("a UNSELECT").await.starts_with("a OK"));
    }
    assert!(every(&account) == before, "something was changed");
    assert!(account.appended_octets.load(Ordering::SeqCst) == 0);
}

/// The commands of a session that enabled UTF8=ACCEPT, and of one that enabled UIDONLY.
const ENABLED: [(&str, &[&str]); 2] = [
    ("UTF8=ACCEPT", &["APPEND X UTF8 (~{3+}\r\nabc)", "APPEND X (\\Seen) UTF8 (~{3+}\r\nabc)"]),
    (
        "UIDONLY",
        &[
            "UID STORE 1:* +FLAGS (\\Deleted)",
            "UID EXPUNGE 1:*",
            "UID MOVE 1:* INBOX",
            "UID COPY 1:* X",
            "UID REPLACE 1 X {3+}\r\nabc",
        ],
    ),
];

#[tokio::test]
async fn every_announced_capability_that_changes_anything_is_tried() {
    let (_, mut client) = tree().await;
    let announced = lines(&mut client, "CAPABILITY").await.remove(0);
    let announced: BTreeSet<&str> = announced
        .trim_start_matches("* CAPABILITY ")
        .split(' ')
        .map(|token| token.split('=').next().expect("a name"))
        .collect();
    let known: BTreeSet<&str> = CHANGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(announced, known, "say what a new one changes, and try it");
    let enabled = ENABLED.iter().flat_map(|(_, commands)| *commands);
    let tried: Vec<&str> = REFUSED.iter().chain(&PIPELINED).chain(enabled).copied().collect();
    for (capability, commands) in CHANGES {
        for part in commands {
            let found = tried.iter().any(|command| command.contains(part));
            assert!(found, "{capability}: nobody tries {part}");
        }
    }
}

#[tokio::test]
async fn a_session_that_speaks_otherwise_is_refused_the_same() {
    for (extension, commands) in ENABLED {
        let (account, mut client) = tree().await;
        let name = inbox(NEW);
        assert!(client.command(&format!("a ENABLE {extension}")).await.contains("* ENABLED"));
        client.command(&format!("a SELECT {name}")).await;
        for command in commands {
            let command = command.replace(" X", &format!(" {name}"));
            client.send(format!("b {command}\r\n")).await;
            let answer = client.until("b").await;
            assert!(answer.contains("b NO [CANNOT] "), "{extension}: {command}: {answer}");
            // Refused for its name, before anybody opens it.
            let is_into = command.contains("APPEND") || command.contains("COPY");
            assert!(!is_into || answer.contains("Snapshots never change"), "{command}: {answer}");
        }
        assert_eq!(account.messages(&name).len(), 3, "{extension}");
        assert_eq!(account.appended_octets.load(Ordering::SeqCst), 0, "{extension}");
    }
}

#[tokio::test]
async fn what_is_copied_out_comes_back_under_new_numbers() {
    let (account, mut client) = tree().await;
    client.command(&format!("a SELECT {}", inbox(NEW))).await;
    let answer = client.command("a UID COPY 1:2 INBOX").await;
    assert!(answer.contains("a OK [COPYUID 1 1:2 4:5] COPY"), "{answer}");
    let now = account.messages("INBOX");
    let uids: Vec<u32> = now.iter().map(|(uid, ..)| *uid).collect();
    assert_eq!(uids, [2, 3, 4, 5]);
    assert!(now[3].1.flagged && now[2].2.ends_with(b"primo\r\n"), "{now:?}");
    let answer = client.command("a COPY 1 Nuova").await;
    assert!(answer.contains("a NO [TRYCREATE]"), "{answer}");
}
