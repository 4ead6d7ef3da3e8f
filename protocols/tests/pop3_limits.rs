//! What slow, silent and greedy clients of POP3 get: an end, and no more memory than the limits.

mod account;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use account::{
    client::{Client, connect_pop3},
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD},
};
use protocols::{
    pop3::{Pop3Limits, Server},
    sessions::{SessionLimits, SessionLimitsSettings},
};
use tokio::io::AsyncReadExt;

fn server_with(account: &Arc<MemoryAccount>, limits: Pop3Limits) -> Server {
    let mail = Arc::new(OneAccount(Arc::clone(account)));
    Server::new(limits, Arc::new(OneLogin), mail, Arc::default())
}

async fn greeted(server: &Server) -> Client {
    let mut client = connect_pop3(server, true).await;
    assert!(client.line().await.starts_with("+OK "));
    client
}

async fn log_in(client: &mut Client) -> String {
    assert!(client.pop3(&format!("USER {ADDRESS}")).await.starts_with("+OK"));
    client.pop3(&format!("PASS {PASSWORD}")).await
}

fn large(octets: usize) -> Vec<u8> {
    let line = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    [b"Subject: x\r\n\r\n".as_slice(), &line.repeat(octets / line.len())].concat()
}

/// A message of 50 MB is read from the store as the client takes it: what waits is the socket's
/// buffers and one piece.
#[tokio::test]
async fn a_client_that_does_not_read_holds_one_piece_of_a_large_message() {
    let account = MemoryAccount::new();
    let message = large(50 << 20);
    account.deliver("INBOX", &message);
    let server = server_with(&account, Pop3Limits::default());
    let mut client = greeted(&server).await;
    assert!(log_in(&mut client).await.starts_with("+OK 1 "));
    client.send("RETR 1\r\nQUIT\r\n").await;
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let reads = account.reads.load(Ordering::SeqCst);
        if reads == before && reads > 0 {
            break;
        }
        before = reads;
    }
    // 64 KiB a piece: 800 are the whole message; Linux buffers 10 MB at most on the way.
    assert!(before < 400, "{before} pieces were read for nobody");
    let rest = client.rest().await;
    let head = format!("+OK {} octets\r\n", message.len());
    assert!(rest.starts_with(&head) && rest.ends_with(".\r\n+OK Arrivederci / Goodbye\r\n"));
    assert_eq!(&rest.as_bytes()[head.len()..head.len() + message.len()], message.as_slice());
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection_and_its_lock() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", &large(50 << 20));
    let limits = Pop3Limits { write_time_max: Duration::from_millis(300), ..Pop3Limits::default() };
    let server = server_with(&account, limits);
    let mut slow = greeted(&server).await;
    assert!(log_in(&mut slow).await.starts_with("+OK 1 "));
    slow.send("DELE 1\r\nRSET\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n").await;
    let mut answer = String::new();
    for _ in 0..200 {
        let mut client = greeted(&server).await;
        answer = log_in(&mut client).await;
        if answer.starts_with("+OK 1 ") {
            return;
        }
        assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the lock is kept for a client that reads nothing: {answer}");
}

#[tokio::test]
async fn a_silent_session_ends_without_a_word_and_deletes_nothing() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", b"Subject: x\r\n\r\n");
    let limits = Pop3Limits { idle_time_max: Duration::from_millis(300), ..Pop3Limits::default() };
    let server = server_with(&account, limits);
    let mut client = greeted(&server).await;
    assert!(log_in(&mut client).await.starts_with("+OK 1 "));
    assert!(client.pop3("DELE 1").await.starts_with("+OK "));
    // RFC 1939 §3: the server closes without entering the update state.
    assert_eq!(client.rest().await, "");
    assert_eq!(account.messages("INBOX").len(), 1);
}

#[tokio::test]
async fn who_does_not_log_in_in_time_is_closed_however_much_he_says() {
    let limits = Pop3Limits { login_time_max: Duration::from_millis(500), ..Pop3Limits::default() };
    let server = server_with(&MemoryAccount::new(), limits);
    let mut client = greeted(&server).await;
    for _ in 0..200 {
        client.send("CAPA\r\n").await;
        let mut octet = [0];
        if client.stream.read(&mut octet).await.unwrap_or(0) == 0 {
            return;
        }
        client.pop3_rest_of_list().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the session goes on without a login");
}

#[tokio::test]
async fn wrong_commands_in_a_row_end_the_session_and_a_right_one_begins_anew() {
    let limits = Pop3Limits { bad_commands_max: 3, ..Pop3Limits::default() };
    let server = server_with(&MemoryAccount::new(), limits);
    let mut client = greeted(&server).await;
    for _ in 0..2 {
        assert!(client.pop3("XYZZY").await.starts_with("-ERR Comando sconosciuto"));
        assert!(client.pop3("\u{0}\u{1}").await.starts_with("-ERR Comando sconosciuto"));
        assert!(client.pop3("LANG it").await.starts_with("+OK it "));
        assert!(client.pop3("LANG i-default").await.starts_with("+OK "));
    }
    client.send("X\r\nX\r\nX\r\nCAPA\r\n").await;
    let rest = client.rest().await;
    assert!(rest.ends_with("\r\n-ERR Troppi errori / Too many errors\r\n"), "{rest}");
    assert_eq!(rest.lines().count(), 4, "{rest}");
}

#[tokio::test]
async fn sessions_are_counted_by_account_and_by_address_and_given_back() {
    let account = MemoryAccount::new();
    let settings = SessionLimitsSettings { per_account_max: 0, per_source_max: 9 };
    let of = |settings| {
        let mail = Arc::new(OneAccount(Arc::clone(&account)));
        let sessions = SessionLimits::new(settings);
        Server::new(Pop3Limits::default(), Arc::new(OneLogin), mail, sessions)
    };
    let mut client = greeted(&of(settings)).await;
    assert_eq!(
        log_in(&mut client).await,
        "-ERR [IN-USE] Troppe sessioni aperte su questa casella: chiuderne una / Too many sessions \
         of this account are open: close one\r\n"
    );
    let settings = SessionLimitsSettings { per_account_max: 9, per_source_max: 0 };
    let mut client = greeted(&of(settings)).await;
    let answer = log_in(&mut client).await;
    assert!(answer.starts_with("-ERR [SYS/TEMP] Troppe sessioni aperte da questo"), "{answer}");
    // A refusal keeps neither a place nor the lock.
    let server = of(SessionLimitsSettings { per_account_max: 1, per_source_max: 1 });
    for _ in 0..3 {
        let mut client = greeted(&server).await;
        assert!(log_in(&mut client).await.starts_with("+OK "));
        client.pop3("QUIT").await;
        client.rest().await;
    }
}
