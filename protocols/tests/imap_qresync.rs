//! Resynchronisation: RFC 7162 §3.2, its rules and its examples with numbers of ours.

mod account;

use std::{collections::BTreeMap, sync::Arc};

use account::{
    client::{Client, in_inbox, logged_in},
    memory::MemoryAccount,
};
use storage::mailbox::flags::Flags;
use trust::random::{RandomSource as _, SeededRandom};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

fn with_messages(count: usize) -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for _ in 0..count {
        account.deliver("INBOX", MESSAGE);
    }
    account
}

fn seen() -> Flags {
    Flags { seen: true, ..Flags::default() }
}

async fn qresync(account: &Arc<MemoryAccount>) -> Client {
    let mut client = logged_in(account).await;
    let answer = client.command("e ENABLE QRESYNC").await;
    assert_eq!(answer, "* ENABLED QRESYNC\r\ne OK ENABLE\r\n");
    client
}

/// The lines that resynchronisation adds to the answer of SELECT.
fn added(answer: &str) -> String {
    let is_added = |line: &&str| line.starts_with("* VANISHED") || line.contains(" FETCH (");
    answer.split_inclusive("\r\n").filter(is_added).collect()
}

#[tokio::test]
async fn select_tells_what_is_gone_and_what_has_changed() {
    let account = with_messages(6);
    for uid in [2, 3, 5] {
        account.expunge("INBOX", uid);
    }
    account.flag("INBOX", 4, seen());
    account.deliver("INBOX", MESSAGE);
    let mut client = qresync(&account).await;
    // HIGHESTMODSEQ was 7 when there were six messages.
    let answer = client.command("a SELECT INBOX (QRESYNC (1 7))").await;
    assert!(answer.contains("* 4 EXISTS\r\n") && answer.contains("[HIGHESTMODSEQ 12]"), "{answer}");
    assert_eq!(
        added(&answer),
        "* VANISHED (EARLIER) 2:3,5\r\n* 2 FETCH (UID 4 FLAGS (\\Seen \\Recent) MODSEQ (11))\r\n\
         * 4 FETCH (UID 7 FLAGS (\\Recent) MODSEQ (12))\r\n"
    );
    assert!(answer.ends_with("\r\na OK [READ-WRITE] SELECT\r\n"), "{answer}");
    // Of the UIDs that the client knows only.
    let answer = client.command("b SELECT INBOX (QRESYNC (1 7 1:3,7))").await;
    assert!(answer.starts_with("* OK [CLOSED] "), "{answer}");
    assert_eq!(
        added(&answer),
        "* VANISHED (EARLIER) 2:3\r\n* 4 FETCH (UID 7 FLAGS () MODSEQ (12))\r\n"
    );
    // Of later changes only; of another UIDVALIDITY nothing.
    let answer = client.command("c EXAMINE INBOX (QRESYNC (1 10))").await;
    assert!(!added(&answer).contains("VANISHED") && added(&answer).contains("UID 4"), "{answer}");
    let answer = client.command("d SELECT INBOX (QRESYNC (2 7))").await;
    assert_eq!(added(&answer), "");
    assert!(answer.ends_with("d OK [READ-WRITE] SELECT\r\n"), "{answer}");
}

#[tokio::test]
async fn a_select_of_another_mailbox_closes_the_first_one_aloud() {
    let account = with_messages(1);
    account.make("Altra");
    let mut client = qresync(&account).await;
    assert!(!client.command("a SELECT INBOX").await.contains("CLOSED"));
    assert!(client.command("b SELECT Altra").await.starts_with("* OK [CLOSED] "));
    client.command("c UNSELECT").await;
    assert!(!client.command("d SELECT INBOX").await.contains("CLOSED"));
    // RFC 7162 §3.2.11 asks the server, not for what the client enabled.
    let mut plain = in_inbox(&account).await;
    assert!(plain.command("a SELECT Altra").await.starts_with("* OK [CLOSED] "));
}

