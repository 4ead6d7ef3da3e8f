//! POP3 by transcripts: RFC 1939 §4 to §7, RFC 2449.

mod account;
#[path = "support/scram.rs"]
mod scram;

use std::sync::Arc;

use account::{
    client::{Client, connect_pop3},
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD},
};
use protocols::pop3::{Pop3Limits, Server};
use scram::Client as ScramClient;
use tokio::io::AsyncWriteExt;

const FIRST: &[u8] = b"Subject: uno\r\n\r\n.\r\n..due\r\ntre\r\n";
const SECOND: &[u8] = b"Subject: due\r\n\r\nsenza fine";

fn server(account: &Arc<MemoryAccount>) -> Server {
    let mail = Arc::new(OneAccount(Arc::clone(account)));
    Server::new(Pop3Limits::default(), Arc::new(OneLogin), mail, Arc::default())
}

async fn greeted(server: &Server) -> Client {
    let mut client = connect_pop3(server, true).await;
    assert!(client.line().await.starts_with("+OK "));
    client
}

async fn logged_in(server: &Server) -> Client {
    let mut client = greeted(server).await;
    assert!(client.pop3(&format!("USER {ADDRESS}")).await.starts_with("+OK"));
    let answer = client.pop3(&format!("PASS {PASSWORD}")).await;
    assert!(answer.starts_with("+OK "), "{answer}");
    client
}

fn two_messages() -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    account.deliver("INBOX", FIRST);
    account.deliver("INBOX", SECOND);
    account
}

#[tokio::test]
async fn a_maildrop_is_listed_read_and_emptied_at_quit() {
    let account = two_messages();
    let server = server(&account);
    let mut client = logged_in(&server).await;
    let (one, two) = (FIRST.len(), SECOND.len());
    assert_eq!(client.pop3("STAT").await, format!("+OK 2 {}\r\n", one + two));
    assert!(client.pop3_lines("LIST").await.ends_with(&format!("\r\n1 {one}\r\n2 {two}\r\n.\r\n")));
    assert_eq!(client.pop3("LIST 2").await, format!("+OK 2 {two}\r\n"));
    assert!(client.pop3_lines("uidl").await.ends_with("\r\n1 1.1\r\n2 1.2\r\n.\r\n"));
    assert_eq!(client.pop3("UIDL 2").await, "+OK 2 1.2\r\n");
    assert_eq!(
        client.pop3_lines("RETR 1").await,
        format!("+OK {one} octets\r\nSubject: uno\r\n\r\n..\r\n...due\r\ntre\r\n.\r\n")
    );
    assert_eq!(
        client.pop3_lines("RETR 2").await,
        format!("+OK {two} octets\r\nSubject: due\r\n\r\nsenza fine\r\n.\r\n")
    );
    assert_eq!(
        client.pop3_lines("TOP 1 1").await,
        format!("+OK {one} octets\r\nSubject: uno\r\n\r\n..\r\n.\r\n")
    );
    assert_eq!(
        client.pop3_lines("TOP 1 0").await,
        format!("+OK {one} octets\r\nSubject: uno\r\n\r\n.\r\n")
    );
    assert!(client.pop3("DELE 1").await.starts_with("+OK"));
    assert!(client.pop3("DELE 1").await.starts_with("-ERR"));
    assert!(client.pop3("RETR 1").await.starts_with("-ERR"));
    assert_eq!(client.pop3("STAT").await, format!("+OK 1 {two}\r\n"));
    assert!(client.pop3("RSET").await.starts_with("+OK"));
    assert_eq!(client.pop3("STAT").await, format!("+OK 2 {}\r\n", one + two));
    assert!(client.pop3("DELE 2").await.starts_with("+OK"));
    assert_eq!(account.messages("INBOX").len(), 2, "nothing is deleted before QUIT");
    assert!(client.pop3("QUIT").await.starts_with("+OK"));
    assert_eq!(client.rest().await, "");
    let left = account.messages("INBOX");
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].0, &left[0].2[..]), (1, FIRST));
}

#[tokio::test]
async fn a_session_that_ends_without_quit_deletes_nothing() {
    let account = two_messages();
    let server = server(&account);
    let mut client = logged_in(&server).await;
    client.pop3("DELE 1").await;
    client.stream.shutdown().await.unwrap();
    client.rest().await;
    let mut client = logged_in(&server).await;
    assert!(client.pop3("STAT").await.starts_with("+OK 2 "));
    client.pop3("DELE 1").await;
    client.stopping.cancel();
    assert!(client.rest().await.starts_with("-ERR Server in chiusura"));
    assert_eq!(account.messages("INBOX").len(), 2);
}

#[tokio::test]
async fn an_account_has_one_session_and_the_lock_ends_with_it() {
    let account = two_messages();
    let server = server(&account);
    let mut first = logged_in(&server).await;
    let mut second = greeted(&server).await;
    second.pop3(&format!("USER {ADDRESS}")).await;
    let answer = second.pop3(&format!("PASS {PASSWORD}")).await;
    assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
    first.pop3("QUIT").await;
    first.rest().await;
    second.pop3(&format!("USER {ADDRESS}")).await;
    assert!(second.pop3(&format!("PASS {PASSWORD}")).await.starts_with("+OK"));
}

