//! What a hostile or broken client sends: each gets the standard's error, nothing is taken that
//! should not be, and buffers stay as large as they are.

#![allow(missing_docs)]

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use protocols::{net::tls::TlsClient, smtp::server::ServerSettings};
use support::post::{Door, Office, RECIPIENTS_MAX, open, open_with, settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(20);

/// The largest piece a sink may be given: the input buffer and two octets held back.
const PIECE_OCTETS_MAX: usize = 64 * 1024 + 2;

async fn reply(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut reply = String::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let octet = timeout(SOON, stream.read_u8()).await.expect("a reply in time");
            line.push(octet.unwrap_or_else(|error| panic!("{error} after {reply:?}")));
        }
        let last = line.get(3) != Some(&b'-');
        reply.push_str(&String::from_utf8(line).unwrap());
        if last {
            return reply;
        }
    }
}

async fn say(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    reply(stream).await
}

/// Connects and goes up to the 354.
async fn in_data(office: &Office) -> TcpStream {
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    reply(&mut stream).await;
    say(&mut stream, "EHLO bar.example").await;
    say(&mut stream, "MAIL FROM:<a@b.example>").await;
    say(&mut stream, "RCPT TO:<c@one.example>").await;
    assert!(say(&mut stream, "DATA").await.starts_with("354 "));
    stream
}

async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut octets = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut octets)).await.expect("the server closes");
    String::from_utf8_lossy(&octets).into_owned()
}

