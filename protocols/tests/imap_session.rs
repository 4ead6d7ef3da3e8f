//! Logging in, and the tree of mailboxes: RFC 3501 §6.1 to §6.3 by transcripts.

mod account;
#[path = "support/scram.rs"]
mod scram;

use account::{
    client::{connect_as, connect_with, greeted, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount, PASSWORD},
};
use protocols::imap::{ImapLimits, ServerSettings};
use scram::Client;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

#[tokio::test]
async fn capabilities_are_told_before_and_after_the_login() {
    let account = MemoryAccount::new();
    let mut client = connect_with(&account, ServerSettings::default()).await;
    let greeting = client.line().await;
    assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "), "{greeting}");
    let answer = client.command("a1 CAPABILITY").await;
    assert!(answer.starts_with("* CAPABILITY IMAP4rev1 "), "{answer}");
    // Nothing to bind to, so no SCRAM-SHA-256-PLUS.
    assert!(
        answer.contains(" AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN\r\n")
            && answer.ends_with("a1 OK CAPABILITY\r\n")
    );
    let mut client = logged_in(&account).await;
    assert!(!client.command("a2 CAPABILITY").await.contains("AUTH="));
}

#[tokio::test]
async fn logins_by_login_and_authenticate_plain_in_all_forms() {
    let account = MemoryAccount::new();
    for (command, more) in [
        // user and password of the tests, "\0anna.rossi@pec.example\0ceralacca "1""
        ("a AUTHENTICATE PLAIN AGFubmEucm9zc2lAcGVjLmV4YW1wbGUAY2VyYWxhY2NhICIxIg==", None),
        ("a authenticate plain", Some("AGFubmEucm9zc2lAcGVjLmV4YW1wbGUAY2VyYWxhY2NhICIxIg==")),
        ("a LOGIN anna.rossi@pec.example {13}", Some("ceralacca \"1\"")),
        ("a LOGIN {22}", Some("anna.rossi@pec.example \"ceralacca \\\"1\\\"\"")),
    ] {
        let mut client = greeted(&account).await;
        client.send(format!("{command}\r\n")).await;
        if let Some(more) = more {
            assert!(client.line().await.starts_with("+ "), "{command}");
            client.send(format!("{more}\r\n")).await;
        }
        let answer = client.until("a").await;
        assert!(answer.starts_with("a OK [CAPABILITY "), "{command}: {answer}");
    }
}

#[tokio::test]
async fn a_proof_logs_in_and_the_server_proves_itself_too() {
    let account = MemoryAccount::new();
    for initial in [true, false] {
        let mut client = greeted(&account).await;
        let mut scram = Client::unbound(ADDRESS, PASSWORD, "y");
        if initial {
            client.send(format!("a AUTHENTICATE SCRAM-SHA-256 {}\r\n", scram.first())).await;
        } else {
            client.send("a authenticate scram-sha-256\r\n").await;
            assert_eq!(client.line().await, "+ \r\n");
            client.send(format!("{}\r\n", scram.first())).await;
        }
        let challenge = client.line().await;
        let last = scram.last(challenge.strip_prefix("+ ").unwrap().trim_end());
        client.send(format!("{last}\r\n")).await;
        let signature = client.line().await;
        assert!(scram.believes(signature.strip_prefix("+ ").unwrap().trim_end()));
        client.send("\r\n").await;
        assert!(client.until("a").await.starts_with("a OK [CAPABILITY "));
    }
}

#[tokio::test]
async fn a_wrong_proof_is_refused_like_an_unknown_login() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    for (login, password) in [(ADDRESS, "wrong"), ("nessuno@pec.example", PASSWORD)] {
        let mut scram = Client::unbound(login, password, "n");
        client.send(format!("a AUTHENTICATE SCRAM-SHA-256 {}\r\n", scram.first())).await;
        let challenge = client.line().await;
        let last = scram.last(challenge.strip_prefix("+ ").unwrap().trim_end());
        client.send(format!("{last}\r\n")).await;
        let answer = client.until("a").await;
        assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED] "), "{login}: {answer}");
    }
}

