//! Modification sequences: RFC 7162 §3.1, its rules and its examples with numbers of ours.

mod account;

use account::{
    client::{Client, in_inbox, logged_in},
    memory::MemoryAccount,
};
use storage::mailbox::flags::Flags;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

/// An account with `count` messages, the first with modification sequence 2.
fn with_messages(count: usize) -> std::sync::Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for _ in 0..count {
        account.deliver("INBOX", MESSAGE);
    }
    account
}

fn answered() -> Flags {
    Flags { answered: true, ..Flags::default() }
}

async fn condstore(account: &std::sync::Arc<MemoryAccount>) -> Client {
    let mut client = logged_in(account).await;
    let answer = client.command("e ENABLE CONDSTORE").await;
    assert_eq!(answer, "* ENABLED CONDSTORE\r\ne OK ENABLE\r\n");
    client.command("s SELECT INBOX").await;
    client
}

#[tokio::test]
async fn select_tells_the_highest_modification_sequence_or_that_there_is_none() {
    let account = with_messages(3);
    account.make_without_mod_seq("Vecchia");
    account.deliver("Vecchia", MESSAGE);
    let mut client = logged_in(&account).await;
    let answer = client.command("a SELECT INBOX (CONDSTORE)").await;
    assert!(answer.contains("* OK [HIGHESTMODSEQ 4] "), "{answer}");
    assert!(answer.ends_with("a OK [READ-WRITE] SELECT\r\n"), "{answer}");
    let answer = client.command("a EXAMINE Vecchia").await;
    assert!(answer.contains("* OK [NOMODSEQ] ") && !answer.contains("HIGHESTMODSEQ"), "{answer}");
    client.command("a SELECT Vecchia").await;
    for command in [
        "FETCH 1 MODSEQ",
        "FETCH 1 FLAGS (CHANGEDSINCE 1)",
        "STORE 1 (UNCHANGEDSINCE 1) FLAGS ()",
        "SEARCH MODSEQ 1",
    ] {
        assert!(client.command(&format!("a {command}")).await.starts_with("a BAD "), "{command}");
    }
    let answer = client.command("a STORE 1 FLAGS (\\Seen)").await;
    assert!(answer.starts_with("* 1 FETCH (FLAGS (\\Seen \\Recent))\r\n"), "{answer}");
}

#[tokio::test]
async fn each_command_that_asks_for_modification_sequences_has_all_later_changes_told_with_them() {
    for command in [
        "FETCH 1 MODSEQ",
        "FETCH 1 (FLAGS MODSEQ)",
        "UID FETCH 1 FLAGS (CHANGEDSINCE 9)",
        "STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Seen)",
        "STATUS INBOX (HIGHESTMODSEQ)",
        "LIST \"\" INBOX RETURN (STATUS (HIGHESTMODSEQ))",
        "SEARCH MODSEQ 1",
        "UID SORT (DATE) UTF-8 MODSEQ 1",
        "THREAD REFERENCES UTF-8 MODSEQ 1",
        "ESEARCH IN (inboxes) MODSEQ 1",
    ] {
        let account = with_messages(1);
        let mut client = in_inbox(&account).await;
        account.flag("INBOX", 1, answered());
        let answer = client.command("a NOOP").await;
        assert_eq!(answer, "* 1 FETCH (UID 1 FLAGS (\\Answered \\Recent))\r\na OK NOOP\r\n");
        let answer = client.command(&format!("b {command}")).await;
        assert!(answer.starts_with("* OK [HIGHESTMODSEQ 3] MODSEQ\r\n"), "{command}: {answer}");
        account.flag("INBOX", 1, Flags::default());
        let answer = client.command("c NOOP").await;
        let told = "* 1 FETCH (UID 1 FLAGS (\\Recent) MODSEQ (4))\r\nc OK NOOP\r\n";
        assert_eq!(answer, told, "{command}");
        let again = client.command(&format!("d {command}")).await;
        assert!(!again.contains("* OK [HIGHESTMODSEQ"), "{command}: {again}");
    }
    for command in ["SELECT INBOX (CONDSTORE)", "ENABLE CONDSTORE", "ENABLE QRESYNC"] {
        let account = with_messages(1);
        let mut client = logged_in(&account).await;
        client.command(&format!("a {command}")).await;
        client.command("b SELECT INBOX").await;
        account.flag("INBOX", 1, answered());
        let answer = client.command("c NOOP").await;
        assert!(answer.contains(" MODSEQ (3))\r\n"), "{command}: {answer}");
    }
}

