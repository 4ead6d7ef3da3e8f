//! IMAP4rev2 (RFC 9051) once it is enabled beside IMAP4rev1: what its appendices A and E list, by
//! transcripts.

mod account;

use std::sync::Arc;

use account::{
    client::{Client, logged_in},
    memory::MemoryAccount,
};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

async fn rev2(account: &Arc<MemoryAccount>) -> Client {
    let mut client = logged_in(account).await;
    let answer = client.command("e ENABLE IMAP4rev2").await;
    assert_eq!(answer, "* ENABLED IMAP4rev2\r\ne OK ENABLE\r\n");
    client
}

/// RFC 9051 §5.1, §4.3, §6.4.4.
#[tokio::test]
async fn imap4rev2_speaks_utf_8_both_ways() {
    let account = MemoryAccount::new();
    let mut client = rev2(&account).await;
    assert!(client.command("a CREATE \"Attività\"").await.starts_with("a OK [MAILBOXID "));
    // A name is what it says: nothing is modified UTF-7 any more.
    assert!(client.command("b CREATE Entit&AOA-").await.starts_with("b OK "));
    let answer = client.command("c LIST \"\" *t*").await;
    assert!(answer.contains(" \"Attività\"\r\n") && answer.contains("Entit&AOA-"), "{answer}");
    account.deliver("Attività", "Subject: perché\r\n\r\ny\r\n".as_bytes());
    account.deliver("Attività", MESSAGE);
    assert!(client.command("d SELECT \"Attività\"").await.contains("* 2 EXISTS\r\n"));
    for criteria in [
        "SUBJECT \"perché\"",
        "CHARSET UTF-8 SUBJECT \"perché\"",
        "SUBJECT {7+}\r\nperché",
        "CHARSET US-ASCII SUBJECT perch",
    ] {
        let answer = client.command(&format!("f SEARCH {criteria}")).await;
        assert_eq!(answer, "* ESEARCH (TAG \"f\") ALL 1\r\nf OK SEARCH\r\n", "{criteria}");
    }
    // Nothing found is an answer too (§7.3.4).
    let answer = client.command("g UID SEARCH SUBJECT z").await;
    assert_eq!(answer, "* ESEARCH (TAG \"g\") UID\r\ng OK SEARCH\r\n");
    let answer = client.command("h SEARCH CHARSET KOI8-R SUBJECT x").await;
    assert!(answer.starts_with("h NO [BADCHARSET "), "{answer}");
}

/// RFC 9051 §E: what was an extension of IMAP4rev1.
#[tokio::test]
async fn imap4rev2_holds_what_it_took_from_extensions() {
    let account = MemoryAccount::new();
    account.make("Altra");
    let mut client = rev2(&account).await;
    // BINARY of RFC 3516 and literal8 in APPEND (§6.3.12), told with APPENDUID.
    let answer = client.command("a APPEND INBOX (\\Seen) ~{17+}\r\nSubject: x\r\n\r\nyz\r").await;
    assert!(answer.starts_with("a OK [APPENDUID 1 1] "), "{answer}");
    account.deliver("INBOX", MESSAGE);
    assert_eq!(
        client.command("b STATUS INBOX (MESSAGES UNSEEN DELETED SIZE)").await,
        format!(
            "* STATUS INBOX (MESSAGES 2 UNSEEN 1 DELETED 0 SIZE {})\r\nb OK STATUS\r\n",
            17 + MESSAGE.len()
        )
    );
    let answer = client.command("c LIST \"\" Altra RETURN (STATUS (MESSAGES))").await;
    assert!(answer.contains("* STATUS Altra (MESSAGES 0)\r\n"), "{answer}");
    assert!(client.command("d NAMESPACE").await.starts_with("* NAMESPACE ((\"\" \"/\")) NIL NIL"));
    let selected = client.command("f SELECT INBOX").await;
    for told in ["* 2 EXISTS", "[UIDVALIDITY 1]", "[UIDNEXT 3]", "[PERMANENTFLAGS ("] {
        assert!(selected.contains(told), "{told}: {selected}");
    }
    assert!(selected.contains("* LIST () \"/\" INBOX\r\n"), "{selected}");
    let answer = client.command("g FETCH 2 BINARY[1]").await;
    assert!(answer.contains("BINARY[1] ") && answer.contains("y\r\n"), "{answer}");
    client.command("h SEARCH RETURN (SAVE) ALL").await;
    // COPYUID stands before the messages leave (§6.4.8).
    let answer = client.command("i MOVE $ Altra").await;
    assert!(answer.starts_with("* OK [COPYUID 2 1:2 1:2] "), "{answer}");
    assert!(!answer.contains("RECENT"), "{answer}");
    assert!(client.command("j SELECT Altra").await.starts_with("* OK [CLOSED] "));
    client.command("k STORE 1 +FLAGS (\\Deleted)").await;
    assert!(client.command("l UID EXPUNGE 1").await.contains("* 1 EXPUNGE\r\n"));
    assert_eq!(client.command("m UNSELECT").await, "m OK UNSELECT\r\n");
}

/// RFC 7888 §4, RFC 9051 §4.3.
#[tokio::test]
async fn literals_of_any_size_come_unasked() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let large = format!("Subject: x\r\n\r\n{}", "0123456789".repeat(10_000));
    let answer = client.command(&format!("a APPEND INBOX {{{}+}}\r\n{large}", large.len())).await;
    assert!(answer.starts_with("a OK [APPENDUID 1 1] "), "{answer}");
    assert_eq!(client.command("b STATUS {5+}\r\nINBOX (MESSAGES)").await.lines().count(), 2);
}
