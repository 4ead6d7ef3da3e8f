//! STATUS and what its items stand for elsewhere: RFC 9051 §6.3.11, RFC 8438, RFC 7162, RFC 8474,
//! RFC 7889, by transcripts.

mod account;

use account::{
    client::{connect_with, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::imap::{ImapLimits, ServerSettings};
use storage::mailbox::flags::Flags;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ny\r\n";

#[tokio::test]
async fn sizes_and_deletions_are_counted() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    account.deliver("INBOX", b"Subject: longer\r\n\r\nz\r\n");
    account.flag("INBOX", 1, Flags { deleted: true, ..Flags::default() });
    let mut client = logged_in(&account).await;
    // RFC 8438 §2: the sum of RFC822.SIZE; RFC 9051 §6.3.11: DELETED.
    let sum = MESSAGE.len() + 22;
    assert_eq!(
        client.command("a STATUS INBOX (SIZE DELETED MESSAGES)").await,
        format!("* STATUS INBOX (SIZE {sum} DELETED 1 MESSAGES 2)\r\na OK STATUS\r\n")
    );
    let answer = client.command("b STATUS INBOX (HIGHESTMODSEQ)").await;
    assert_eq!(answer, "* STATUS INBOX (HIGHESTMODSEQ 4)\r\nb OK STATUS\r\n");
    for wrong in ["STATUS INBOX (NEW)", "STATUS INBOX ()", "STATUS INBOX SIZE", "STATUS INBOX"] {
        let answer = client.command(&format!("c {wrong}")).await;
        assert!(answer.starts_with("c BAD "), "{wrong}: {answer}");
    }
    let many = ["SIZE"; 65].join(" ");
    assert!(client.command(&format!("d STATUS INBOX ({many})")).await.starts_with("d BAD "));
}

#[tokio::test]
async fn a_mailbox_keeps_its_identifier_under_another_name() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    // RFC 8474 §4.1 to §4.3.
    let created = client.command("a CREATE foo").await;
    assert_eq!(created, "a OK [MAILBOXID (F2)] CREATE\r\n");
    assert!(client.command("b RENAME foo renamed").await.starts_with("b OK"));
    let answer = client.command("c STATUS renamed (MAILBOXID)").await;
    assert_eq!(answer, "* STATUS renamed (MAILBOXID (F2))\r\nc OK STATUS\r\n");
    assert!(client.command("d DELETE renamed").await.starts_with("d OK"));
    let again = client.command("e CREATE renamed").await;
    assert_eq!(again, "e OK [MAILBOXID (F3)] CREATE\r\n");
    // Numbers of two accounts never make the same identifier.
    let shared = "Altri utenti/posta@pec.example/INBOX";
    account.make(shared);
    let answer = client.command(&format!("f STATUS \"{shared}\" (MAILBOXID)")).await;
    assert!(answer.contains("(MAILBOXID (F9-4))"), "{answer}");
}

#[tokio::test]
async fn the_largest_message_is_announced_and_told_by_mailbox() {
    let account = MemoryAccount::new();
    account.make("Istantanea");
    account.make_read_only("Istantanea");
    let limits = ImapLimits { append_octets_max: 257_890, ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    // RFC 7889 §2, §3.1.
    assert!(client.line().await.contains(" APPENDLIMIT=257890 "));
    let login = format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"");
    assert!(client.command(&login).await.contains(" APPENDLIMIT=257890 "));
    let answer = client.command("a STATUS INBOX (APPENDLIMIT)").await;
    assert_eq!(answer, "* STATUS INBOX (APPENDLIMIT 257890)\r\na OK STATUS\r\n");
    let answer = client.command("b STATUS Istantanea (APPENDLIMIT)").await;
    assert_eq!(answer, "* STATUS Istantanea (APPENDLIMIT 0)\r\nb OK STATUS\r\n");
    assert!(client.command("c APPEND INBOX {257891}").await.starts_with("c NO [TOOBIG]"));
}