#[tokio::test]
async fn status_tells_the_highest_modification_sequence() {
    let account = with_messages(2);
    let mut client = logged_in(&account).await;
    assert_eq!(
        client.command("a STATUS INBOX (UIDNEXT MESSAGES HIGHESTMODSEQ)").await,
        "* STATUS INBOX (UIDNEXT 3 MESSAGES 2 HIGHESTMODSEQ 3)\r\na OK STATUS\r\n"
    );
    account.make_without_mod_seq("Vecchia");
    let answer = client.command("a STATUS Vecchia (HIGHESTMODSEQ)").await;
    assert!(answer.starts_with("* STATUS Vecchia (HIGHESTMODSEQ 0)\r\n"), "{answer}");
}

#[tokio::test]
async fn fetch_tells_modification_sequences_and_only_what_changed_since_one() {
    let account = with_messages(4);
    let mut client = condstore(&account).await;
    client.command("a STORE 2,4 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(
        client.command("a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 5)").await,
        "* 2 FETCH (UID 2 FLAGS (\\Deleted \\Recent) MODSEQ (6))\r\n\
         * 4 FETCH (UID 4 FLAGS (\\Deleted \\Recent) MODSEQ (6))\r\na OK FETCH\r\n"
    );
    assert_eq!(
        client.command("a FETCH 1:2 (MODSEQ)").await,
        "* 1 FETCH (MODSEQ (2))\r\n* 2 FETCH (MODSEQ (6))\r\na OK FETCH\r\n"
    );
    assert_eq!(client.command("a FETCH 1:4 UID (CHANGEDSINCE 6)").await, "a OK FETCH\r\n");
    let answer = client.command("a FETCH 1 BODY[TEXT]").await;
    assert!(answer.contains(" FLAGS (\\Seen \\Recent) MODSEQ (7))\r\n"), "{answer}");
}

#[tokio::test]
async fn a_conditional_store_changes_what_nobody_changed_since() {
    let account = with_messages(9);
    let mut client = condstore(&account).await;
    // RFC 7162 §3.1.3, examples 3 to 6: messages 7 and 9 were changed by others.
    account.flag("INBOX", 7, Flags { deleted: true, ..Flags::default() });
    account.flag("INBOX", 9, Flags { deleted: true, ..Flags::default() });
    assert_eq!(
        client.command("d STORE 7,5,9 (UNCHANGEDSINCE 10) +FLAGS.SILENT (\\Deleted)").await,
        "* 5 FETCH (MODSEQ (13))\r\n\
         * 7 FETCH (UID 7 FLAGS (\\Deleted \\Recent) MODSEQ (11))\r\n\
         * 9 FETCH (UID 9 FLAGS (\\Deleted \\Recent) MODSEQ (12))\r\n\
         d OK [MODIFIED 7,9] STORE\r\n"
    );
    assert_eq!(
        client.command("u UID STORE 6,4,7 (UNCHANGEDSINCE 10) +FLAGS.SILENT (\\Deleted)").await,
        "* 4 FETCH (UID 4 MODSEQ (14))\r\n* 6 FETCH (UID 6 MODSEQ (14))\r\n\
         * 7 FETCH (UID 7 FLAGS (\\Deleted \\Recent) MODSEQ (11))\r\nu OK [MODIFIED 7] STORE\r\n"
    );
    // Example 7: what exists was changed after 0.
    let answer = client.command("z STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($MDNSent)").await;
    assert!(answer.ends_with("z OK [MODIFIED 1] STORE\r\n"), "{answer}");
    let answer = client.command("y STORE 1 (UNCHANGEDSINCE 2) +FLAGS ($MDNSent)").await;
    let told = "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $MDNSent)\r\n\
                * 1 FETCH (FLAGS (\\Recent $MDNSent) MODSEQ (15))\r\ny OK STORE\r\n";
    assert_eq!(answer, told);
    // A message named twice is changed once.
    let answer = client.command("x STORE 2,1:3 (UNCHANGEDSINCE 16) +FLAGS.SILENT (\\Draft)").await;
    assert!(answer.ends_with("x OK STORE\r\n"), "{answer}");
    assert!(account.messages("INBOX")[1].1.draft);
}

#[tokio::test]
async fn another_flag_than_those_named_does_not_fail_the_condition() {
    // RFC 7162 §3.1.12.
    let account = with_messages(2);
    let mut client = condstore(&account).await;
    account.flag("INBOX", 1, answered());
    assert_eq!(
        client.command("a STORE 1 (UNCHANGEDSINCE 3) +FLAGS.SILENT ($Processed)").await,
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Processed)\r\n\
         * 1 FETCH (FLAGS (\\Answered \\Recent $Processed) MODSEQ (5))\r\na OK STORE\r\n"
    );
    // Replacing all flags is another matter.
    account.flag("INBOX", 2, answered());
    let answer = client.command("b STORE 2 (UNCHANGEDSINCE 3) FLAGS.SILENT (\\Seen)").await;
    assert!(answer.ends_with("b OK [MODIFIED 2] STORE\r\n"), "{answer}");
    assert!(account.messages("INBOX")[1].1 == answered());
}

