//! What hostile and broken clients get: the standard's error, and no more memory than the limits.

mod account;

use std::{sync::atomic::Ordering, time::Duration};

use account::{
    client::{connect_with, greeted, in_inbox, logged_in},
    memory::{ADDRESS, MemoryAccount},
};
use protocols::{
    imap::{ImapLimits, ServerSettings},
    net::stream::ChannelBindings,
};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_endless_line_ends_the_session() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    client.send("a1 LOGIN ").await;
    // The server stops reading at its limit; what is on its way then is lost.
    let _ = client.stream.write_all(&vec![b'x'; 70_000]).await;
    let rest = client.rest().await;
    assert!(rest.is_empty() || rest.starts_with("a1 BAD ") || rest.starts_with("* BAD "), "{rest}");
}

#[tokio::test]
async fn literals_of_4_gib_are_refused_before_they_are_sent() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    for length in ["4294967296", "4294967295", "65537", "99999999999999999999999999"] {
        let answer = client.command(&format!("a LOGIN {{{length}}}")).await;
        assert!(answer.starts_with("a NO [TOOBIG] "), "{length}: {answer}");
    }
    client.send("b LOGIN {4294967296+}\r\n").await;
    let rest = client.rest().await;
    assert!(rest.starts_with("b BAD [TOOBIG] ") && rest.contains("\r\n* BYE "), "{rest}");
    let mut client = logged_in(&account).await;
    client.send("c APPEND INBOX {4294967296+}\r\n").await;
    let rest = client.rest().await;
    assert!(rest.starts_with("c BAD [TOOBIG] ") || rest.starts_with("* BYE "), "{rest}");
    assert_eq!(account.appended_octets.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn many_small_literals_count_together() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    let literal = format!(" SUBJECT {{40000+}}\r\n{}", "x".repeat(40_000));
    client.send(format!("a SEARCH{literal}{literal}\r\n")).await;
    assert!(client.rest().await.starts_with("a BAD [TOOBIG] "));
}

#[tokio::test]
async fn a_session_works_an_octet_at_a_time() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    client.stream.set_nodelay(true).unwrap();
    let dialogue = format!(
        "a LOGIN {ADDRESS} {{13+}}\r\nceralacca \"1\"\r\n\
         b APPEND INBOX {{9+}}\r\na: b\r\n\r\nc\r\nc SELECT INBOX\r\nd FETCH 1 BODY[]\r\ne LOGOUT\r\n"
    );
    for octet in dialogue.as_bytes() {
        client.send([*octet]).await;
    }
    let rest = client.rest().await;
    assert!(rest.contains("b OK [APPENDUID 1 1]"), "{rest}");
    assert!(
        rest.contains("* 1 FETCH (BODY[] {9}\r\na: b\r\n\r\nc FLAGS (\\Seen \\Recent))"),
        "{rest}"
    );
    assert!(rest.ends_with("e OK LOGOUT\r\n"), "{rest}");
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_its_answers() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", &[b"a: b\r\n\r\n".as_slice(), &vec![b'x'; 300_000]].concat());
    let mut client = in_inbox(&account).await;
    client.send("a FETCH 1 BODY.PEEK[]\r\nb NOOP\r\n").await;
    client.stream.shutdown().await.unwrap();
    let rest = client.rest().await;
    assert!(rest.len() > 300_000 && rest.ends_with("b OK NOOP\r\n"));
}

#[tokio::test]
async fn an_append_that_breaks_off_leaves_nothing() {
    let account = MemoryAccount::new();
    let mut client = logged_in(&account).await;
    client.send("a APPEND INBOX {1000+}\r\nSubject: half").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "");
    assert!(account.messages("INBOX").is_empty());
}

#[tokio::test]
async fn lists_without_end_and_numbers_without_bound_are_bad() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", b"a: b\r\n\r\n");
    let mut client = logged_in(&account).await;
    client.command("e ENABLE QRESYNC").await;
    client.command("s SELECT INBOX").await;
    let many = |word: &str, count: usize| vec![word; count].join(" ");
    let ranges = vec!["1"; 20_000].join(",");
    for command in [
        format!("FETCH 1 ({})", many("UID", 1_001)),
        format!("FETCH 1 BODY.PEEK[HEADER.FIELDS ({})]", many("a", 1_001)),
        format!("FETCH 1 BODY.PEEK[{}1]", "1.".repeat(128)),
        format!("FETCH 1 BINARY.SIZE[{}1]", "1.".repeat(30_000)),
        format!("STORE 1 +FLAGS ({})", many("k", 1_001)),
        format!("STORE 1 +FLAGS {}", many("k", 1_001)),
        format!("SELECT INBOX (QRESYNC (1 1 {ranges}))"),
        format!("SELECT INBOX ({})", many("CONDSTORE", 1_000)),
        format!("UID EXPUNGE {ranges}"),
        format!("UID MOVE {ranges} INBOX"),
        "FETCH 1 UID (CHANGEDSINCE 18446744073709551616)".to_owned(),
        "UID FETCH 1 UID (PARTIAL 1:4294967296)".to_owned(),
        "FETCH 1 BODY.PEEK[]<0.18446744073709551616>".to_owned(),
        "UIDBATCHES 4294967296".to_owned(),
    ] {
        let answer = client.command(&format!("a {command}")).await;
        assert!(answer.starts_with("a BAD "), "{}: {answer}", &command[..30]);
        assert!(client.command("n NOOP").await.ends_with("n OK NOOP\r\n"));
    }
    // The largest numbers name what is there, and cost no more than it.
    for command in [
        "UID FETCH 1:4294967295 UID (PARTIAL 1:4294967295)",
        "FETCH 1 (UID BODY.PEEK[]<18446744073709551615.18446744073709551615>)",
        "FETCH 1 (UID BINARY.PEEK[]<18446744073709551615.18446744073709551615>)",
        "UID FETCH 1:4294967295 UID (CHANGEDSINCE 0)",
    ] {
        let answer = client.command(&format!("b {command}")).await;
        assert!(answer.starts_with("* 1 FETCH (UID 1"), "{command}: {answer}");
    }
    let all = "SELECT INBOX (QRESYNC (1 1 1:4294967295 (1:4294967295 1:4294967295)))";
    assert!(client.command(&format!("c {all}")).await.ends_with("c OK [READ-WRITE] SELECT\r\n"));
}