#[tokio::test]
async fn wrong_logins_are_refused_and_the_third_ends_the_session() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    let answer = client.command("a LOGIN x y").await;
    assert!(answer.starts_with("a NO [AUTHENTICATIONFAILED] "), "{answer}");
    let answer = client.command("b LOGIN bloccata@pec.example y").await;
    assert!(answer.starts_with("b NO [CONTACTADMIN] "), "{answer}");
    client.send(format!("c LOGIN {ADDRESS} wrong\r\n")).await;
    let rest = client.rest().await;
    assert!(rest.contains("NO [AUTHENTICATIONFAILED]") && rest.contains("* BYE "), "{rest}");
}

#[tokio::test]
async fn authenticate_can_be_cancelled_and_refuses_what_it_cannot_do() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    client.send("a AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(client.line().await, "+ \r\n");
    client.send("*\r\n").await;
    assert!(client.until("a").await.starts_with("a BAD "));
    assert!(client.command("b AUTHENTICATE CRAM-MD5").await.starts_with("b NO [CANNOT]"));
    // "other\0anna.rossi@pec.example\0x"
    let acting = "c AUTHENTICATE PLAIN b3RoZXIAYW5uYS5yb3NzaUBwZWMuZXhhbXBsZQB4";
    assert!(client.command(acting).await.starts_with("c NO [AUTHENTICATIONFAILED]"));
}

#[tokio::test]
async fn no_password_is_taken_in_the_clear() {
    let account = MemoryAccount::new();
    let mut client = connect_as(&account, ServerSettings::default(), false).await;
    let greeting = client.line().await;
    assert!(greeting.contains("LOGINDISABLED") && !greeting.contains("AUTH="), "{greeting}");
    assert!(client.command("a LOGIN a b").await.starts_with("a NO [PRIVACYREQUIRED]"));
    assert!(client.command("b AUTHENTICATE PLAIN =").await.starts_with("b NO [PRIVACYREQUIRED]"));
}

#[tokio::test]
async fn every_state_has_its_commands_only() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    for command in ["SELECT INBOX", "LIST \"\" *", "FETCH 1 FLAGS", "IDLE", "APPEND INBOX {3}"] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a BAD "), "{command}: {answer}");
    }
    assert!(client.command("b NOOP").await.starts_with("b OK"));
    let mut client = logged_in(&account).await;
    for command in ["LOGIN a b", "FETCH 1 FLAGS", "EXPUNGE", "CLOSE", "STORE 1 FLAGS ()", "CHECK"] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a BAD "), "{command}: {answer}");
    }
    let answer = client.command("z LOGOUT").await;
    assert!(answer.starts_with("* BYE ") && answer.contains("z OK LOGOUT"), "{answer}");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn list_shows_the_tree_as_in_rfc_3501_section_6_3_8() {
    let account = MemoryAccount::new();
    for name in ["Attività", "Inviati", "foo/bar", "foo/baz/qux"] {
        account.make(name);
    }
    let mut client = logged_in(&account).await;
    assert_eq!(
        client.command("a LIST \"\" \"\"").await,
        "* LIST (\\Noselect) \"/\" \"\"\r\na OK LIST\r\n"
    );
    assert_eq!(
        client.command("a LIST \"\" %").await,
        "* LIST (\\HasNoChildren) \"/\" Attivit&AOA-\r\n\
         * LIST (\\HasNoChildren) \"/\" INBOX\r\n\
         * LIST (\\HasNoChildren \\Sent) \"/\" Inviati\r\n\
         * LIST (\\Noselect \\HasChildren) \"/\" foo\r\n\
         a OK LIST\r\n"
    );
    assert_eq!(
        client.command("a LIST foo/ *").await,
        "* LIST (\\HasNoChildren) \"/\" foo/bar\r\n\
         * LIST (\\Noselect \\HasChildren) \"/\" foo/baz\r\n\
         * LIST (\\HasNoChildren) \"/\" foo/baz/qux\r\n\
         a OK LIST\r\n"
    );
    assert_eq!(
        client.command("a LIST \"\" \"Attivit&AOA-\"").await,
        "* LIST (\\HasNoChildren) \"/\" Attivit&AOA-\r\na OK LIST\r\n"
    );
}

