//! Every command in every state with every kind of syntax, and the reply to it (RFC 5321 §4.1, §4.2, §4.3.2).
//!
//! A table cell is the reply in that state; each cell has a connection of its own. Every code that is
//! seen must be one that the standards list for the command.

#![allow(missing_docs)]

mod support;

use std::time::Duration;

use protocols::{
    net::{stream::ConnectionStream, tls::TlsClient},
    smtp::server::ServerSettings,
};
use support::post::{Door, Office, open, settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(20);

struct Client(ConnectionStream);

impl Client {
    async fn clear(office: &Office) -> Self {
        let stream = TcpStream::connect(office.address).await.unwrap();
        let mut client = Self(ConnectionStream::Plain(stream));
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    async fn secured(office: &Office) -> Self {
        let stream = TcpStream::connect(office.address).await.unwrap();
        let tls = TlsClient::verified_by(&office.made.authority).unwrap();
        let mut client = Self(tls.connect("localhost", stream, SOON).await.unwrap());
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// The last line of the next reply; empty when the server has closed.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                match timeout(SOON, self.0.read_u8()).await.expect("a reply in time") {
                    Ok(octet) => line.push(octet),
                    Err(_) => return String::new(),
                }
            }
            let line = String::from_utf8(line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end_matches("\r\n").to_owned();
            }
        }
    }

    async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.0.write_all(octets.as_ref()).await.unwrap();
    }

    async fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        self.send([octets.as_ref(), b"\r\n"].concat()).await;
        self.reply().await
    }

    async fn rest(&mut self) -> String {
        let mut octets = Vec::new();
        let _ = timeout(SOON, self.0.read_to_end(&mut octets)).await.expect("the server closes");
        String::from_utf8_lossy(&octets).into_owned()
    }
}

const EHLO: &str = "EHLO client.example";
const LOGIN: &str = "AUTH PLAIN AHRpbUBvbmUuZXhhbXBsZQB0YW5zdGFhZg==";
const MAIL: &str = "MAIL FROM:<a@b.example>";
const RCPT: &str = "RCPT TO:<c@one.example>";
const CHUNK: &str = "BDAT 2\r\n\r\n";

/// The states of a relay session, and how they are reached.
const RELAY_STATES: [&[&str]; 6] = [
    &[],
    &["HELO client.example"],
    &[EHLO],
    &[EHLO, MAIL],
    &[EHLO, MAIL, RCPT],
    &[EHLO, MAIL, RCPT, CHUNK],
];