#[tokio::test]
async fn nested_searches_and_huge_sets_are_bad() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", b"a: b\r\n\r\n");
    let mut client = in_inbox(&account).await;
    for (command, name) in [
        (format!("a SEARCH {}ALL{}", "(".repeat(20_000), ")".repeat(20_000)), "parentheses"),
        (format!("a SEARCH {}ALL", "NOT ".repeat(15_000)), "NOT"),
        (format!("a SEARCH {}ALL", "OR ALL ".repeat(5_000)), "OR"),
        (format!("a FETCH {}1 FLAGS", "1,".repeat(20_000)), "ranges"),
        (format!("a SEARCH UID {}1", "1,".repeat(20_000)), "ranges in search"),
        (format!("a FETCH 1 ({}FLAGS)", "BODY.PEEK[1.1.1.1.1.1.1.1.1.1.1.1.1] ".repeat(10)), "-"),
    ] {
        let answer = client.command(&command).await;
        if name == "-" {
            assert!(answer.contains("a OK "), "{name}: {answer}");
        } else {
            assert!(answer.starts_with("a BAD "), "{name}: {answer}");
        }
    }
    let nested = format!("a SEARCH {}ALL", "NOT ".repeat(60));
    assert_eq!(client.command(&nested).await, "* SEARCH 1\r\na OK SEARCH\r\n");
    let largest = client.command("a UID FETCH 1:4294967295 FLAGS").await;
    assert!(largest.contains("* 1 FETCH (UID 1 "), "{largest}");
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let account = MemoryAccount::new();
    let mut client = in_inbox(&account).await;
    let commands: Vec<String> = (0..5_000).map(|n| format!("t{n} NOOP\r\n")).collect();
    client.send(commands.concat()).await;
    for number in 0..5_000 {
        assert_eq!(client.line().await, format!("t{number} OK NOOP\r\n"));
    }
}

#[tokio::test]
async fn garbage_of_every_kind_ends_in_bad_and_bye() {
    let account = MemoryAccount::new();
    let mut client = greeted(&account).await;
    // A TLS ClientHello on the wrong port, then octets of all values.
    let mut garbage = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    garbage.extend((0..=255_u8).cycle().take(30_000));
    client.send(&garbage).await;
    let rest = client.rest().await;
    assert!(rest.contains("* BAD ") && rest.contains("* BYE "), "{rest}");
    for line in rest.lines() {
        assert!(line.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{line}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let account = MemoryAccount::new();
    account.deliver("INBOX", &[b"a: b\r\n\r\n".as_slice(), &vec![b'x'; 30 << 20]].concat());
    let limits = ImapLimits { write_time_max: Duration::from_millis(200), ..ImapLimits::default() };
    let settings = ServerSettings { limits, ..ServerSettings::default() };
    let mut client = connect_with(&account, settings).await;
    client.send(b"a LOGIN anna.rossi@pec.example \"ceralacca \\\"1\\\"\"\r\n").await;
    client.send("b SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let rest = client.rest().await;
    assert!(rest.len() < 30 << 20, "the rest was never sent");
    assert!(!rest.contains("c OK"));
}

#[tokio::test]
async fn a_session_takes_little_memory_of_its_own() {
    let mail = std::sync::Arc::new(account::memory::OneAccount(MemoryAccount::new()));
    let login = std::sync::Arc::new(account::memory::OneLogin);
    let server = protocols::imap::Server::new(ServerSettings::default(), login, mail);
    let (stream, _) = tokio::io::duplex(1);
    let stopping = tokio_util::sync::CancellationToken::new();
    let session =
        server.serve(stream, [127, 0, 0, 1].into(), Some(ChannelBindings::default()), stopping);
    let octets = size_of_val(&session);
    assert!(octets <= 16 * 1024, "{octets} octets");
}
