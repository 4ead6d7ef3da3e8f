//! SCRAM-SHA-256-PLUS on real connections: the login is bound to the TLS connection that it runs on
//! (RFC 5802 §6, RFC 9266), whatever the protocol.

#![allow(missing_docs)]

mod account;
#[path = "support/scram.rs"]
mod scram;
mod support;

use std::sync::Arc;

use account::memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD};
use protocols::{imap, pop3};
use scram::Client;
use support::{
    post::{Door, open, settings},
    wire::{OpenDoor, Wire, door},
};
use tokio::io::AsyncWriteExt;

/// How a protocol carries the messages: the command, what stands before a challenge, and how a login
/// is answered, right and wrong.
struct Carrier {
    command: &'static str,
    challenge: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const SMTP: Carrier = Carrier {
    command: "AUTH SCRAM-SHA-256-PLUS",
    challenge: "334 ",
    right: "235 2.7.0 ",
    wrong: "535 5.7.8 ",
};
const IMAP: Carrier = Carrier {
    command: "a AUTHENTICATE SCRAM-SHA-256-PLUS",
    challenge: "+ ",
    right: "a OK ",
    wrong: "a NO [AUTHENTICATIONFAILED] ",
};
const POP3: Carrier =
    Carrier { command: "AUTH SCRAM-SHA-256-PLUS", challenge: "+ ", right: "+OK ", wrong: "-ERR " };

trait LogsIn {
    async fn logs_in(&mut self, carrier: &Carrier, client: Client) -> bool;
}

impl LogsIn for Wire {
    async fn logs_in(&mut self, carrier: &Carrier, mut client: Client) -> bool {
        let answer = self.say(&format!("{} {}", carrier.command, client.first())).await;
        let Some(challenge) = answer.strip_prefix(carrier.challenge) else {
            assert!(answer.starts_with(carrier.wrong), "{answer}");
            return false;
        };
        let answer = self.say(&client.last(challenge)).await;
        let Some(signature) = answer.strip_prefix(carrier.challenge) else {
            assert!(answer.starts_with(carrier.wrong), "{answer}");
            return false;
        };
        assert!(client.believes(signature), "the server knows the password");
        let answer = self.say("").await;
        assert!(answer.starts_with(carrier.right), "{answer}");
        true
    }
}

async fn binds_to_its_connection(
    carrier: &Carrier,
    door: OpenDoor,
    (login, password): (&str, &str),
    greeting: Option<&str>,
) {
    let begin = async || {
        let mut wire = Wire::to(&door).await;
        if let Some(greeting) = greeting {
            let mut line = wire.say(greeting).await;
            while line.as_bytes()[3] == b'-' {
                line = wire.line().await;
            }
        }
        wire
    };
    let mut wire = begin().await;
    let client = Client::bound(login, password, &wire.0);
    assert!(wire.logs_in(carrier, client).await);
    // Somebody between two connections passes on what the client computed for the other one.
    let (mut wire, other) = (begin().await, begin().await);
    let relayed = Client::bound(login, password, &other.0);
    assert!(!wire.logs_in(carrier, relayed).await);
    let wrong = Client::bound(login, "another password", &wire.0);
    assert!(!wire.logs_in(carrier, wrong).await);
}

#[tokio::test]
async fn smtp_binds_a_login_to_its_connection_and_sees_an_offer_taken_away() {
    let office = open(Door::SubmissionTls, settings()).await;
    let known = ("tim@one.example", "tanstaaf");
    let at = OpenDoor { address: office.address, authority: office.made.authority.clone() };
    binds_to_its_connection(&SMTP, at.clone(), known, Some("EHLO client.example")).await;
    // "I could bind, but you do not offer it": we do (RFC 5802 §6).
    let unbound = Carrier { command: "AUTH SCRAM-SHA-256", ..SMTP };
    for (flag, expected) in [("n", true), ("y", false)] {
        let mut wire = Wire::to(&at).await;
        wire.0.write_all(b"EHLO client.example\r\n").await.unwrap();
        while wire.line().await.as_bytes()[3] == b'-' {}
        let client = Client::unbound(known.0, known.1, flag);
        assert_eq!(wire.logs_in(&unbound, client).await, expected, "{flag}");
    }
}

#[tokio::test]
async fn imap_binds_a_login_to_its_connection() {
    let mail = Arc::new(OneAccount(MemoryAccount::new()));
    let server = imap::Server::new(imap::ServerSettings::default(), Arc::new(OneLogin), mail);
    binds_to_its_connection(&IMAP, door(server).await, (ADDRESS, PASSWORD), None).await;
}

#[tokio::test]
async fn pop3_binds_a_login_to_its_connection() {
    let mail = Arc::new(OneAccount(MemoryAccount::new()));
    let server =
        pop3::Server::new(pop3::Pop3Limits::default(), Arc::new(OneLogin), mail, Arc::default());
    binds_to_its_connection(&POP3, door(server).await, (ADDRESS, PASSWORD), None).await;
}