#[tokio::test]
async fn subscriptions_are_kept_apart_from_mailboxes() {
    let account = MemoryAccount::new();
    account.make("foo/bar");
    let mut client = logged_in(&account).await;
    assert!(client.command("a SUBSCRIBE foo/bar").await.starts_with("a OK"));
    assert!(client.command("a SUBSCRIBE not/there").await.starts_with("a OK"));
    assert_eq!(
        client.command("a LSUB \"\" *").await,
        "* LSUB () \"/\" foo/bar\r\n* LSUB () \"/\" not/there\r\na OK LSUB\r\n"
    );
    // RFC 3501 §6.3.9: with %, the parent of a subscribed name is told as \Noselect.
    assert_eq!(
        client.command("a LSUB \"\" %").await,
        "* LSUB (\\Noselect) \"/\" foo\r\n* LSUB (\\Noselect) \"/\" not\r\na OK LSUB\r\n"
    );
    assert!(!client.command("a LIST \"\" *").await.contains("not/there"));
    assert!(client.command("a UNSUBSCRIBE not/there").await.starts_with("a OK"));
    assert_eq!(client.command("a LSUB \"\" not/*").await, "a OK LSUB\r\n");
}

#[tokio::test]
async fn mailboxes_are_created_renamed_and_deleted() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    assert!(client.command("a CREATE Attivit&AOA-/").await.starts_with("a OK"));
    assert_eq!(account.names(), ["Attività", "INBOX"]);
    assert!(client.command("a CREATE Attivit&AOA-").await.starts_with("a NO [ALREADYEXISTS]"));
    for wrong in ["a&b", "\"a//b\"", "\"/a\"", "\"a*\"", "\"\"", "\"a%\""] {
        let answer = client.command(&format!("a CREATE {wrong}")).await;
        assert!(answer.starts_with("a NO [CANNOT]"), "{wrong}: {answer}");
    }
    assert!(client.command("a RENAME Attivit&AOA- Altre").await.starts_with("a OK"));
    assert_eq!(account.names(), ["Altre", "INBOX"]);
    assert!(client.command("a RENAME nowhere X").await.starts_with("a NO [NONEXISTENT]"));
    assert!(client.command("a DELETE INBOX").await.starts_with("a NO [CANNOT]"));
    assert!(client.command("a DELETE Altre").await.starts_with("a OK"));
    assert!(client.command("a DELETE Altre").await.starts_with("a NO [NONEXISTENT]"));
}

#[tokio::test]
async fn status_counts_without_selecting() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    account.deliver("INBOX", MESSAGE);
    let mut client = logged_in(&account).await;
    let items = "(MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)";
    let expected = |recent| {
        format!(
            "* STATUS INBOX (MESSAGES 2 RECENT {recent} UIDNEXT 3 UIDVALIDITY 1 UNSEEN 2)\r\n\
             a OK STATUS\r\n"
        )
    };
    assert_eq!(client.command(&format!("a STATUS inbox {items}")).await, expected(2));
    in_inbox(&account).await;
    assert_eq!(client.command(&format!("a STATUS INBOX {items}")).await, expected(0));
    assert!(client.command("a STATUS nowhere (MESSAGES)").await.starts_with("a NO [NONEXISTENT]"));
}