#[tokio::test]
async fn of_expunged_and_modified_messages_the_client_learns_both() {
    // RFC 7162 §3.1.3, example 11.
    let account = with_messages(4);
    let mut client = condstore(&account).await;
    account.flag("INBOX", 2, Flags { seen: true, ..Flags::default() });
    account.expunge("INBOX", 4);
    let answer = client.command("a STORE 1:4 (UNCHANGEDSINCE 5) +FLAGS (\\Seen)").await;
    assert!(answer.contains("* 1 FETCH (FLAGS (\\Seen \\Recent) MODSEQ ("), "{answer}");
    assert!(answer.contains("\r\na NO [MODIFIED 2] "), "{answer}");
    assert!(!answer.contains("EXPUNGE\r\n"), "{answer}");
    assert_eq!(client.command("b NOOP").await, "* 4 EXPUNGE\r\nb OK NOOP\r\n");
}

#[tokio::test]
async fn of_two_clients_with_the_same_condition_one_wins_and_both_know() {
    let account = with_messages(1);
    let mut first = condstore(&account).await;
    let mut second = condstore(&account).await;
    let store = "STORE 1 (UNCHANGEDSINCE 2) +FLAGS ($Preso)";
    assert!(first.command(&format!("a {store}")).await.ends_with("a OK STORE\r\n"));
    let answer = second.command(&format!("b {store}")).await;
    assert!(answer.contains("UID 1 FLAGS ($Preso) MODSEQ (3))\r\n"), "{answer}");
    assert!(answer.ends_with("b OK [MODIFIED 1] STORE\r\n"), "{answer}");
}

#[tokio::test]
async fn idle_clients_hear_of_each_other_before_they_say_anything() {
    let account = with_messages(2);
    let (mut watching, mut acting) = (condstore(&account).await, condstore(&account).await);
    watching.send("i IDLE\r\n").await;
    assert!(watching.line().await.starts_with("+ "));
    acting.command("a STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(
        watching.line().await,
        "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent) MODSEQ (4))\r\n"
    );
    acting.command("b STORE 2 +FLAGS.SILENT (\\Deleted)").await;
    assert!(watching.line().await.starts_with("* 2 FETCH (UID 2 FLAGS (\\Deleted"));
    acting.command("c EXPUNGE").await;
    assert_eq!(watching.line().await, "* 2 EXPUNGE\r\n");
    acting.command("d APPEND INBOX {4+}\r\na: b").await;
    assert_eq!(watching.line().await, "* 2 EXISTS\r\n");
    watching.line().await;
    watching.send("DONE\r\n").await;
    assert_eq!(watching.until("i").await, "i OK IDLE\r\n");
}

#[tokio::test]
async fn no_client_is_told_a_sequence_beyond_an_expunge_that_it_has_not_been_told() {
    let account = with_messages(3);
    let mut client = in_inbox(&account).await;
    account.expunge("INBOX", 2);
    // By number the expunge waits, and so does the sequence that is above it.
    assert_eq!(client.command("a FETCH 1 UID").await, "* 1 FETCH (UID 1)\r\na OK FETCH\r\n");
    let answer = client.command("b FETCH 1 MODSEQ").await;
    assert!(answer.starts_with("* OK [HIGHESTMODSEQ 4] "), "{answer}");
    assert_eq!(account.mod_seq(), 5);
}

#[tokio::test]
async fn what_another_session_changes_during_a_conditional_store_is_told() {
    let account = with_messages(2);
    let mut client = condstore(&account).await;
    account.flag("INBOX", 2, Flags { flagged: true, ..Flags::default() });
    // Behind the change of message 1, and before its refusal for message 2 is looked at.
    account.flag_next("INBOX", 1, Flags { deleted: true, ..Flags::default() });
    let answer = client.command("a STORE 1:2 (UNCHANGEDSINCE 3) FLAGS (\\Seen)").await;
    assert!(answer.contains("FLAGS (\\Deleted \\Recent) MODSEQ (6))\r\n"), "{answer}");
    assert!(!answer.contains("MODSEQ (5)"), "{answer}");
    assert_eq!(client.command("b SEARCH DELETED").await, "* SEARCH 1\r\nb OK SEARCH\r\n");
}
