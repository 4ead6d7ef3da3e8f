//! INPROGRESS (RFC 9585) by transcripts, in a time that stands still until everybody waits.

mod account;

use std::{sync::Arc, time::Duration};

use account::{
    client::loopback,
    memory::{ADDRESS, MemoryAccount, OneAccount, OneLogin},
};
use protocols::{
    imap::{ImapLimits, Server, ServerSettings},
    net::stream::ChannelBindings,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

/// A client that is logged in and has selected INBOX, over a stream without a socket: with one, time
/// would go on while octets are on their way.
struct Client(BufReader<DuplexStream>);

impl Client {
    async fn new(account: &Arc<MemoryAccount>, limits: ImapLimits) -> Self {
        let settings = ServerSettings { limits, ..ServerSettings::default() };
        let mail = Arc::new(OneAccount(Arc::clone(account)));
        let server = Server::new(settings, Arc::new(OneLogin), mail);
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn(async move {
            let tls = Some(ChannelBindings::default());
            server.serve(theirs, loopback(), tls, CancellationToken::new()).await;
        });
        let mut client = Self(BufReader::new(ours));
        client.line().await;
        client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
        client.command("sel SELECT INBOX").await;
        client
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    /// Sends a command and reads its answer: what says how far it is, shortened, and the rest.
    async fn command(&mut self, command: &str) -> (Vec<String>, String) {
        self.0.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        let tag = command.split(' ').next().unwrap();
        let (mut progress, mut rest) = (Vec::new(), String::new());
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the stream ended: {rest}");
            let code = line.strip_prefix("* OK [INPROGRESS ");
            match code.and_then(|code| code.strip_suffix("] In corso / In progress\r\n")) {
                Some(details) => progress.push(details.to_owned()),
                None => rest.push_str(&line),
            }
            if line.starts_with(&format!("{tag} ")) {
                return (progress, rest);
            }
        }
    }
}

/// An account of `count` messages, each of which takes `pace` to be read.
fn slow(count: usize, pace: Duration) -> Arc<MemoryAccount> {
    let account = MemoryAccount::new();
    for _ in 0..count {
        account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    }
    account.set_pace(pace);
    account
}

#[tokio::test(start_paused = true)]
async fn a_long_search_says_how_far_it_is_every_twelve_seconds() {
    // Contents are looked through 2,048 messages at a time.
    let account = slow(5_000, Duration::from_millis(5));
    let mut client = Client::new(&account, ImapLimits::default()).await;
    let (progress, rest) = client.command("a1 SEARCH RETURN (COUNT) TEXT nothing").await;
    assert_eq!(rest, "* ESEARCH (TAG \"a1\") COUNT 0\r\na1 OK SEARCH\r\n");
    assert_eq!(progress, ["(\"a1\" 2048 5000)", "(\"a1\" 4096 5000)"]);
    // A tag that would end the code is not told.
    let (progress, _) = client.command("a]2 SEARCH RETURN (COUNT) TEXT nothing").await;
    assert_eq!(progress, ["(NIL 2048 5000)", "(NIL 4096 5000)"]);
    // Sorting what was found cannot be counted on.
    let (progress, rest) = client.command("a3 SORT RETURN (COUNT) (SUBJECT) UTF-8 ALL").await;
    assert!(rest.ends_with("a3 OK SORT\r\n"), "{rest}");
    assert_eq!(progress, ["(\"a3\" NIL NIL)", "(\"a3\" NIL NIL)"]);
    let (progress, _) = client.command("a4 THREAD REFERENCES UTF-8 ALL").await;
    assert_eq!(progress, ["(\"a4\" NIL NIL)", "(\"a4\" NIL NIL)"]);
}

#[tokio::test(start_paused = true)]
async fn the_period_is_chosen_and_a_short_command_says_nothing() {
    let account = slow(100, Duration::from_millis(100));
    let limits = ImapLimits { progress_period: Duration::from_secs(3), ..ImapLimits::default() };
    let mut client = Client::new(&account, limits).await;
    let (progress, _) = client.command("a SEARCH TEXT nothing").await;
    assert_eq!(progress.len(), 3, "in ten seconds: {progress:?}");
    let mut client = Client::new(&account, ImapLimits::default()).await;
    assert!(client.command("b SEARCH TEXT nothing").await.0.is_empty());
    // What a command tells about others comes behind its end and is no part of it.
    client.command("c SEARCH RETURN (UPDATE) TEXT y").await;
    for _ in 0..200 {
        account.deliver("INBOX", b"Subject: x\r\n\r\ny\r\n");
    }
    let (progress, rest) = client.command("d NOOP").await;
    assert!(progress.is_empty() && rest.contains("ADDTO (0 101:300)"), "{progress:?} {rest}");
}

#[tokio::test(start_paused = true)]
async fn several_mailboxes_are_counted_one_by_one() {
    let account = slow(100, Duration::from_millis(100));
    for name in ["b", "c"] {
        account.make(name);
        for _ in 0..150 {
            account.deliver(name, b"Subject: x\r\n\r\ny\r\n");
        }
    }
    let mut client = Client::new(&account, ImapLimits::default()).await;
    let (progress, rest) = client.command("a ESEARCH IN (personal) RETURN (COUNT) TEXT y").await;
    assert!(rest.ends_with("a OK ESEARCH\r\n"), "{rest}");
    assert_eq!(progress, ["(\"a\" 1 3)", "(\"a\" 1 3)", "(\"a\" 2 3)"]);
    let (progress, _) = client.command("b ESEARCH IN (mailboxes b) RETURN (COUNT) TEXT y").await;
    assert_eq!(progress, ["(\"b\" 0 150)"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_in_one_piece_says_that_it_goes_on() {
    let account = slow(3, Duration::from_secs(10));
    account.make("Altro");
    let mut client = Client::new(&account, ImapLimits::default()).await;
    let (progress, rest) = client.command("a COPY 1:3 Altro").await;
    assert_eq!(progress, ["(\"a\" NIL NIL)", "(\"a\" NIL NIL)"], "in thirty seconds");
    assert!(rest.contains("a OK [COPYUID "), "{rest}");
    let (progress, rest) = client.command("b MOVE 1:2 Altro").await;
    assert_eq!(progress, ["(\"b\" NIL NIL)"]);
    assert!(rest.ends_with("* 2 EXPUNGE\r\n* 1 EXPUNGE\r\nb OK MOVE\r\n"), "{rest}");
    let (progress, rest) = client.command("c APPEND Altro {5+}\r\na: b\n").await;
    assert!(progress.is_empty() && rest.starts_with("c OK [APPENDUID "), "{rest}");
    account.set_pace(Duration::from_secs(15));
    let (progress, rest) = client.command("d APPEND Altro {5+}\r\na: b\n").await;
    assert_eq!(progress, ["(\"d\" NIL NIL)"]);
    assert!(rest.starts_with("d OK [APPENDUID "), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_gone_away_does_not_stop_half_a_copy() {
    let account = slow(3, Duration::from_secs(10));
    account.make("Altro");
    let mut client = Client::new(&account, ImapLimits::default()).await;
    client.0.write_all(b"a COPY 1:3 Altro\r\n").await.unwrap();
    assert!(client.line().await.starts_with("* OK [INPROGRESS "));
    drop(client);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(account.messages("Altro").len(), 3);
}