#[tokio::test]
async fn select_describes_the_mailbox_as_in_rfc_3501_section_6_3_1() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    account.deliver("INBOX", MESSAGE);
    let mut client = logged_in(&account).await;
    let answer = client.command("a EXAMINE INBOX").await;
    assert!(answer.contains("* 2 RECENT\r\n"), "{answer}");
    assert!(answer.contains("* OK [PERMANENTFLAGS ()] "), "{answer}");
    assert!(answer.ends_with("a OK [READ-ONLY] EXAMINE\r\n"), "{answer}");
    let answer = client.command("a SELECT INBOX").await;
    assert_eq!(
        answer,
        "* OK [CLOSED] Cartella precedente chiusa / Previous mailbox closed\r\n\
         * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n\
         * 2 EXISTS\r\n\
         * 2 RECENT\r\n\
         * OK [UNSEEN 1] Primo non letto / First unseen\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flag\r\n\
         * OK [UIDNEXT 3] Prossimo UID / Next UID\r\n\
         * OK [UIDVALIDITY 1] UID validi / UIDs valid\r\n\
         * OK [HIGHESTMODSEQ 3] MODSEQ\r\n* OK [MAILBOXID (F1)] Ok\r\n\
         a OK [READ-WRITE] SELECT\r\n"
    );
    // Another session gets no \Recent any more, EXAMINE took none.
    let mut other = logged_in(&account).await;
    assert!(other.command("a SELECT INBOX").await.contains("* 0 RECENT\r\n"));
}

#[tokio::test]
async fn a_failed_select_leaves_no_mailbox_selected() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    let answer = client.command("a SELECT nowhere").await;
    assert!(answer.starts_with("* OK [CLOSED] "), "{answer}");
    assert!(answer.contains("\r\na NO [NONEXISTENT] "), "{answer}");
    assert!(client.command("a CHECK").await.starts_with("a BAD "));
}

#[tokio::test]
async fn namespace_id_and_unselect_answer() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    assert_eq!(
        client.command("a NAMESPACE").await,
        "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\na OK NAMESPACE\r\n"
    );
    for parameters in ["NIL", "(\"name\" \"sodr\" \"version\" NIL)"] {
        let answer = client.command(&format!("a ID {parameters}")).await;
        assert_eq!(answer, "* ID (\"name\" \"Ceralacca\")\r\na OK ID\r\n");
    }
    assert_eq!(client.command("a UNSELECT").await, "a OK UNSELECT\r\n");
    assert!(client.command("a CHECK").await.starts_with("a BAD "));
}

#[tokio::test]
async fn wrong_commands_are_bad_and_too_many_in_a_row_end_the_session() {
    let account = MemoryAccount::new();
    let limits = ImapLimits { bad_commands_max: 5, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.line().await;
    for command in ["a", "a XYZZY", "a NOOP x", "a LOGIN onlyone"] {
        let answer = client.command(command).await;
        assert!(answer.starts_with("a BAD "), "{command}: {answer}");
    }
    assert!(client.command("a NOOP").await.starts_with("a OK"));
    client.send("\r\n+ x\r\n* y\r\n\x16\x03\x01\r\n(\r\n").await;
    let rest = client.rest().await;
    assert_eq!(rest.matches("* BAD ").count(), 5, "{rest}");
    assert!(rest.contains("* BYE "), "{rest}");
}

#[tokio::test]
async fn names_are_spelt_in_utf_8_once_that_is_enabled() {
    let account = MemoryAccount::new();
    account.make("Attività");
    let mut client = logged_in(&account).await;
    let answer = client.command("a LIST \"\" Att*").await;
    assert!(answer.contains(" Attivit&AOA-\r\n"), "{answer}");
    // The example of RFC 5161 §3.1: what is unknown is passed over, what is known is named.
    let answer = client.command("b ENABLE X-GOOD-IDEA UTF8=ACCEPT").await;
    assert_eq!(answer, "* ENABLED UTF8=ACCEPT\r\nb OK ENABLE\r\n");
    assert_eq!(client.command("c ENABLE UTF8=ACCEPT").await, "* ENABLED\r\nc OK ENABLE\r\n");
    let answer = client.command("d LIST \"\" \"Attività\"").await;
    assert!(answer.contains(" \"Attività\"\r\n"), "{answer}");
    assert!(client.command("e SELECT \"Attività\"").await.contains("e OK [READ-WRITE]"));
    // Not once a mailbox is selected (§3.1).
    assert!(client.command("f ENABLE IMAP4rev2").await.starts_with("f BAD "));
}