#[tokio::test]
async fn where_the_log_does_not_reach_every_absent_uid_is_reported() {
    let account = with_messages(12);
    for uid in [1, 2, 4, 5, 7, 8, 10, 11] {
        account.expunge("INBOX", uid);
    }
    account.forget_expunged("INBOX");
    let mut client = qresync(&account).await;
    let answer = client.command("a SELECT INBOX (QRESYNC (1 5))").await;
    assert!(answer.contains("* VANISHED (EARLIER) 1:2,4:5,7:8,10:11\r\n"), "{answer}");
    let answer = client.command("b SELECT INBOX (QRESYNC (1 5 2:9))").await;
    assert!(answer.contains("* VANISHED (EARLIER) 2,4:5,7:8\r\n"), "{answer}");
    // §3.2.5.2: number 2 is still UID 6, number 3 is not UID 8 any more.
    let answer = client.command("c SELECT INBOX (QRESYNC (1 5 1:12 (1:3 3,6,8)))").await;
    assert!(answer.contains("* VANISHED (EARLIER) 7:8,10:11\r\n"), "{answer}");
    let answer = client.command("d SELECT INBOX (QRESYNC (1 5 1:12 (4 12)))").await;
    assert!(!answer.contains("VANISHED"), "{answer}");
    // What never was is not gone.
    let answer = client.command("e SELECT INBOX (QRESYNC (1 5 12:4294967295))").await;
    assert!(!answer.contains("VANISHED"), "{answer}");
    let answer = client.command("f UID FETCH 4:* (FLAGS) (CHANGEDSINCE 5 VANISHED)").await;
    assert!(answer.starts_with("* VANISHED (EARLIER) 4:5,7:8,10:11\r\n"), "{answer}");
}

#[tokio::test]
async fn uid_fetch_tells_what_is_gone_before_what_has_changed() {
    let account = with_messages(6);
    for uid in [2, 6] {
        account.expunge("INBOX", uid);
    }
    account.flag("INBOX", 3, seen());
    let mut client = qresync(&account).await;
    client.command("s SELECT INBOX").await;
    assert_eq!(
        client.command("a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 7 VANISHED)").await,
        "* VANISHED (EARLIER) 2,6\r\n\
         * 2 FETCH (UID 3 FLAGS (\\Seen \\Recent) MODSEQ (10))\r\na OK FETCH\r\n"
    );
    // What the client still counts has not vanished earlier, it vanishes now.
    account.expunge("INBOX", 4);
    assert_eq!(
        client.command("b UID FETCH 1:5 (UID) (CHANGEDSINCE 10 VANISHED)").await,
        "* VANISHED 4\r\nb OK FETCH\r\n"
    );
    for wrong in ["FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)", "UID FETCH 1 FLAGS (VANISHED)"] {
        assert!(client.command(&format!("c {wrong}")).await.starts_with("c BAD "), "{wrong}");
    }
}

#[tokio::test]
async fn resynchronisation_is_refused_before_it_is_enabled() {
    let account = with_messages(1);
    let mut client = in_inbox(&account).await;
    for wrong in ["SELECT INBOX (QRESYNC (1 1))", "UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)"] {
        assert!(client.command(&format!("a {wrong}")).await.starts_with("a BAD "), "{wrong}");
    }
    // The refused SELECT has changed nothing.
    assert!(client.command("b FETCH 1 UID").await.ends_with("b OK FETCH\r\n"));
}

