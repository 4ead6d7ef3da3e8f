//! A message that was erased, as clients see it: one line in the list, no content, and no error
//! for anything else in the mailbox.

mod account;

use std::sync::Arc;

use account::{
    client::{connect_pop3, in_inbox},
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD},
};
use protocols::pop3::{Pop3Limits, Server};

const SUBJECT: &str = "[Messaggio cancellato / Message erased]";

/// Three messages, the second of which is erased.
fn account() -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for subject in ["uno", "due", "tre"] {
        let message = format!("Subject: {subject}\r\n\r\n{subject}\r\n");
        account.deliver("INBOX", message.as_bytes());
    }
    account.erase(2);
    account
}

#[tokio::test]
async fn a_list_of_the_mailbox_shows_it_and_ends_with_ok() {
    let mut client = in_inbox(&account()).await;
    let listed = client
        .command("a FETCH 1:3 (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODYSTRUCTURE)")
        .await;
    assert!(listed.contains(&format!("{{52}}\r\nSubject: {SUBJECT}\r\n\r\n")), "{listed}");
    assert!(listed.contains("Subject: tre") && listed.contains("RFC822.SIZE 21"), "{listed}");
    assert!(listed.ends_with("a OK FETCH\r\n"), "{listed}");
    let envelopes = client.command("b FETCH 2 ENVELOPE").await;
    assert!(envelopes.contains(&format!("ENVELOPE (NIL \"{SUBJECT}\" NIL")), "{envelopes}");
    assert!(envelopes.ends_with("b OK FETCH\r\n"), "{envelopes}");
}

#[tokio::test]
async fn its_body_is_refused_for_good_and_never_served_as_other_octets() {
    let mut client = in_inbox(&account()).await;
    for item in ["BODY.PEEK[]", "BODY.PEEK[TEXT]", "BODY.PEEK[1]", "BODY.PEEK[]<0.10>"] {
        let answer = client.command(&format!("a FETCH 2 {item}")).await;
        assert!(answer.contains(" NIL)\r\na NO [CANNOT] Messaggio cancellato"), "{answer}");
    }
    let header = client.command("b FETCH 2 (BODY.PEEK[HEADER] BODY.PEEK[TEXT])").await;
    assert!(header.contains(SUBJECT) && header.contains("BODY[TEXT] NIL"), "{header}");
    assert!(header.contains("b NO [CANNOT]"), "{header}");
}

#[tokio::test]
async fn a_synchronisation_of_all_bodies_gets_the_others_and_ends_with_ok() {
    let mut client = in_inbox(&account()).await;
    let answer = client.command("a UID FETCH 1:* (UID BODY.PEEK[])").await;
    assert!(answer.contains("Subject: uno\r\n\r\nuno"), "{answer}");
    assert!(answer.contains("* 2 FETCH (UID 2 BODY[] NIL)"), "{answer}");
    assert!(answer.contains("Subject: tre\r\n\r\ntre"), "{answer}");
    assert!(answer.contains("a OK FETCH: alcuni messaggi"), "{answer}");
}

#[tokio::test]
async fn searches_pass_it_over_and_it_can_be_flagged_copied_and_expunged() {
    let account = account();
    account.make("Cestino");
    let mut client = in_inbox(&account).await;
    assert!(client.command("a SEARCH BODY due").await.starts_with("* SEARCH\r\na OK"));
    assert!(client.command("b SEARCH SUBJECT cancellato").await.starts_with("* SEARCH 2\r\nb OK"));
    assert!(client.command("c SEARCH TEXT tre").await.starts_with("* SEARCH 3\r\nc OK"));
    assert!(client.command("d COPY 2 Cestino").await.contains("d OK"));
    assert!(client.command("e STORE 2 +FLAGS (\\Deleted)").await.contains("e OK"));
    assert!(client.command("f EXPUNGE").await.starts_with("* 2 EXPUNGE\r\nf OK"));
}

#[tokio::test]
async fn a_pop3_client_that_takes_all_messages_is_not_stopped_by_it() {
    let mail = Arc::new(OneAccount(account()));
    let server = Server::new(Pop3Limits::default(), Arc::new(OneLogin), mail, Arc::default());
    let mut client = connect_pop3(&server, true).await;
    client.line().await;
    client.pop3(&format!("USER {ADDRESS}")).await;
    client.pop3(&format!("PASS {PASSWORD}")).await;
    assert!(client.pop3("STAT").await.starts_with("+OK 2 "));
    assert!(client.pop3_lines("UIDL").await.ends_with("\r\n1 1.1\r\n2 1.3\r\n.\r\n"));
    assert!(client.pop3_lines("RETR 2").await.contains("Subject: tre"));
}
