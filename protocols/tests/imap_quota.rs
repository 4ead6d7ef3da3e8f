//! GETQUOTA, GETQUOTAROOT and DELETED-STORAGE (RFC 9208), by transcripts.

mod account;

use account::{
    client::{in_inbox, logged_in},
    memory::MemoryAccount,
};

const MESSAGE: &[u8] = b"Subject: uno\r\n\r\nuno\r\n";

#[tokio::test]
async fn the_quota_root_of_live_mail_tells_storage_in_units_of_1024_octets() {
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
    assert!(client.command("e SETQUOTA Casella (STORAGE 1)").await.starts_with("e NO [NOPERM] "));
    let capabilities = client.command("f CAPABILITY").await;
    for capability in ["QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE", "QUOTA=RES-MAILBOX"] {
        assert!(capabilities.split_whitespace().any(|word| word == capability), "{capabilities}");
    }
}

#[tokio::test]
async fn the_archive_has_a_quota_root_of_its_own() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", MESSAGE);
    account.make("Archivio/2025");
    account.deliver("Archivio/2025", &[MESSAGE, &[b'x'; 2_000]].concat());
    account.set_limit(1 << 20);
    let mut client = in_inbox(&account).await;
    let quota = "* QUOTA Archivio (STORAGE 2 3072)\r\n";
    for name in ["Archivio", "Archivio/2025", "Archivio/2024/INBOX"] {
        assert_eq!(
            client.command(&format!("a GETQUOTAROOT {name}")).await,
            format!("* QUOTAROOT {name} Archivio\r\n{quota}a OK GETQUOTAROOT\r\n")
        );
    }
    assert_eq!(client.command("b GETQUOTA Archivio").await, format!("{quota}b OK GETQUOTA\r\n"));
    let live = "* QUOTA Casella (STORAGE 1 1024 MAILBOX 2 10)\r\n";
    assert!(client.command("c GETQUOTAROOT Archivio2").await.contains(live));
    let answer = client.command("d GETQUOTA Archivio/2025").await;
    assert!(answer.starts_with("d NO [NONEXISTENT] "), "{answer}");

    account.make_operator(&[("carlo@pec.example", 1 << 30)]);
    let mut client = logged_in(&account).await;
    assert_eq!(
        client.command("a GETQUOTA Archivio/carlo@pec.example").await,
        "* QUOTA Archivio/carlo@pec.example (STORAGE 0 1048576)\r\na OK GETQUOTA\r\n"
    );
    assert_eq!(
        client.command("b SETQUOTA Archivio/carlo@pec.example (STORAGE 1048577)").await,
        "* QUOTA Archivio/carlo@pec.example (STORAGE 0 2097152)\r\nb OK SETQUOTA\r\n"
    );
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

#[tokio::test]
async fn only_operators_set_space() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    for command in ["SETQUOTA Casella (STORAGE 512)", "SETQUOTA x@pec.example ()"] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a NO [NOPERM] "), "{command}: {answer}");
        assert!(answer.contains("acquista"), "{answer}");
    }
    let answer = client.command("b GETQUOTA carlo@pec.example").await;
    assert!(answer.starts_with("b NO [NONEXISTENT] "), "{answer}");
    assert!(client.command("c SETQUOTA Casella STORAGE").await.starts_with("c BAD"));
}

#[tokio::test]
async fn an_operator_sets_the_space_of_an_account_by_its_address() {
    let account = MemoryAccount::new();
    account.make_operator(&[("carlo@pec.example", 1 << 30)]);
    let mut client = logged_in(&account).await;
    assert_eq!(
        client.command("a GETQUOTA carlo@pec.example").await,
        "* QUOTA carlo@pec.example (STORAGE 0 1048576)\r\na OK GETQUOTA\r\n"
    );
    // RFC 9208 §4.1.3: what is set may be more than was asked for; the response tells it.
    assert_eq!(
        client.command("b SETQUOTA carlo@pec.example (STORAGE 1048577)").await,
        "* QUOTA carlo@pec.example (STORAGE 0 2097152)\r\nb OK SETQUOTA\r\n"
    );
    for (command, expected) in [
        ("SETQUOTA nessuno@pec.example (STORAGE 1)", "NO [NONEXISTENT] "),
        ("SETQUOTA Altro (STORAGE 1)", "NO [NONEXISTENT] "),
        ("SETQUOTA carlo@pec.example (STORAGE 18446744073709551615)", "NO [CANNOT] "),
        ("SETQUOTA carlo@pec.example (STORAGE 9999999999)", "NO [CANNOT] "),
        ("SETQUOTA carlo@pec.example (MESSAGE 5)", "NO [CANNOT] "),
        ("SETQUOTA carlo@pec.example ()", "NO [CANNOT] "),
    ] {
        let answer = client.command(&format!("c {command}")).await;
        assert!(answer.starts_with(&format!("c {expected}")), "{command}: {answer}");
    }
}

#[tokio::test]
async fn what_another_account_shares_has_no_quota_root_here() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let answer = client.command("a GETQUOTAROOT \"Altri utenti/posta@pec.example/INBOX\"").await;
    assert_eq!(
        answer,
        "* QUOTAROOT \"Altri utenti/posta@pec.example/INBOX\"\r\na OK GETQUOTAROOT\r\n"
    );
}