/// What is said, and the reply: connected, after HELO, after EHLO, after MAIL, after RCPT, in chunks.
const RELAY: [(&str, [&str; 6]); 65] = [
    ("EHLO client.example", ["250"; 6]),
    ("ehlo CLIENT.example", ["250"; 6]),
    ("EHLO [192.0.2.1]", ["250"; 6]),
    ("EHLO [IPv6:2001:db8::1]", ["250"; 6]),
    ("EHLO", ["501 5.5.4"; 6]),
    ("EHLO a b", ["501 5.5.4"; 6]),
    ("EHLO <client>", ["501 5.5.4"; 6]),
    ("HELO client.example", ["250"; 6]),
    ("HELO", ["501 5.5.4"; 6]),
    (MAIL, ["503 5.5.1", "250 2.1.0", "250 2.1.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"]),
    (
        "MAIL FROM:<>",
        ["503 5.5.1", "250 2.1.0", "250 2.1.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<@r.example:a@b.example>",
        ["503 5.5.1", "250 2.1.0", "250 2.1.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> SIZE=9",
        ["503 5.5.1", "555 5.5.4", "250 2.1.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> SIZE=200001",
        ["503 5.5.1", "555 5.5.4", "552 5.3.4", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> SIZE=x",
        ["503 5.5.1", "555 5.5.4", "501 5.5.4", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> BODY=8BITMIME",
        ["503 5.5.1", "555 5.5.4", "250 2.1.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> BODY=BINARYMIME",
        ["503 5.5.1", "555 5.5.4", "555 5.6.1", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> BODY",
        ["503 5.5.1", "555 5.5.4", "555 5.5.4", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> SMTPUTF8",
        ["503 5.5.1", "555 5.5.4", "250 2.1.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ314159",
        ["503 5.5.1", "555 5.5.4", "250 2.1.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> RET=ALL",
        ["503 5.5.1", "555 5.5.4", "501 5.5.4", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> AUTH=<>",
        ["503 5.5.1", "555 5.5.4", "555 5.5.4", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<a@b.example> HOLDFOR=9",
        ["503 5.5.1", "555 5.5.4", "555 5.5.4", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<è@b.example>",
        ["503 5.5.1", "553 5.6.7", "553 5.6.7", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<refused@b.example>",
        ["503 5.5.1", "550 5.7.1", "550 5.7.1", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    (
        "MAIL FROM:<later@b.example>",
        ["503 5.5.1", "451 4.3.0", "451 4.3.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    ("MAIL", ["501 5.5.4"; 6]),
    ("MAIL FROM:", ["501 5.5.4"; 6]),
    ("MAIL FROM:a@b.example", ["501 5.5.4"; 6]),
    ("MAIL FROM:<a@b.example", ["501 5.5.4"; 6]),
    ("MAIL FROM:<a>", ["501 5.5.4"; 6]),
    ("MAIL TO:<a@b.example>", ["501 5.5.4"; 6]),
    ("MAIL FROM:<a@b.example> SIZE=1 size=1", ["501 5.5.4"; 6]),
    (RCPT, ["503 5.5.1", "503 5.5.1", "503 5.5.1", "250 2.1.5", "250 2.1.5", "503 5.5.1"]),
    (
        "RCPT TO:<Postmaster>",
        ["503 5.5.1", "503 5.5.1", "503 5.5.1", "250 2.1.5", "250 2.1.5", "503 5.5.1"],
    ),
    (
        "RCPT TO:<refused@one.example>",
        ["503 5.5.1", "503 5.5.1", "503 5.5.1", "550 5.7.1", "550 5.7.1", "503 5.5.1"],
    ),
    (
        "RCPT TO:<è@one.example>",
        ["503 5.5.1", "503 5.5.1", "503 5.5.1", "553 5.6.7", "553 5.6.7", "503 5.5.1"],
    ),
    (
        "RCPT TO:<c@one.example> NOTIFY=NEVER ORCPT=rfc822;c@one.example",
        ["503 5.5.1", "503 5.5.1", "503 5.5.1", "250 2.1.5", "250 2.1.5", "503 5.5.1"],
    ),
    (
        "RCPT TO:<c@one.example> NOTIFY=NEVER,DELAY",
        ["503 5.5.1", "503 5.5.1", "503 5.5.1", "501 5.5.4", "501 5.5.4", "503 5.5.1"],
    ),
    (
        "RCPT TO:<c@one.example> FOO=1",
        ["503 5.5.1", "503 5.5.1", "503 5.5.1", "555 5.5.4", "555 5.5.4", "503 5.5.1"],
    ),
    ("RCPT TO:<>", ["501 5.5.4"; 6]),
    ("RCPT TO:<c>", ["501 5.5.4"; 6]),
    ("RCPT", ["501 5.5.4"; 6]),
    ("DATA", ["503 5.5.1", "503 5.5.1", "503 5.5.1", "554 5.5.1", "354", "503 5.5.1"]),
    ("DATA now", ["501 5.5.4"; 6]),
    ("BDAT 0", ["503 5.5.1", "503 5.5.1", "503 5.5.1", "554 5.5.1", "250 2.0.0", "250 2.0.0"]),
    ("BDAT 0 LAST", ["503 5.5.1", "503 5.5.1", "503 5.5.1", "554 5.5.1", "250 2.0.0", "250 2.0.0"]),
    ("BDAT", ["501 5.5.4"; 6]),
    ("BDAT x", ["501 5.5.4"; 6]),
    ("BDAT 99999999999999999999999", ["501 5.5.4"; 6]),
    ("RSET", ["250 2.0.0"; 6]),
    ("RSET now", ["501 5.5.4"; 6]),
    ("NOOP", ["250 2.0.0"; 6]),
    ("NOOP whatever it says", ["250 2.0.0"; 6]),
    ("VRFY c", ["252 2.1.5"; 6]),
    ("VRFY", ["501 5.5.4"; 6]),
    ("HELP", ["214 2.0.0"; 6]),
    ("HELP data", ["214 2.0.0"; 6]),
    ("HELP nothing", ["504 5.5.4"; 6]),
    ("EXPN list", ["502 5.5.1"; 6]),
    (
        "AUTH PLAIN =",
        ["503 5.5.1", "502 5.5.1", "502 5.5.1", "503 5.5.1", "503 5.5.1", "503 5.5.1"],
    ),
    ("STARTTLS now", ["501 5.5.4"; 6]),
    ("QUIT", ["221 2.0.0"; 6]),
    ("QUIT now", ["501 5.5.4"; 6]),
    ("XYZZY", ["500 5.5.1"; 6]),
];

/// What the standards list for a command, besides 500, 501 and 421, which any may get: RFC 5321
/// §4.3.2, RFC 4954 §6, RFC 3207 §4, RFC 3030 §2, RFC 6531 §3.5 (RFC 3461 adds none).
fn listed(command: &str) -> &'static [u16] {
    match command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
        "EHLO" | "HELO" => &[250, 504, 550, 502],
        "MAIL" => &[250, 552, 451, 452, 550, 553, 503, 455, 555, 530],
        "RCPT" => &[250, 251, 550, 551, 552, 553, 450, 451, 452, 503, 455, 555, 530],
        "DATA" | "BDAT" => &[354, 250, 552, 554, 451, 452, 450, 550, 503, 530],
        "RSET" | "NOOP" => &[250],
        "VRFY" | "EXPN" => &[250, 251, 252, 550, 551, 553, 502, 504],
        "HELP" => &[211, 214, 502, 504],
        "QUIT" => &[221],
        "AUTH" => &[235, 334, 432, 454, 502, 503, 504, 530, 534, 535, 538],
        "STARTTLS" => &[220, 454, 502, 503],
        _ => &[],
    }
}

fn assert_listed(command: &str, reply: &str) {
    let code: u16 = reply[..3].parse().unwrap();
    let anybody = [500, 501, 421];
    assert!(listed(command).contains(&code) || anybody.contains(&code), "{command}: {reply}");
}

#[tokio::test]
async fn every_command_is_answered_by_the_standard_in_every_state_of_a_relay_session() {
    let office = open(Door::RelayClear, settings()).await;
    for (command, expected) in RELAY {
        for (state, expected) in RELAY_STATES.into_iter().zip(expected) {
            let mut client = Client::clear(&office).await;
            for step in state {
                client.send(format!("{step}\r\n").replace("\r\n\r\n\r\n", "\r\n\r\n")).await;
                assert!(client.reply().await.starts_with("250 "), "{step}");
            }
            let reply = client.say(command).await;
            assert!(
                reply.starts_with(&format!("{expected} ")),
                "{command:?} after {state:?}: {reply}"
            );
            assert_listed(command, &reply);
            // Whatever it was, the session goes on, unless it has said goodbye or lost count.
            let ends =
                command == "QUIT" || (command.starts_with("BDAT") && reply.starts_with("501"));
            let next = if reply.starts_with("354") {
                client.say(".").await
            } else {
                client.say("NOOP").await
            };
            assert_eq!(next.is_empty(), ends, "{command:?} after {state:?}: {next}");
            assert!(ends || next.starts_with("250 "), "{command:?} after {state:?}: {next}");
        }
    }
}

/// In the clear, under TLS, logged in, in a transaction.
const SUBMISSION: [(&str, [&str; 4]); 12] = [
    ("MAIL FROM:<tim@one.example>", ["530 5.7.0", "530 5.7.0", "250 2.1.0", "503 5.5.1"]),
    ("RCPT TO:<c@two.example>", ["530 5.7.0", "530 5.7.0", "503 5.5.1", "250 2.1.5"]),
    ("DATA", ["530 5.7.0", "530 5.7.0", "503 5.5.1", "554 5.5.1"]),
    ("BDAT 0 LAST", ["530 5.7.0", "530 5.7.0", "503 5.5.1", "554 5.5.1"]),
    (LOGIN, ["538 5.7.11", "235 2.7.0", "503 5.5.1", "503 5.5.1"]),
    ("AUTH PLAIN AHRpbUBvbmUuZXhhbXBsZQB4", ["538 5.7.11", "535 5.7.8", "503 5.5.1", "503 5.5.1"]),
    ("AUTH PLAIN !", ["501 5.5.2", "501 5.5.2", "501 5.5.2", "501 5.5.2"]),
    ("AUTH X-UNKNOWN", ["538 5.7.11", "504 5.5.4", "503 5.5.1", "503 5.5.1"]),
    ("AUTH LOGIN", ["538 5.7.11", "334", "503 5.5.1", "503 5.5.1"]),
    ("AUTH", ["501 5.5.4"; 4]),
    ("STARTTLS", ["220 2.0.0", "503 5.5.1", "503 5.5.1", "503 5.5.1"]),
    ("VRFY tim@one.example", ["252 2.1.5"; 4]),
];

#[tokio::test]
async fn every_command_is_answered_by_the_standard_in_every_state_of_a_submission() {
    let clear = open(Door::SubmissionStartTls, settings()).await;
    let secured = open(Door::SubmissionTls, settings()).await;
    let steps: [&[&str]; 4] =
        [&[EHLO], &[EHLO], &[EHLO, LOGIN], &[EHLO, LOGIN, "MAIL FROM:<tim@one.example>"]];
    for (command, expected) in SUBMISSION {
        for (number, expected) in expected.into_iter().enumerate() {
            let mut client = if number == 0 {
                Client::clear(&clear).await
            } else {
                Client::secured(&secured).await
            };
            for step in steps[number] {
                assert!(client.say(step).await.starts_with('2'), "{step}");
            }
            let reply = client.say(command).await;
            assert!(reply.starts_with(&format!("{expected} ")), "{command:?} in {number}: {reply}");
            assert_listed(command, &reply);
        }
    }
}

/// Line ends that stand before and after the dot, and around it.
const LINE_ENDS: [&str; 9] =
    ["\r\n", "\n", "\r", "\r\r", "\n\n", "\n\r", "\r\r\n", "\0\r\n", "\r\0\n"];

/// What a server that reads the false end as a true one would find.
const HIDDEN: &str = "MAIL FROM:<ceo@one.example>\r\nRCPT TO:<c@one.example>\r\nDATA\r\nhi";

#[tokio::test]
async fn no_line_end_but_the_true_one_ends_data_and_each_other_refuses_the_message() {
    let bounded = ServerSettings { errors_max: 1_000, ..settings() };
    let office = open(Door::RelayClear, bounded).await;
    let mut client = Client::clear(&office).await;
    client.say(EHLO).await;
    let mut variants = 0;
    for before in LINE_ENDS {
        for after in LINE_ENDS {
            // Between these two stands the true end, whatever came before it.
            if before.ends_with("\r\n") && after.starts_with("\r\n") {
                continue;
            }
            variants += 1;
            let end = format!("{before}.{after}");
            assert!(client.say(MAIL).await.starts_with("250 "), "{end:?}");
            assert!(client.say(RCPT).await.starts_with("250 "), "{end:?}");
            assert!(client.say("DATA").await.starts_with("354 "), "{end:?}");
            client.send(format!("Subject: x\r\n\r\nbody{end}{HIDDEN}\r\n.\r\n")).await;
            let reply = client.reply().await;
            assert!(reply.starts_with("554 5.6.0 "), "{end:?}: {reply}");
            assert_eq!(
                client.say("NOOP").await,
                "250 2.0.0 Ok",
                "{end:?}: one reply for all of it"
            );
        }
    }
    assert_eq!((variants, office.post.taken().len()), (78, 0));
}

#[tokio::test]
async fn in_chunks_a_dot_is_text_and_each_false_line_end_refuses_the_message() {
    let bounded = ServerSettings { errors_max: 1_000, ..settings() };
    let office = open(Door::RelayClear, bounded).await;
    let mut client = Client::clear(&office).await;
    client.say(EHLO).await;
    for before in LINE_ENDS {
        for after in LINE_ENDS {
            // The chunk ends within the line end, too.
            for cut in 0..=before.len() + 1 {
                let body = format!("Subject: x\r\n\r\nbody{before}.{after}{HIDDEN}\r\n.\r\n");
                let (first, last) = body.split_at("Subject: x\r\n\r\nbody".len() + cut);
                assert!(client.say(MAIL).await.starts_with("250 "));
                assert!(client.say(RCPT).await.starts_with("250 "));
                let chunks = format!(
                    "BDAT {}\r\n{first}BDAT {} LAST\r\n{last}NOOP\r\n",
                    first.len(),
                    last.len()
                );
                client.send(chunks).await;
                let (first_reply, last_reply) = (client.reply().await, client.reply().await);
                let what =
                    format!("{before:?}.{after:?} cut at {cut}: {first_reply}; {last_reply}");
                if (before, after) == ("\r\n", "\r\n") {
                    assert!(last_reply.starts_with("250 2.0.0 taken as "), "{what}");
                    let taken = office.post.taken.lock().unwrap().pop().expect("a message");
                    assert_eq!(String::from_utf8(taken.octets).unwrap(), body, "text, as it is");
                } else {
                    let refused = [&first_reply, &last_reply]
                        .into_iter()
                        .find(|reply| !reply.starts_with("250 "));
                    assert!(refused.is_some_and(|reply| reply.starts_with("554 5.6.0 ")), "{what}");
                }
                assert_eq!(client.reply().await, "250 2.0.0 Ok", "{what}");
            }
        }
    }
    assert_eq!(office.post.taken().len(), 0);
}

#[tokio::test]
async fn one_octet_at_a_time_is_a_session_like_any_other() {
    let office = open(Door::Relay, settings()).await;
    let stream = TcpStream::connect(office.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut client = Client(ConnectionStream::Plain(stream));
    client.reply().await;
    let octet_by_octet = async |client: &mut Client, text: &str| {
        for octet in text.bytes() {
            client.send([octet]).await;
            tokio::task::yield_now().await;
        }
    };
    octet_by_octet(&mut client, &format!("{EHLO}\r\nSTARTTLS\r\n")).await;
    assert!(client.reply().await.starts_with("250 "));
    assert!(client.reply().await.starts_with("220 "));
    let ConnectionStream::Plain(stream) = client.0 else { panic!("in the clear") };
    let tls = TlsClient::verified_by(&office.made.authority).unwrap();
    let mut client = Client(tls.connect("localhost", stream, SOON).await.unwrap());
    let message = "Subject: x\r\n\r\nuno\r\n";
    let chunks = format!(
        "{EHLO}\r\n{MAIL}\r\n{RCPT}\r\nBDAT 5\r\n{}BDAT {} LAST\r\n{}{MAIL}\r\n{RCPT}\r\nDATA\r\n{message}.\r\nQUIT\r\n",
        &message[..5],
        message.len() - 5,
        &message[5..],
    );
    octet_by_octet(&mut client, &chunks).await;
    let replies = client.rest().await;
    assert!(replies.ends_with("221 2.0.0 goodbye\r\n"), "{replies}");
    let taken: Vec<_> = office.post.taken().into_iter().map(|taken| taken.octets).collect();
    assert_eq!(taken, [message.as_bytes(), message.as_bytes()]);
}

#[tokio::test]
async fn garbage_in_the_pipeline_is_answered_line_by_line_and_changes_nothing() {
    let bounded = ServerSettings { errors_max: 1_000, ..settings() };
    let office = open(Door::RelayClear, bounded).await;
    let mut client = Client::clear(&office).await;
    // A generator of octets that needs no source of randomness: the digits of a power.
    let mut number = 1_u64;
    let mut octet = move || {
        number =
            number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        number.to_be_bytes()[0]
    };
    let mut garbage = || -> Vec<u8> {
        let length = usize::from(octet() % 60);
        (0..length).map(|_| octet()).filter(|octet| !b"\r\n".contains(octet)).collect()
    };
    let good = [EHLO, MAIL, RCPT, "BDAT 12 LAST\r\nSubject: x\r", "QUIT"];
    let (mut group, mut bad) = (Vec::new(), 0);
    for command in good {
        for _ in 0..40 {
            group.extend([garbage(), b"\r\n".to_vec()].concat());
            bad += 1;
        }
        group.extend(format!("{command}\r\n").replace("\r\r\n", "\r\n").into_bytes());
    }
    client.send(group).await;
    let replies = client.rest().await;
    let last: Vec<&str> = replies.lines().filter(|line| line.as_bytes()[3] == b' ').collect();
    assert_eq!(last.len(), bad + good.len(), "{replies}");
    assert_eq!(last.iter().filter(|line| line.starts_with("500 5.5.")).count(), bad, "{replies}");
    assert!(last.ends_with(&["221 2.0.0 goodbye"]), "{replies}");
    assert_eq!(office.post.taken()[0].octets, b"Subject: x\r\n");
}

#[tokio::test]
async fn lines_may_be_as_long_as_the_standards_say_and_no_longer() {
    let office = open(Door::SubmissionTls, settings()).await;
    let mut client = Client::secured(&office).await;
    client.say(EHLO).await;
    let long =
        |start: &str, octets: usize| format!("{start}{}", "x".repeat(octets - 2 - start.len()));
    let too_long = "500 5.5.2 line too long";
    assert!(client.say(long("NOOP ", 512)).await.starts_with("250 "));
    assert_eq!(client.say(long("NOOP ", 513)).await, too_long);
    // RFC 1870 §3, RFC 6152 §2, RFC 4954 §3, RFC 6531 §3.4, RFC 3461 §4.3 and §4.4.
    let mail = "MAIL FROM:<tim@one.example> AUTH=";
    let mail_max = 512 + 553 + " RET=HDRS ENVID=".len() + 100;
    assert!(client.say(long(mail, mail_max)).await.starts_with("530 "));
    assert_eq!(client.say(long(mail, mail_max + 1)).await, too_long);
    // RFC 3461 §4.1 and §4.2.
    let rcpt = "RCPT TO:<tim@one.example> ORCPT=rfc822;";
    let rcpt_max = 512 + " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=".len() + 500;
    assert!(client.say(long(rcpt, rcpt_max)).await.starts_with("530 "));
    assert_eq!(client.say(long(rcpt, rcpt_max + 1)).await, too_long);
    // RFC 4954 §4: in the command and in the exchange.
    let base64 = |start: &str, octets: usize| {
        format!("{start}{}", "A".repeat((octets - 2 - start.len()) / 4 * 4))
    };
    assert!(client.say(base64("AUTH PLAIN ", 12_288)).await.starts_with("535 "));
    assert_eq!(client.say(base64("AUTH PLAIN ", 12_292)).await, too_long);
    assert!(client.say("AUTH PLAIN").await.starts_with("334 "));
    assert!(client.say(base64("", 12_292)).await.starts_with("500 5.5.6 "));
    assert!(client.say(LOGIN).await.starts_with("235 "));
}

#[tokio::test]
async fn a_session_takes_as_many_messages_as_it_has_announced() {
    let bounded = ServerSettings { transactions_max: 2, ..settings() };
    let office = open(Door::RelayClear, bounded).await;
    let mut client = Client::clear(&office).await;
    client.send(format!("{EHLO}\r\n")).await;
    let greeting = client.rest_of_reply().await;
    assert!(greeting.contains("250-LIMITS MAILMAX=2 RCPTMAX=100\r\n"), "{greeting}");
    for _ in 0..2 {
        assert!(client.say(MAIL).await.starts_with("250 "));
        assert!(client.say("RSET").await.starts_with("250 "));
    }
    assert!(client.say(MAIL).await.starts_with("421 4.7.0 "));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_message_in_chunks_is_given_up_when_its_time_is_over_whatever_is_said_in_between() {
    let message_time_max = Duration::from_millis(500);
    let office = open(Door::RelayClear, ServerSettings { message_time_max, ..settings() }).await;
    let mut client = Client::clear(&office).await;
    for step in [EHLO, MAIL, RCPT] {
        assert!(client.say(step).await.starts_with("250 "));
    }
    client.send("BDAT 2\r\n\r\n").await;
    assert!(client.reply().await.starts_with("250 "));
    let mut reply = client.say("NOOP").await;
    while reply == "250 2.0.0 Ok" {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = client.0.write_all(b"NOOP\r\n").await;
        reply = client.reply().await;
    }
    assert!(reply.starts_with("421 4.4.2 "), "{reply}");
    assert_eq!(office.post.dropped.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_sends_a_message_too_slowly_is_given_up_and_who_keeps_the_pace_is_not() {
    let message_grace = Duration::from_millis(500);
    let pace = ServerSettings { message_grace, message_octets_per_second_min: 1_000, ..settings() };
    let office = open(Door::RelayClear, pace).await;
    for (line, keeps_the_pace) in [("\r\n".to_owned(), false), ("una riga\r\n".repeat(1_000), true)]
    {
        let mut client = Client::clear(&office).await;
        for step in [EHLO, MAIL, RCPT] {
            assert!(client.say(step).await.starts_with("250 "));
        }
        assert!(client.say("DATA").await.starts_with("354 "));
        for _ in 0..15 {
            // A connection that was given up does not take more.
            let _ = client.0.write_all(line.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let _ = client.0.write_all(b".\r\n").await;
        let reply = client.reply().await;
        let expected = if keeps_the_pace { "250 " } else { "421 4.4.2 " };
        assert!(reply.starts_with(expected), "{reply}");
    }
}

impl Client {
    /// A whole reply in several lines.
    async fn rest_of_reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(timeout(SOON, self.0.read_u8()).await.expect("in time").unwrap());
            }
            let last = line.get(3) != Some(&b'-');
            reply.push_str(&String::from_utf8(line).unwrap());
            if last {
                return reply;
            }
        }
    }
}