#[tokio::test]
async fn wrong_commands_and_logins_are_refused_and_too_many_end_the_session() {
    let account = MemoryAccount::new();
    let server = server(&account);
    let mut client = greeted(&server).await;
    for command in ["STAT", "RETR 1", "PASS x", "USER", "XYZZY", "", "QUIT now"] {
        assert!(client.pop3(command).await.starts_with("-ERR "), "{command}");
    }
    for _ in 0..3 {
        assert!(client.pop3(&format!("USER {ADDRESS}")).await.starts_with("+OK"));
        assert!(client.pop3("PASS wrong").await.starts_with("-ERR [AUTH] Nome utente"));
    }
    assert!(client.rest().await.starts_with("-ERR Troppi errori"));
    let mut client = logged_in(&server).await;
    for command in [
        "RETR",
        "RETR 0",
        "RETR 1",
        "RETR -1",
        "RETR x",
        "TOP 1",
        "DELE 99999999999999999999",
        "LIST 1 2",
        "LIST 1",
    ] {
        assert!(client.pop3(command).await.starts_with("-ERR "), "{command}");
    }
}

#[tokio::test]
async fn endless_lines_and_pipelined_commands_stay_within_bounds() {
    let account = two_messages();
    let server = server(&account);
    let mut client = logged_in(&server).await;
    client.send("NOOP\r\n".repeat(5_000)).await;
    for _ in 0..5_000 {
        assert_eq!(client.line().await, "+OK Fatto / Done\r\n");
    }
    let _ = client.stream.write_all(&vec![b'x'; 1 << 20]).await;
    let rest = client.rest().await;
    assert!(rest.is_empty() || rest.starts_with("-ERR Riga troppo lunga"), "{rest}");
    assert_eq!(account.messages("INBOX").len(), 2);
}

#[tokio::test]
async fn a_message_of_50_mb_is_streamed() {
    let account = MemoryAccount::new();
    let line = b".0123456789abcdef\r\n";
    let message =
        [b"Subject: x\r\n\r\n".as_slice(), &line.repeat((50 << 20) / line.len())].concat();
    account.deliver("INBOX", &message);
    let server = server(&account);
    let mut client = logged_in(&server).await;
    client.send("RETR 1\r\nQUIT\r\n").await;
    let rest = client.rest().await;
    let stuffed = message.len() + (50 << 20) / line.len();
    let head = format!("+OK {} octets\r\n", message.len());
    let tail = ".\r\n+OK Arrivederci / Goodbye\r\n";
    assert!(rest.starts_with(&head) && rest.ends_with(tail));
    assert_eq!(rest.len(), head.len() + stuffed + tail.len());
}

#[tokio::test]
async fn auth_logs_in_by_every_mechanism_that_capa_names() {
    let server = server(&two_messages());
    let mut client = greeted(&server).await;
    let capabilities = client.pop3_lines("CAPA").await;
    assert!(capabilities.contains("\r\nSASL SCRAM-SHA-256 PLAIN\r\n"), "{capabilities}");
    // "\0anna.rossi@pec.example\0ceralacca "1"", and another password.
    let right = "AGFubmEucm9zc2lAcGVjLmV4YW1wbGUAY2VyYWxhY2NhICIxIg==";
    assert!(client.pop3("AUTH CRAM-MD5").await.starts_with("-ERR "));
    assert!(client.pop3("AUTH PLAIN ?").await.starts_with("-ERR "));
    assert_eq!(client.pop3("AUTH PLAIN").await, "+ \r\n");
    assert!(client.pop3("*").await.starts_with("-ERR "));
    assert!(client.pop3("AUTH PLAIN =").await.starts_with("-ERR "));
    assert!(client.pop3(&format!("AUTH plain {right}")).await.starts_with("+OK 2 "));
    assert!(client.pop3("QUIT").await.starts_with("+OK"));
    drop(client);

    let mut client = greeted(&server).await;
    let mut scram = ScramClient::unbound(ADDRESS, PASSWORD, "n");
    let challenge = client.pop3(&format!("AUTH SCRAM-SHA-256 {}", scram.first())).await;
    let last = scram.last(challenge.strip_prefix("+ ").unwrap().trim_end());
    let signature = client.pop3(&last).await;
    assert!(scram.believes(signature.strip_prefix("+ ").unwrap().trim_end()));
    assert!(client.pop3("").await.starts_with("+OK 2 "));
}

/// RFC 6856 and headers in UTF-8 (RFC 6532): a client that has not said UTF8 gets the octets that came,
/// all of them, and none is stopped by a message that it could not take.
#[tokio::test]
async fn octets_of_a_message_in_utf_8_are_the_same_without_utf8() {
    let account = MemoryAccount::new();
    let header = "From: \"Nicolò\" <nicolo@pec.example>\r\nSubject: perché\r\n\r\n";
    let mail = format!("{header}così\r\nsia\r\n");
    account.deliver("INBOX", mail.as_bytes());
    let server = server(&account);
    for utf8 in [false, true] {
        let mut client = greeted(&server).await;
        if utf8 {
            assert!(client.pop3("UTF8").await.starts_with("+OK"));
        }
        client.pop3(&format!("USER {ADDRESS}")).await;
        assert!(client.pop3(&format!("PASS {PASSWORD}")).await.starts_with("+OK 1 "));
        let octets = format!("+OK {} octets\r\n", mail.len());
        assert_eq!(client.pop3_lines("RETR 1").await, format!("{octets}{mail}.\r\n"));
        assert_eq!(client.pop3_lines("TOP 1 1").await, format!("{octets}{header}così\r\n.\r\n"));
        client.pop3("QUIT").await;
    }
}
