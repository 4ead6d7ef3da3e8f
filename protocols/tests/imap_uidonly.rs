//! Clients without message numbers and large mailboxes in pieces: UIDONLY (RFC 9586), UIDBATCHES
//! (RFC 10022), PARTIAL of UID FETCH (RFC 9394 §3.3), MESSAGELIMIT and SAVELIMIT (RFC 9738).

mod account;

use std::{num::NonZeroU32, sync::Arc};

use account::{
    client::{Client, connect_with, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

fn with_messages(count: usize) -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for _ in 0..count {
        account.deliver("INBOX", MESSAGE);
    }
    account
}

async fn uid_only(account: &Arc<MemoryAccount>) -> Client {
    let mut client = logged_in(account).await;
    let answer = client.command("01 ENABLE UIDONLY").await;
    assert_eq!(answer, "* ENABLED UIDONLY\r\n01 OK ENABLE\r\n");
    client.command("02 SELECT INBOX").await;
    client
}

#[tokio::test]
async fn once_enabled_no_command_may_use_message_numbers() {
    let account = with_messages(2);
    account.make("Altra");
    let mut client = uid_only(&account).await;
    for command in [
        "FETCH 1:2 (UID FLAGS)",
        "STORE 1 +FLAGS (\\Seen)",
        "SEARCH ALL",
        "UID SEARCH 1:2",
        "UID SEARCH NOT 1",
        "COPY 1 Altra",
        "MOVE 1 Altra",
    ] {
        let answer = client.command(&format!("07 {command}")).await;
        assert!(answer.starts_with("07 BAD [UIDREQUIRED] "), "{command}: {answer}");
    }
    assert!(!account.messages("INBOX")[0].1.seen);
    let answer = client.command("08 UID SEARCH UID 1:2").await;
    assert_eq!(answer, "* SEARCH 1 2\r\n08 OK SEARCH\r\n");
    let answer = client.command("09 SELECT INBOX").await;
    assert!(answer.contains("* 2 EXISTS\r\n") && !answer.contains("UNSEEN"), "{answer}");
}

#[tokio::test]
async fn every_answer_names_uids() {
    let account = with_messages(4);
    account.make("Altra");
    account.expunge("INBOX", 1);
    let mut client = uid_only(&account).await;
    // RFC 9586 §3.3: the UID stands in front, and inside only where it is asked for.
    assert_eq!(
        client.command("10 UID FETCH 1:* (FLAGS)").await,
        "* 2 UIDFETCH (FLAGS (\\Recent))\r\n* 3 UIDFETCH (FLAGS (\\Recent))\r\n\
         * 4 UIDFETCH (FLAGS (\\Recent))\r\n10 OK FETCH\r\n"
    );
    assert_eq!(
        client.command("11 UID FETCH 4 (FLAGS UID)").await,
        "* 4 UIDFETCH (FLAGS (\\Recent) UID 4)\r\n11 OK FETCH\r\n"
    );
    assert_eq!(
        client.command("12 UID STORE 3:4 +FLAGS (\\Deleted)").await,
        "* 3 UIDFETCH (FLAGS (\\Deleted \\Recent))\r\n\
         * 4 UIDFETCH (FLAGS (\\Deleted \\Recent))\r\n12 OK STORE\r\n"
    );
    account.flag("INBOX", 2, Flags { flagged: true, ..Flags::default() });
    let told = "* 2 UIDFETCH (FLAGS (\\Flagged \\Recent))\r\n13 OK NOOP\r\n";
    assert_eq!(client.command("13 NOOP").await, told);
    assert_eq!(client.command("14 UID EXPUNGE 4").await, "* VANISHED 4\r\n14 OK EXPUNGE\r\n");
    assert_eq!(client.command("15 EXPUNGE").await, "* VANISHED 3\r\n15 OK EXPUNGE\r\n");
    account.deliver("INBOX", MESSAGE);
    assert_eq!(client.command("16 NOOP").await, "* 2 EXISTS\r\n* 2 RECENT\r\n16 OK NOOP\r\n");
    assert_eq!(
        client.command("17 UID MOVE 2 Altra").await,
        "* OK [COPYUID 2 2 1] MOVE\r\n* VANISHED 2\r\n17 OK MOVE\r\n"
    );
    // §3.7: modification sequences stand in the same responses.
    assert_eq!(
        client.command("18 UID FETCH 5 MODSEQ").await,
        "* OK [HIGHESTMODSEQ 13] MODSEQ\r\n* 5 UIDFETCH (MODSEQ (12))\r\n18 OK FETCH\r\n"
    );
}

#[tokio::test]
async fn resynchronisation_goes_without_numbers() {
    let account = with_messages(3);
    account.expunge("INBOX", 2);
    let mut client = logged_in(&account).await;
    client.command("a ENABLE QRESYNC UIDONLY").await;
    let answer = client.command("b SELECT INBOX (QRESYNC (1 3))").await;
    assert!(answer.contains("* VANISHED (EARLIER) 2\r\n* 3 UIDFETCH (FLAGS ("), "{answer}");
    // RFC 9586 §3.7.
    let answer = client.command("c SELECT INBOX (QRESYNC (1 3 1:3 (1 1)))").await;
    assert!(answer.starts_with("c BAD "), "{answer}");
}

#[tokio::test]
async fn batches_hold_equally_many_messages_from_the_newest_on() {
    let account = with_messages(1_203);
    account.expunge("INBOX", 1);
    account.expunge("INBOX", 700);
    let mut client = uid_only(&account).await;
    let ok = "OK UIDBATCHES\r\n";
    assert_eq!(
        client.command("A143 UIDBATCHES 500").await,
        format!("* UIDBATCHES (TAG \"A143\") 1203:704,703:203,202:1\r\nA143 {ok}")
    );
    for (request, ranges) in [
        ("2000", " 1203:1"),
        ("501 1:5", " 1203:703,702:201,200:1"),
        ("501 2:2", " 702:201"),
        ("501 6:8", ""),
    ] {
        let answer = client.command(&format!("A302 UIDBATCHES {request}")).await;
        let expected = format!("* UIDBATCHES (TAG \"A302\"){ranges}\r\nA302 {ok}");
        assert_eq!(answer, expected, "{request}");
    }
    for (request, refusal) in [
        ("499", "NO [TOOFEW] "),
        ("2000 4:1", "BAD [CLIENTBUG] "),
        ("2000 1:100", "NO [TOOMANY] "),
        ("2000 x", "BAD "),
    ] {
        let answer = client.command(&format!("A303 UIDBATCHES {request}")).await;
        assert!(answer.starts_with(&format!("A303 {refusal}")), "{request}: {answer}");
    }
    let mut empty = logged_in(&MemoryAccount::new()).await;
    assert!(empty.command("a UIDBATCHES 500").await.starts_with("a BAD "));
    empty.command("b SELECT INBOX").await;
    let answer = empty.command("A302 UIDBATCHES 500").await;
    assert_eq!(answer, format!("* UIDBATCHES (TAG \"A302\")\r\nA302 {ok}"));
}

#[tokio::test]
async fn the_same_batches_are_not_told_again_until_half_a_batch_has_changed() {
    // RFC 10022 §3.1.1.
    let account = with_messages(10);
    let mut client = in_inbox(&account).await;
    assert!(client.command("a UIDBATCHES 500").await.contains("a OK"));
    assert!(client.command("b UIDBATCHES 500").await.starts_with("b NO [LIMIT] "));
    assert!(client.command("c UIDBATCHES 500 1:1").await.contains("c OK"));
    for _ in 0..251 {
        account.deliver("INBOX", MESSAGE);
    }
    client.command("d NOOP").await;
    let answer = client.command("e UIDBATCHES 500").await;
    assert_eq!(answer, "* UIDBATCHES (TAG \"e\") 261:1\r\ne OK UIDBATCHES\r\n");
    // Another selection is another list.
    client.command("f SELECT INBOX").await;
    assert!(client.command("g UIDBATCHES 500").await.contains("g OK"));
}

#[tokio::test]
async fn a_page_of_uid_fetch_is_taken_before_what_has_changed() {
    let account = with_messages(6);
    account.flag("INBOX", 2, Flags { seen: true, ..Flags::default() });
    account.flag("INBOX", 5, Flags { seen: true, ..Flags::default() });
    let mut client = in_inbox(&account).await;
    let uids = |answer: &str| -> Vec<String> {
        let told = answer.lines().filter_map(|line| line.split("(UID ").nth(1));
        told.map(|rest| rest.split([' ', ')']).next().unwrap().to_owned()).collect()
    };
    for (page, found) in [
        ("PARTIAL -1:-3", vec!["4", "5", "6"]),
        ("PARTIAL 1:2", vec!["1", "2"]),
        ("PARTIAL 6:9", vec!["6"]),
        ("PARTIAL 7:9", vec![]),
        ("PARTIAL -1:-3 CHANGEDSINCE 7", vec!["5"]),
        ("CHANGEDSINCE 7 PARTIAL 1:3", vec!["2"]),
    ] {
        let answer = client.command(&format!("a UID FETCH 1:* (UID) ({page})")).await;
        assert_eq!(uids(&answer), found, "{page}");
        assert!(answer.ends_with("a OK FETCH\r\n"), "{answer}");
    }
    assert!(client.command("b FETCH 1:* UID (PARTIAL 1:2)").await.starts_with("b BAD "));
}

/// A client of a server that works on `limit` messages at once.
async fn limited(account: &Arc<MemoryAccount>, limits: ImapLimits) -> Client {
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(account, settings).await;
    client.line().await;
    client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    client.command("sel SELECT INBOX").await;
    client
}

#[tokio::test]
async fn a_command_works_on_the_newest_messages_and_says_where_to_go_on() {
    let account = with_messages(7);
    account.make("Altra");
    let limits = ImapLimits { message_limit: NonZeroU32::new(3), ..ImapLimits::default() };
    let mut client = limited(&account, limits).await;
    let answer = client.command("c CAPABILITY").await;
    assert!(answer.contains(" MESSAGELIMIT=3") && !answer.contains("SAVELIMIT"), "{answer}");
    let text =
        "Troppi messaggi: continuare con i restanti / Too many messages: go on with the rest";
    assert_eq!(
        client.command("03 FETCH 1:7 (UID)").await,
        format!(
            "* 7 FETCH (UID 7)\r\n* 6 FETCH (UID 6)\r\n* 5 FETCH (UID 5)\r\n\
             03 OK [MESSAGELIMIT 3 5] {text}\r\n"
        )
    );
    assert!(client.command("04 UID FETCH 1:3 UID").await.ends_with("04 OK FETCH\r\n"));
    assert_eq!(
        client.command("05 UID COPY 1:4 Altra").await,
        format!("05 NO [MESSAGELIMIT 3 2] {text}\r\n")
    );
    assert!(account.messages("Altra").is_empty());
    let answer = client.command("07 UID STORE 1:7 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(answer, format!("07 OK [MESSAGELIMIT 3 5] {text}\r\n"));
    client.command("08 UID STORE 1:3 +FLAGS.SILENT (\\Deleted)").await;
    // 1, 2, 3, 5, 6 and 7 are deleted.
    assert_eq!(
        client.command("09 UID EXPUNGE 1:7").await,
        format!("* 7 EXPUNGE\r\n* 6 EXPUNGE\r\n* 5 EXPUNGE\r\n09 OK [MESSAGELIMIT 3 5] {text}\r\n")
    );
    for _ in 0..4 {
        account.deliver("INBOX", MESSAGE);
    }
    client.command("n NOOP").await;
    assert_eq!(
        client.command("06 UID MOVE 4:* Altra").await,
        format!(
            "* OK [COPYUID 2 9:11 1:3] MOVE\r\n* 8 EXPUNGE\r\n* 7 EXPUNGE\r\n* 6 EXPUNGE\r\n\
             06 OK [MESSAGELIMIT 3 9] {text}\r\n"
        )
    );
    // EXPUNGE itself knows no limit.
    client.command("a UID STORE 4:8 +FLAGS.SILENT (\\Deleted)").await;
    assert!(client.command("b EXPUNGE").await.ends_with("b OK EXPUNGE\r\n"));
    assert!(account.messages("INBOX").is_empty());
    let answer = client.command("10 UID FETCH 1:9 (UID) (PARTIAL -1:-4)").await;
    assert_eq!(answer, format!("10 NO [MESSAGELIMIT 3] {text}\r\n"));
}

#[tokio::test]
async fn the_limit_is_told_beside_other_codes() {
    let account = with_messages(5);
    let limits = ImapLimits { message_limit: NonZeroU32::new(2), ..ImapLimits::default() };
    let mut client = limited(&account, limits).await;
    let answer = client.command("a STORE 1:5 (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Seen)").await;
    assert!(answer.contains("* NO [MESSAGELIMIT 2 4] "), "{answer}");
    assert!(answer.ends_with("a OK [MODIFIED 5] STORE\r\n"), "{answer}");
    client.command("b UNSELECT").await;
    client.command("c ENABLE QRESYNC").await;
    client.command("d SELECT INBOX").await;
    client.command("e STORE 1:2 +FLAGS.SILENT (\\Deleted)").await;
    client.command("f STORE 3 +FLAGS.SILENT (\\Deleted)").await;
    let answer = client.command("g UID EXPUNGE 1:5").await;
    assert!(answer.starts_with("* NO [MESSAGELIMIT 2 2] "), "{answer}");
    assert!(answer.contains("* VANISHED 2:3\r\ng OK [HIGHESTMODSEQ "), "{answer}");
}

#[tokio::test]
async fn copies_are_limited_where_nothing_else_is() {
    let account = with_messages(3);
    account.make("Altra");
    let limits = ImapLimits { save_limit: NonZeroU32::new(2).unwrap(), ..ImapLimits::default() };
    let mut client = limited(&account, limits).await;
    let answer = client.command("c CAPABILITY").await;
    assert!(answer.contains(" SAVELIMIT=2") && !answer.contains("MESSAGELIMIT"), "{answer}");
    let answer = client.command("a COPY 1:3 Altra").await;
    assert!(answer.starts_with("a NO [MESSAGELIMIT 2 2] "), "{answer}");
    assert!(account.messages("Altra").is_empty());
    assert!(client.command("b UID COPY 2:3 Altra").await.starts_with("b OK [COPYUID "));
    assert!(client.command("d FETCH 1:3 UID").await.ends_with("d OK FETCH\r\n"));
    assert!(client.command("e MOVE 1:3 Altra").await.ends_with("e OK MOVE\r\n"));
}

#[tokio::test]
async fn no_command_gets_past_uidonly_by_another_name() {
    let account = with_messages(2);
    account.make("Altra");
    let mut client = uid_only(&account).await;
    for command in [
        "FETCH $ FLAGS",
        "FETCH * FLAGS",
        "SEARCH UID 1",
        "SEARCH RETURN (COUNT) ALL",
        "UID SEARCH OR UID 1 (NOT 2)",
        "SORT (SUBJECT) UTF-8 ALL",
        "UID SORT (SUBJECT) UTF-8 1:2",
        "THREAD REFERENCES UTF-8 ALL",
        "UID THREAD REFERENCES UTF-8 FLAGGED 1",
        "ESEARCH IN (selected) 1",
        "REPLACE 1 Altra {3+}\r\na:b",
        "REPLACE 1 Altra CATENATE (URL \"/INBOX/;UID=1\")",
    ] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a BAD [UIDREQUIRED] "), "{command}: {answer}");
    }
    assert!(account.messages("Altra").is_empty() && account.messages("INBOX").len() == 2);
    for (command, answer) in [
        ("UID SORT (SUBJECT) UTF-8 UID 1:2", "* SORT 1 2\r\nb OK SORT\r\n"),
        ("UID SEARCH RETURN (SAVE) ALL", "b OK SEARCH\r\n"),
        ("UID SEARCH $", "* SEARCH 1 2\r\nb OK SEARCH\r\n"),
        ("UID THREAD ORDEREDSUBJECT UTF-8 UID 1", "* THREAD (1)\r\nb OK THREAD\r\n"),
    ] {
        assert_eq!(client.command(&format!("b {command}")).await, answer);
    }
    let answer = client.command("c UID REPLACE 1 Altra {3+}\r\na:b").await;
    assert!(answer.contains("* VANISHED 1\r\n"), "{answer}");
}

/// RFC 9738 §3.2.
#[tokio::test]
async fn a_search_goes_on_before_or_after_a_uid() {
    let account = with_messages(5);
    let mut client = uid_only(&account).await;
    for (criteria, found) in [
        ("UIDAFTER 3", " 4 5"),
        ("UIDBEFORE 3", " 1 2"),
        ("UIDAFTER 1 UIDBEFORE 4", " 2 3"),
        ("UIDAFTER 5", ""),
        ("UIDBEFORE 1", ""),
        ("NOT UIDAFTER 4294967295", " 1 2 3 4 5"),
    ] {
        let answer = client.command(&format!("a UID SEARCH {criteria}")).await;
        assert_eq!(answer, format!("* SEARCH{found}\r\na OK SEARCH\r\n"), "{criteria}");
    }
    for wrong in ["UIDAFTER 0", "UIDBEFORE *", "UIDAFTER 1:2", "UIDBEFORE"] {
        let answer = client.command(&format!("b UID SEARCH {wrong}")).await;
        assert!(answer.starts_with("b BAD "), "{wrong}: {answer}");
    }
}