#[tokio::test]
async fn vanished_takes_the_place_of_expunge() {
    let account = with_messages(11);
    account.make("Altra");
    let mut client = qresync(&account).await;
    client.command("s SELECT INBOX").await;
    client.command("a STORE 3,4,7,11 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(
        client.command("b UID EXPUNGE 4:7").await,
        "* VANISHED 4,7\r\nb OK [HIGHESTMODSEQ 15] EXPUNGE\r\n"
    );
    assert_eq!(
        client.command("c EXPUNGE").await,
        "* VANISHED 3,11\r\nc OK [HIGHESTMODSEQ 16] EXPUNGE\r\n"
    );
    assert_eq!(client.command("d EXPUNGE").await, "d OK EXPUNGE\r\n");
    assert_eq!(
        client.command("f UID MOVE 1:2 Altra").await,
        "* OK [COPYUID 2 1:2 1:2] MOVE\r\n* VANISHED 1:2\r\nf OK [HIGHESTMODSEQ 17] MOVE\r\n"
    );
    account.expunge("INBOX", 5);
    assert_eq!(client.command("g NOOP").await, "* VANISHED 5\r\ng OK NOOP\r\n");
    client.send("i IDLE\r\n").await;
    client.line().await;
    account.expunge("INBOX", 6);
    assert_eq!(client.line().await, "* VANISHED 6\r\n");
    client.send("DONE\r\n").await;
    client.until("i").await;
    // §3.2.8: CLOSE tells neither.
    client.command("h STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(client.command("k CLOSE").await, "k OK CLOSE\r\n");
    assert_eq!(account.messages("INBOX").len(), 2);
}

#[tokio::test]
async fn numbers_stay_true_until_vanished_may_be_sent() {
    let account = with_messages(4);
    let mut client = qresync(&account).await;
    client.command("s SELECT INBOX").await;
    account.expunge("INBOX", 2);
    for command in ["FETCH 4 UID", "SEARCH ALL", "UID SEARCH 1:4", "STORE 4 +FLAGS.SILENT (\\Seen)"]
    {
        let answer = client.command(&format!("a {command}")).await;
        assert!(!answer.contains("VANISHED"), "{command}: {answer}");
    }
    // A message that came and went was never counted.
    account.deliver("INBOX", MESSAGE);
    account.expunge("INBOX", 5);
    assert_eq!(client.command("b NOOP").await, "* VANISHED 2\r\nb OK NOOP\r\n");
    assert_eq!(client.command("c FETCH 3 UID").await, "* 3 FETCH (UID 4)\r\nc OK FETCH\r\n");
}

#[tokio::test]
async fn the_uids_of_a_mailbox_stay_valid_whatever_happens_in_it() {
    let account = with_messages(2);
    let mut client = logged_in(&account).await;
    let validity = |answer: String| {
        let code = answer.split("[UIDVALIDITY ").nth(1).expect("a code").to_owned();
        code.split(']').next().expect("a number").to_owned()
    };
    let before = validity(client.command("a SELECT INBOX").await);
    client.command("b STORE 1:2 +FLAGS (\\Deleted)").await;
    client.command("c EXPUNGE").await;
    client.command("d APPEND INBOX {4+}\r\na: b").await;
    assert_eq!(validity(client.command("e SELECT INBOX").await), before);
    assert!(client.command("f FETCH 1 UID").await.contains("(UID 3)"));
}

/// What a client that keeps a copy of the mailbox knows.
#[derive(Default)]
struct Cache {
    mod_seq: u64,
    /// UIDs and their flags as they were told.
    messages: BTreeMap<u32, String>,
}

impl Cache {
    /// Takes the answer of SELECT with QRESYNC in.
    fn take(&mut self, answer: &str) {
        for line in answer.lines() {
            if let Some(set) = line.strip_prefix("* VANISHED (EARLIER) ") {
                for range in set.split(',') {
                    let (from, to) = range.split_once(':').unwrap_or((range, range));
                    let range = from.parse::<u32>().unwrap()..=to.parse().unwrap();
                    self.messages.retain(|uid, _| !range.contains(uid));
                }
            } else if let Some((_, rest)) = line.split_once(" FETCH (UID ") {
                let (uid, rest) = rest.split_once(" FLAGS (").unwrap();
                let flags = rest.split(')').next().unwrap().replace("\\Recent", "");
                self.messages.insert(uid.parse().unwrap(), flags.trim().to_owned());
            } else if let Some((_, rest)) = line.split_once("[HIGHESTMODSEQ ") {
                self.mod_seq = rest.split(']').next().unwrap().parse().unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_cache_that_resynchronises_is_the_mailbox_after_any_changes() {
    for seed in 0..20 {
        let random = SeededRandom::new(seed);
        let below = |end: usize| usize::try_from(random.next_u64() % end.max(1) as u64).unwrap();
        let account = with_messages(5);
        let mut cache = Cache { mod_seq: 1, ..Cache::default() };
        let mut client = qresync(&account).await;
        for round in 0..6 {
            for _ in 0..below(12) {
                let uids: Vec<u32> = account.messages("INBOX").iter().map(|m| m.0).collect();
                match (below(4), uids.get(below(uids.len()))) {
                    (0, Some(&uid)) => account.expunge("INBOX", uid),
                    (1, Some(&uid)) => account.flag("INBOX", uid, seen()),
                    (2, Some(&uid)) => account.flag("INBOX", uid, Flags::default()),
                    _ => {
                        account.deliver("INBOX", MESSAGE);
                    }
                }
            }
            if below(3) == 0 {
                account.forget_expunged("INBOX");
            }
            let select = format!("a SELECT INBOX (QRESYNC (1 {}))", cache.mod_seq);
            cache.take(&client.command(&select).await);
            let present: BTreeMap<u32, String> = account
                .messages("INBOX")
                .into_iter()
                .map(|(uid, flags, _)| (uid, if flags.seen { "\\Seen" } else { "" }.to_owned()))
                .collect();
            assert_eq!(cache.messages, present, "seed {seed}, round {round}");
        }
    }
}
