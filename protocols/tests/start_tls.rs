//! TLS that begins in the middle: STARTTLS of IMAP (RFC 9051 §6.2.1) and STLS of POP3 (RFC 2595 §4).

mod account;
mod support;

use std::{sync::Arc, time::Duration};

use account::memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD};
use protocols::{
    imap::{self, ImapLimits, ServerSettings},
    pop3::{self, Pop3Limits},
};
use support::wire::{OpenDoor, Wire, clear_door, door};
use tokio::io::AsyncWriteExt;

fn account() -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    account.deliver("INBOX", b"Subject: x\r\n\r\n");
    account
}

fn pop3_server(limits: Pop3Limits) -> pop3::Server {
    pop3::Server::new(limits, Arc::new(OneLogin), Arc::new(OneAccount(account())), Arc::default())
}

fn imap_server(limits: ImapLimits) -> imap::Server {
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    imap::Server::new(settings, Arc::new(OneLogin), Arc::new(OneAccount(account())))
}

async fn pop3_door() -> OpenDoor {
    clear_door(|start_tls| pop3_server(Pop3Limits::default()).with_start_tls(start_tls)).await
}

async fn imap_door() -> OpenDoor {
    clear_door(|start_tls| imap_server(ImapLimits::default()).with_start_tls(start_tls)).await
}

#[tokio::test]
async fn stls_changes_what_is_offered_and_logins_are_taken() {
    let door = pop3_door().await;
    let mut wire = Wire::clear(&door).await;
    assert_eq!(wire.line().await, "+OK Ceralacca pronto / ready");
    let before = wire.lines("CAPA").await;
    assert!(before.contains(&"STLS".to_owned()), "{before:?}");
    assert!(!before.iter().any(|line| line == "USER" || line.starts_with("SASL")), "{before:?}");
    for command in ["USER x", "PASS x", "AUTH PLAIN", "AUTH PLAIN AHgAeA=="] {
        let answer = wire.say(command).await;
        assert_eq!(answer, "-ERR Serve una connessione TLS / Use TLS first", "{command}");
    }
    assert_eq!(wire.say("STLS now").await.split(' ').next(), Some("-ERR"));
    // What was chosen in the clear is not known afterwards.
    assert!(wire.say("LANG en").await.starts_with("+OK en "));
    assert_eq!(wire.say("STLS").await, "+OK Begin TLS");
    let mut wire = wire.secured(&door).await;
    // No second greeting: the next octets answer the next command.
    let after = wire.lines("CAPA").await;
    assert!(!after.contains(&"STLS".to_owned()), "{after:?}");
    assert!(after.contains(&"USER".to_owned()), "{after:?}");
    let sasl = "SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN".to_owned();
    assert!(after.contains(&sasl), "{after:?}");
    assert_eq!(wire.say("PASS x").await, "-ERR Prima USER / USER first");
    assert!(wire.say("STLS").await.starts_with("-ERR "));
    wire.say(&format!("USER {ADDRESS}")).await;
    assert!(wire.say(&format!("PASS {PASSWORD}")).await.starts_with("+OK 1 "));
    assert!(wire.say("STLS").await.starts_with("-ERR "));
    assert!(wire.say("QUIT").await.starts_with("+OK "));
}

#[tokio::test]
async fn starttls_changes_what_is_offered_and_logins_are_taken() {
    let door = imap_door().await;
    let mut wire = Wire::clear(&door).await;
    let greeting = wire.line().await;
    let before = wire.command("a CAPABILITY").await;
    for offer in [&greeting, &before] {
        assert!(offer.contains(" STARTTLS LOGINDISABLED"), "{offer}");
        assert!(!offer.contains("AUTH="), "{offer}");
    }
    let login = format!("LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"");
    for command in [login.as_str(), "AUTHENTICATE PLAIN AHgAeA==", "AUTHENTICATE LOGIN"] {
        let answer = wire.command(&format!("b {command}")).await;
        assert!(answer.starts_with("b NO [PRIVACYREQUIRED] "), "{command}: {answer}");
    }
    assert!(wire.command("c STARTTLS now").await.starts_with("c BAD "));
    assert_eq!(wire.command("d STARTTLS").await, "d OK Iniziare TLS / Begin TLS");
    let mut wire = wire.secured(&door).await;
    let after = wire.command("e CAPABILITY").await;
    assert!(!after.contains("STARTTLS") && !after.contains("LOGINDISABLED"), "{after}");
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        assert!(after.contains(&format!(" AUTH={mechanism}")), "{after}");
    }
    assert!(wire.command("f STARTTLS").await.starts_with("f BAD "));
    assert!(wire.command(&format!("g {login}")).await.starts_with("g OK "));
    assert!(wire.command("h STARTTLS").await.starts_with("h BAD "));
    assert!(wire.command("i SELECT INBOX").await.contains("* 1 EXISTS"));
}