#[tokio::test]
async fn every_smuggling_variant_is_refused_as_one_message() {
    let office = open(Door::RelayClear, settings()).await;
    let hidden = "MAIL FROM:<ceo@one.example>\r\nRCPT TO:<c@one.example>\r\nDATA\r\nhi";
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n\n.\r\n", "\0\r\n"]
    {
        let mut stream = in_data(&office).await;
        let data = format!("Subject: x\r\n\r\nbody{end}{hidden}\r\n.\r\n");
        stream.write_all(data.as_bytes()).await.unwrap();
        let answer = reply(&mut stream).await;
        assert!(answer.starts_with("554 5.6.0 "), "{end:?}: {answer}");
        assert_eq!(say(&mut stream, "NOOP").await, "250 2.0.0 Ok\r\n", "{end:?}");
    }
    assert_eq!(office.post.taken().len(), 0);
    assert_eq!(office.post.dropped.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn octets_one_by_one_make_the_same_message() {
    let office = open(Door::RelayClear, settings()).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let dialog = "EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@one.example>\r\nDATA\r\n\
                  Subject: x\r\n\r\n..dots\r\n...\r\n.\r\nQUIT\r\n";
    for octet in dialog.bytes() {
        stream.write_all(&[octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answers = closed(&mut stream).await;
    assert!(
        answers.ends_with("250 2.0.0 taken as message-1\r\n221 2.0.0 goodbye\r\n"),
        "{answers}"
    );
    assert_eq!(office.post.taken()[0].octets, b"Subject: x\r\n\r\n.dots\r\n..\r\n");
}

#[tokio::test]
async fn a_header_of_10_mb_is_read_refused_and_never_held() {
    let office = open_with(Door::RelayClear, settings(), 100 << 20).await;
    let mut stream = in_data(&office).await;
    let line = format!("X-Long: {}\r\n", "x".repeat(980));
    let block = line.repeat(100);
    for _ in 0..=(10 << 20) / block.len() {
        stream.write_all(block.as_bytes()).await.unwrap();
    }
    stream.write_all(b"\r\nbody\r\n.\r\n").await.unwrap();
    assert_eq!(reply(&mut stream).await, "552 5.3.4 a header may have 1048576 octets\r\n");
    assert!(office.post.largest_piece.load(Ordering::SeqCst) <= PIECE_OCTETS_MAX);
    assert_eq!(office.post.taken().len(), 0);
    assert_eq!(say(&mut stream, "NOOP").await, "250 2.0.0 Ok\r\n");
}

#[tokio::test]
async fn a_message_above_the_limit_is_read_to_its_end_and_refused() {
    let office = open(Door::RelayClear, settings()).await;
    let mut stream = in_data(&office).await;
    let body = format!("Subject: x\r\n\r\n{}.\r\n", "0123456789\r\n".repeat(30_000));
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(reply(&mut stream).await.starts_with("552 5.3.4 Messaggio oltre 200000 ottetti: "));
    assert_eq!(say(&mut stream, "MAIL FROM:<a@b.example>").await, "250 2.1.0 sender ok\r\n");
    assert_eq!(office.post.taken().len(), 0);
}

#[tokio::test]
async fn a_message_without_end_is_given_up() {
    let office = open(Door::RelayClear, settings()).await;
    let mut stream = in_data(&office).await;
    let block = format!("{}\r\n", "x".repeat(990)).repeat(100);
    let mut written = 0_usize;
    while written < 100 << 20 && stream.write_all(block.as_bytes()).await.is_ok() {
        written += block.len();
    }
    assert!(written < 100 << 20, "the server read {written} octets");
}

#[tokio::test]
async fn a_data_line_above_1000_octets_refuses_the_message() {
    let office = open(Door::RelayClear, settings()).await;
    let mut stream = in_data(&office).await;
    let body = format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(999));
    stream.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(reply(&mut stream).await, "500 5.6.0 a line may have 1000 octets with CR LF\r\n");
    // A line without end is no more than a long one: it is read in pieces and refused.
    say(&mut stream, "MAIL FROM:<a@b.example>").await;
    say(&mut stream, "RCPT TO:<c@one.example>").await;
    say(&mut stream, "DATA").await;
    for _ in 0..40 {
        stream.write_all(&vec![b'x'; 100_000]).await.unwrap();
    }
    stream.write_all(b"\r\n.\r\n").await.unwrap();
    assert!(reply(&mut stream).await.starts_with("500 5.6.0 "));
    assert!(office.post.largest_piece.load(Ordering::SeqCst) <= PIECE_OCTETS_MAX);
}

#[tokio::test]
async fn long_command_lines_are_refused_and_endless_ones_end_the_session() {
    let office = open(Door::RelayClear, settings()).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    reply(&mut stream).await;
    let fits = format!("NOOP {}", "x".repeat(512 - 7));
    assert_eq!(say(&mut stream, &fits).await, "250 2.0.0 Ok\r\n");
    assert_eq!(say(&mut stream, &format!("{fits}x")).await, "500 5.5.2 line too long\r\n");
    let long = format!("NOOP {}", "x".repeat(200_000));
    assert_eq!(say(&mut stream, &long).await, "500 5.5.2 line too long\r\n");
    assert_eq!(say(&mut stream, "NOOP").await, "250 2.0.0 Ok\r\n");
    let mut written = 0_usize;
    while written < 50 << 20 && stream.write_all(&[b'x'; 10_000]).await.is_ok() {
        written += 10_000;
    }
    assert!(written < 50 << 20, "the server read {written} octets of one line");
}

/// A chunk is never read as commands (RFC 3030 §2): not either when its size stands in a line of which
/// only the first word is kept.
#[tokio::test]
async fn a_chunk_behind_a_line_that_is_too_long_ends_the_session() {
    let office = open(Door::RelayClear, settings()).await;
    for spaces in [600, 12_300, 200_000] {
        let mut stream = TcpStream::connect(office.address).await.unwrap();
        reply(&mut stream).await;
        for line in ["EHLO bar.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@one.example>"] {
            assert!(say(&mut stream, line).await.starts_with("250"));
        }
        let chunk = format!("BDAT 6 LAST{}\r\nQUIT\r\nNOOP\r\n", " ".repeat(spaces));
        stream.write_all(chunk.as_bytes()).await.unwrap();
        assert_eq!(closed(&mut stream).await, "500 5.5.2 line too long\r\n", "{spaces}");
    }
    assert_eq!(office.post.taken().len(), 0);
}

#[tokio::test]
async fn of_10000_recipients_the_first_are_taken_and_the_rest_is_put_off() {
    let office = open(Door::RelayClear, settings()).await;
    let stream = TcpStream::connect(office.address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let writer = tokio::spawn(async move {
        let mut group = "EHLO x.example\r\nMAIL FROM:<a@b.example>\r\n".to_owned();
        for number in 0..10_000 {
            group.extend(["RCPT TO:<r", &number.to_string(), "@one.example>\r\n"]);
        }
        group.push_str("DATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n");
        writing.write_all(group.as_bytes()).await.unwrap();
        writing
    });
    let answers = closed(&mut reading).await;
    drop(writer.await.unwrap());
    assert_eq!(answers.matches("250 2.1.5 recipient ok\r\n").count(), RECIPIENTS_MAX);
    assert_eq!(answers.matches("452 4.5.3 ").count(), 10_000 - RECIPIENTS_MAX);
    assert!(answers.contains("250 2.0.0 taken as message-1\r\n221"));
    assert_eq!(office.post.taken()[0].envelope.forward_paths.len(), RECIPIENTS_MAX);
}

#[tokio::test]
async fn a_half_closed_connection_gets_its_replies_and_ends() {
    let office = open(Door::RelayClear, settings()).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    stream.write_all(b"EHLO x.example\r\nNOOP\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(closed(&mut stream).await.ends_with("250 2.0.0 Ok\r\n"));
    // Closed in the middle of the data: nothing is taken.
    let mut stream = in_data(&office).await;
    stream.write_all(b"Subject: x\r\n\r\nhalf a mess").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(closed(&mut stream).await, "");
    assert_eq!(office.post.taken().len(), 0);
    assert_eq!(office.post.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn garbage_instead_of_tls_is_closed_and_harms_nobody() {
    let office = open(Door::SubmissionTls, settings()).await;
    for garbage in [b"EHLO x.example\r\n".to_vec(), vec![0; 5_000], vec![0x16; 5_000]] {
        let mut stream = TcpStream::connect(office.address).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(!closed(&mut stream).await.contains("220 "));
    }
    // The same after STARTTLS.
    let relay = open(Door::Relay, settings()).await;
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    reply(&mut stream).await;
    assert!(say(&mut stream, "STARTTLS").await.starts_with("220 "));
    stream.write_all(b"MAIL FROM:<a@b.example>\r\n").await.unwrap();
    assert!(!closed(&mut stream).await.contains("250"));
    let client = TlsClient::verified_by(&office.made.authority).unwrap();
    let socket = TcpStream::connect(office.address).await.unwrap();
    let mut stream = client.connect("localhost", socket, SOON).await.unwrap();
    assert_eq!(reply(&mut stream).await, "220 mail.one.example ESMTP\r\n");
}

#[tokio::test]
async fn errors_commands_and_silence_end_a_session_with_421() {
    let bounded = ServerSettings { errors_max: 3, commands_max: 10, ..settings() };
    let office = open(Door::RelayClear, bounded).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    stream.write_all(b"FOO\r\nFOO\r\nFOO\r\nFOO\r\n").await.unwrap();
    let answers = closed(&mut stream).await;
    assert_eq!(answers.matches("500 5.5.1").count(), 4);
    assert!(answers.ends_with("421 4.7.0 too many errors: closing the connection\r\n"));

    let mut stream = TcpStream::connect(office.address).await.unwrap();
    stream.write_all("NOOP\r\n".repeat(11).as_bytes()).await.unwrap();
    let answers = closed(&mut stream).await;
    assert_eq!(answers.matches("250 2.0.0 Ok").count(), 10);
    assert!(answers.ends_with("421 4.7.0 too many commands: open a new connection\r\n"));

    let quick = Duration::from_millis(100);
    let impatient =
        ServerSettings { command_time_max: quick, data_block_time_max: quick, ..settings() };
    let office = open(Door::RelayClear, impatient).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    let time_out = "421 4.4.2 time-out: closing the connection\r\n";
    assert!(closed(&mut stream).await.ends_with(time_out));
    let mut stream = in_data(&office).await;
    assert!(closed(&mut stream).await.ends_with(time_out));
}

#[tokio::test]
async fn refused_recipients_do_not_end_a_mailing_and_are_no_errors() {
    let pause = Duration::from_millis(20);
    let bounded = ServerSettings {
        errors_max: 3,
        recipients_refused_max: 10,
        refusal_pause: pause,
        ..settings()
    };
    let office = open(Door::RelayClear, bounded).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    reply(&mut stream).await;
    say(&mut stream, "EHLO bar.example").await;
    // One in the middle is known; the transaction is not cut, however many are not. The next has
    // as many again.
    for _ in 0..2 {
        let names = (0..30).map(|number| if number == 4 { "known" } else { "refused" });
        let recipients: Vec<String> =
            names.map(|name| format!("RCPT TO:<{name}@one.example>\r\n")).collect();
        let mailing = format!("MAIL FROM:<a@b.example>\r\n{}", recipients.concat());
        let started = std::time::Instant::now();
        stream.write_all(mailing.as_bytes()).await.unwrap();
        assert!(reply(&mut stream).await.starts_with("250 "));
        for number in 0..30 {
            let expected = if number == 4 { "250 2.1.5 " } else { "550 5.7.1 " };
            let answer = reply(&mut stream).await;
            assert!(answer.starts_with(expected), "{number}: {answer}");
        }
        assert!(started.elapsed() >= pause * 19, "those beyond the limit wait");
        assert!(say(&mut stream, "DATA").await.starts_with("354 "));
        assert!(say(&mut stream, "Subject: x\r\n\r\n.").await.starts_with("250 "));
    }
    assert_eq!(office.post.taken().len(), 2);
}

/// What is in the pipeline behind refused recipients is one message, and no licence.
#[tokio::test]
async fn data_without_recipients_is_an_error_again_the_second_time() {
    let office = open(Door::RelayClear, ServerSettings { errors_max: 3, ..settings() }).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    reply(&mut stream).await;
    say(&mut stream, "EHLO bar.example").await;
    say(&mut stream, "MAIL FROM:<a@b.example>").await;
    assert!(say(&mut stream, "RCPT TO:<refused@one.example>").await.starts_with("550 "));
    for _ in 0..4 {
        assert!(say(&mut stream, "DATA").await.starts_with("554 5.5.1 "));
    }
    assert!(say(&mut stream, "DATA").await.starts_with("554 5.5.1 "));
    assert!(reply(&mut stream).await.starts_with("421 4.7.0 "));
}

#[tokio::test]
async fn who_tries_names_is_given_up() {
    let bounded = ServerSettings { recipients_refused_max: 10, errors_max: 3, ..settings() };
    let office = open(Door::RelayClear, bounded).await;
    let farewell = "421 4.7.0 too many recipients were refused: closing the connection\r\n";
    let (mail, guess) = ("MAIL FROM:<a@b.example>\r\n", "RCPT TO:<refused@one.example>\r\n");
    // A client that sends in groups: what it said before it knew is no error.
    let group = format!("{mail}{guess}DATA\r\nRSET\r\n");
    let known = "RCPT TO:<known@one.example>\r\n";
    for tries in [
        format!("{mail}{}", guess.repeat(30)),
        group.repeat(30),
        format!("{mail}{}{known}RSET\r\n", guess.repeat(10)) + &format!("{mail}{guess}"),
    ] {
        let mut stream = TcpStream::connect(office.address).await.unwrap();
        reply(&mut stream).await;
        say(&mut stream, "EHLO bar.example").await;
        stream.write_all(tries.as_bytes()).await.unwrap();
        let answers = closed(&mut stream).await;
        assert_eq!(answers.matches("550 5.7.1 ").count(), 11, "{answers}");
        assert!(answers.ends_with(farewell), "{answers}");
    }
}

#[tokio::test]
async fn a_client_of_submission_that_does_not_log_in_is_given_up_whatever_it_says() {
    let impatient = ServerSettings { login_time_max: Duration::from_secs(3), ..settings() };
    let time_out = "421 4.4.2 time-out: closing the connection\r\n";
    let office = open(Door::SubmissionTls, impatient.clone()).await;
    let client = TlsClient::verified_by(&office.made.authority).unwrap();
    let connected = async || {
        let socket = TcpStream::connect(office.address).await.unwrap();
        let mut stream = client.connect("localhost", socket, SOON).await.unwrap();
        reply(&mut stream).await;
        stream
    };
    // Nothing; one command after the other; half a login.
    assert_eq!(closed(&mut connected().await).await, time_out);
    let mut talker = connected().await;
    let talking = async {
        while talker.write_all(b"NOOP\r\n").await.is_ok() {
            let answer = reply(&mut talker).await;
            if answer != "250 2.0.0 Ok\r\n" {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        String::new()
    };
    assert_eq!(timeout(SOON, talking).await.expect("the server closes"), time_out);
    let mut slow = connected().await;
    slow.write_all(b"EHLO client.example\r\nAUTH PLAIN\r\n").await.unwrap();
    let answers = closed(&mut slow).await;
    assert!(answers.contains("334 "), "{answers}");
    assert!(answers.ends_with(time_out), "{answers}");

    // Who logs in stays, and who relays need not.
    let mut holder = connected().await;
    let login = "EHLO client.example\r\nAUTH PLAIN AHRpbUBvbmUuZXhhbXBsZQB0YW5zdGFhZg==\r\n";
    holder.write_all(login.as_bytes()).await.unwrap();
    while !reply(&mut holder).await.starts_with("235 ") {}
    let relay = open(Door::RelayClear, impatient).await;
    let mut peer = TcpStream::connect(relay.address).await.unwrap();
    reply(&mut peer).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    holder.write_all(b"NOOP\r\n").await.unwrap();
    assert_eq!(reply(&mut holder).await, "250 2.0.0 Ok\r\n");
    peer.write_all(b"NOOP\r\n").await.unwrap();
    assert_eq!(reply(&mut peer).await, "250 2.0.0 Ok\r\n");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let impatient = ServerSettings { write_time_max: Duration::from_millis(200), ..settings() };
    let office = open(Door::RelayClear, impatient).await;
    let mut stream = TcpStream::connect(office.address).await.unwrap();
    let group = "HELP\r\n".repeat(10_000);
    // Without the time-out both sides would wait for each other for ever.
    let writing = async { while stream.write_all(group.as_bytes()).await.is_ok() {} };
    timeout(SOON, writing).await.expect("the server closes");
}

#[tokio::test]
async fn a_peer_that_reads_one_octet_at_a_time_gets_every_reply_in_order() {
    let office = open(Door::RelayClear, ServerSettings { errors_max: 10_000, ..settings() }).await;
    let socket = TcpSocket::new_v4().unwrap();
    // The system's least: the server has to wait for every few replies to be read.
    socket.set_recv_buffer_size(1).unwrap();
    let stream = socket.connect(office.address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let writer = tokio::spawn(async move {
        let message = "MAIL FROM:<a@b.example>\r\nRCPT TO:<r@one.example>\r\nBDAT 4 LAST\r\nx:\r\n";
        let group = format!("{message}HELP bdat\r\nFOO\r\n").repeat(500);
        let group = format!("EHLO x.example\r\n{group}QUIT\r\n");
        writing.write_all(group.as_bytes()).await.unwrap();
        writing
    });
    let ehlo = reply(&mut reading).await + &reply(&mut reading).await;
    assert!(ehlo.ends_with("250 HELP\r\n"), "{ehlo}");
    for number in 1..=500 {
        for expected in [
            "250 2.1.0 sender ok",
            "250 2.1.5 recipient ok",
            &format!("250 2.0.0 taken as message-{number}"),
            "214 2.0.0 BDAT octets [LAST]",
            "500 5.5.1 unknown command",
        ] {
            assert_eq!(reply(&mut reading).await, format!("{expected}\r\n"), "{number}");
        }
    }
    assert_eq!(closed(&mut reading).await, "221 2.0.0 goodbye\r\n");
    drop(writer.await.unwrap());
}

#[tokio::test]
async fn the_stop_ends_idle_sessions_and_lets_a_message_finish() {
    let office = open(Door::RelayClear, settings()).await;
    let mut idle = TcpStream::connect(office.address).await.unwrap();
    reply(&mut idle).await;
    let mut busy = in_data(&office).await;
    office.shutdown.cancel();
    assert_eq!(closed(&mut idle).await, "421 4.3.2 the service stops: try again later\r\n");
    busy.write_all(b"Subject: x\r\n.\r\n").await.unwrap();
    let answers = closed(&mut busy).await;
    assert!(answers.starts_with("250 2.0.0 taken as message-1\r\n421 4.3.2 "), "{answers}");
    timeout(SOON, office.running).await.expect("the loop ends").unwrap();
}

#[tokio::test]
async fn who_logged_in_and_what_tls_there_is_reach_the_transport() {
    let office = open(Door::SubmissionTls, settings()).await;
    let client = TlsClient::verified_by(&office.made.authority).unwrap();
    let socket = TcpStream::connect(office.address).await.unwrap();
    let mut stream = client.connect("localhost", socket, SOON).await.unwrap();
    let group = "EHLO client.example\r\nAUTH PLAIN AHRpbUBvbmUuZXhhbXBsZQB0YW5zdGFhZg==\r\n\
                 MAIL FROM:<tim@one.example> SIZE=12 BODY=8BITMIME\r\n\
                 RCPT TO:<\"b\"@two.example>\r\nDATA\r\nSubject: x\r\n.\r\nQUIT\r\n";
    stream.write_all(group.as_bytes()).await.unwrap();
    let answers = closed(&mut stream).await;
    assert!(answers.ends_with("221 2.0.0 goodbye\r\n"), "{answers}");
    let taken = office.post.taken().remove(0);
    assert_eq!(taken.peer.identity.unwrap().address, "tim@one.example");
    assert!(taken.peer.tls.unwrap().starts_with("TLSv1.3 "));
    assert_eq!(taken.peer.helo, "client.example");
    assert_eq!(taken.envelope.reverse_path, "tim@one.example");
    assert_eq!(taken.envelope.forward_paths, ["b@two.example"]);
    assert_eq!((taken.envelope.declared_size, taken.envelope.eight_bit), (Some(12), true));
}
