//! SCRAM-SHA-256-PLUS on real connections: the login is bound to the TLS connection that it runs on
//! (RFC 5802 §6, RFC 9266), whatever the protocol.

#![allow(missing_docs)]

mod account;
#[path = "support/scram.rs"]
mod scram;
mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use account::memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin, PASSWORD};
use protocols::{
    imap,
    net::{
        self, Listener, SessionHandler,
        limits::{ConnectionLimits, ConnectionLimitsSettings},
        stream::ConnectionStream,
        tls::{TlsClient, TlsContext},
    },
    pop3,
};
use scram::Client;
use support::{
    certificates,
    post::{Door, open, settings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

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

struct Wire(ConnectionStream);

impl Wire {
    async fn to(address: SocketAddr, authority: &[u8]) -> Self {
        let client = TlsClient::verified_by(authority).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut wire = Self(client.connect("localhost", stream, SOON).await.unwrap());
        wire.line().await;
        wire
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(line).unwrap().trim_end_matches("\r\n").to_owned()
    }

    async fn say(&mut self, text: &str) -> String {
        self.0.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
        self.line().await
    }

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

/// Opens a door under TLS; returns its address and the authority.
async fn door<H: SessionHandler>(handler: H) -> (SocketAddr, Vec<u8>) {
    let made = certificates();
    let tls = TlsContext::from_pem(&made.chain, &made.key).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let limits = ConnectionLimits::new(ConnectionLimitsSettings::default());
    let listener = Listener::new(socket, Some(tls));
    tokio::spawn(net::serve(listener, limits, CancellationToken::new(), Arc::new(handler)));
    (address, made.authority)
}

async fn binds_to_its_connection(
    carrier: &Carrier,
    (address, authority): (SocketAddr, Vec<u8>),
    (login, password): (&str, &str),
    greeting: Option<&str>,
) {
    let begin = async || {
        let mut wire = Wire::to(address, &authority).await;
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
    let at = (office.address, office.made.authority.clone());
    binds_to_its_connection(&SMTP, at, known, Some("EHLO client.example")).await;
    // "I could bind, but you do not offer it": we do (RFC 5802 §6).
    let unbound = Carrier { command: "AUTH SCRAM-SHA-256", ..SMTP };
    for (flag, expected) in [("n", true), ("y", false)] {
        let mut wire = Wire::to(office.address, &office.made.authority).await;
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
    let server = pop3::Server::new(pop3::Pop3Limits::default(), Arc::new(OneLogin), mail);
    binds_to_its_connection(&POP3, door(server).await, (ADDRESS, PASSWORD), None).await;
}