/// Somebody between puts commands behind the one that starts TLS, in one segment.
#[tokio::test]
async fn nothing_that_came_in_the_clear_is_carried_out_under_tls() {
    let injected = ["CAPA\r\n", "USER x\r\nPASS y\r\n", "Q"];
    for octets in injected {
        let door = pop3_door().await;
        let mut wire = Wire::clear(&door).await;
        wire.line().await;
        wire.send(format!("STLS\r\n{octets}")).await;
        let rest = wire.rest().await;
        assert_eq!(
            rest,
            "-ERR Nulla puo' seguire STLS prima di TLS / Nothing may follow STLS before TLS\r\n"
        );
    }
    for octets in ["b CAPABILITY\r\n", "b LOGIN x y\r\nc NOOP\r\n", "b"] {
        let door = imap_door().await;
        let mut wire = Wire::clear(&door).await;
        wire.line().await;
        wire.send(format!("a STARTTLS\r\n{octets}")).await;
        let rest = wire.rest().await;
        assert_eq!(
            rest,
            "* BYE Nulla puo' seguire STARTTLS prima di TLS / Nothing may follow STARTTLS before TLS\r\n"
        );
    }
}

/// The same, later: the octets come when the answer is on its way. They are no TLS record.
#[tokio::test]
async fn octets_in_the_clear_behind_the_answer_end_the_connection() {
    for (door, command, more) in
        [(pop3_door().await, "STLS", "CAPA\r\n"), (imap_door().await, "a STARTTLS", "b NOOP\r\n")]
    {
        let mut wire = Wire::clear(&door).await;
        wire.line().await;
        assert!(wire.say(command).await.contains("OK "));
        wire.send(more).await;
        assert!(wire.handshake(&door).await.is_err());
    }
}

#[tokio::test]
async fn a_door_without_a_certificate_and_one_under_tls_offer_no_start_of_tls() {
    let pop3 = door(pop3_server(Pop3Limits::default())).await;
    let mut wire = Wire::to(&pop3).await;
    assert!(!wire.lines("CAPA").await.contains(&"STLS".to_owned()));
    assert_eq!(wire.say("STLS").await, "-ERR STLS non disponibile qui / STLS is not offered here");
    let imap = door(imap_server(ImapLimits::default())).await;
    let mut wire = Wire::to(&imap).await;
    assert!(!wire.command("a CAPABILITY").await.contains("STARTTLS"));
    assert_eq!(wire.command("b STARTTLS").await, "b BAD TLS e' gia' attivo / TLS runs already");
}

/// The time for logging in is one for both sessions: TLS does not begin it anew.
#[tokio::test]
async fn the_time_for_logging_in_goes_on_across_the_start_of_tls() {
    let time_max = Duration::from_secs(2);
    let limits = Pop3Limits { login_time_max: time_max, ..Pop3Limits::default() };
    let pop3 = clear_door(|start_tls| pop3_server(limits).with_start_tls(start_tls)).await;
    let limits = ImapLimits { login_time_max: time_max, ..ImapLimits::default() };
    let imap = clear_door(|start_tls| imap_server(limits).with_start_tls(start_tls)).await;
    for (door, command, then) in [(pop3, "STLS", "CAPA"), (imap, "a STARTTLS", "b NOOP")] {
        let mut wire = Wire::clear(&door).await;
        wire.line().await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert!(wire.say(command).await.contains("OK "));
        let mut wire = wire.secured(&door).await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let _ = wire.0.write_all(format!("{then}\r\n").as_bytes()).await;
        let rest = wire.rest().await;
        assert!(!rest.contains("OK"), "{rest}");
    }
}
