//! GETQUOTA, GETQUOTAROOT and DELETED-STORAGE (RFC 9208), by transcripts.

mod account;

use account::{client::in_inbox, memory::MemoryAccount};

const MESSAGE: &[u8] = b"Subject: uno\r\n\r\nuno\r\n";

#[tokio::test]
async fn the_one_quota_root_tells_storage_in_units_of_1024_octets() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", &[MESSAGE, &[b'x'; 2_000]].concat());
    account.set_limit(1 << 30);
    let mut client = in_inbox(&account).await;
    let quota = "* QUOTA Casella (STORAGE 2 1048576 MAILBOX 1 10)\r\n";
    assert_eq!(
        client.command("a GETQUOTAROOT INBOX").await,
        format!("* QUOTAROOT INBOX Casella\r\n{quota}a OK GETQUOTAROOT\r\n")
    );
    assert_eq!(client.command("b GETQUOTA \"Casella\"").await, format!("{quota}b OK GETQUOTA\r\n"));
    assert!(client.command("c GETQUOTAROOT \"Da creare\"").await.contains(quota));
    assert!(client.command("d GETQUOTA \"\"").await.starts_with("d NO [NONEXISTENT] "));
    assert!(client.command("e SETQUOTA Casella (STORAGE 1)").await.starts_with("e BAD "));
    let capabilities = client.command("f CAPABILITY").await;
    for capability in ["QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE", "QUOTA=RES-MAILBOX"] {
        assert!(capabilities.split_whitespace().any(|word| word == capability), "{capabilities}");
    }
}

#[tokio::test]
async fn a_resource_without_a_limit_is_not_told() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    let answer = client.command("a GETQUOTA Casella").await;
    assert_eq!(answer, "* QUOTA Casella (MAILBOX 1 10)\r\na OK GETQUOTA\r\n");
}

#[tokio::test]
async fn status_tells_what_an_expunge_would_give_back() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    account.deliver("INBOX", MESSAGE);
    let mut client = in_inbox(&account).await;
    assert!(
        client.command("a STATUS INBOX (DELETED-STORAGE)").await.contains("DELETED-STORAGE 0)")
    );
    client.command("b STORE 1 +FLAGS (\\Deleted)").await;
    let answer = client.command("c STATUS INBOX (DELETED DELETED-STORAGE)").await;
    let expected = format!("(DELETED 1 DELETED-STORAGE {})", MESSAGE.len());
    assert!(answer.contains(&expected), "{answer}");
}
