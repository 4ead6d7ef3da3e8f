//! A client that sends octets and reads lines and literals.

use std::{net::IpAddr, sync::Arc, time::Duration};

use protocols::{
    imap::{Server, ServerSettings},
    net::stream::ChannelBindings,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    handle::OneAccount,
    memory::{ADDRESS, MemoryAccount, OneLogin},
};

/// How long a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    pub(crate) stopping: CancellationToken,
}

/// Starts a server on a port of its own and connects to it.
pub(crate) async fn connect_with(account: &Arc<MemoryAccount>, settings: ServerSettings) -> Client {
    connect_as(account, settings, true).await
}

pub(crate) async fn connect_as(
    account: &Arc<MemoryAccount>,
    settings: ServerSettings,
    encrypted: bool,
) -> Client {
    let server =
        Server::new(settings, Arc::new(OneLogin), Arc::new(OneAccount(Arc::clone(account))));
    connect_to(&server, encrypted).await
}

/// Connects to a server, which several clients may share.
pub(crate) async fn connect_to(server: &Server, encrypted: bool) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopping = CancellationToken::new();
    let (server, stop) = (server.clone(), stopping.clone());
    tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        server.serve(stream, peer.ip(), encrypted.then(ChannelBindings::default), stop).await;
    });
    Client { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new(), stopping }
}

/// Connects to a POP3 server, which several clients may share.
pub(crate) async fn connect_pop3(server: &protocols::pop3::Server, encrypted: bool) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopping = CancellationToken::new();
    let (server, stop) = (server.clone(), stopping.clone());
    tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        server.serve(stream, peer.ip(), encrypted.then(ChannelBindings::default), stop).await;
    });
    Client { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new(), stopping }
}

/// A client that has read the greeting.
pub(crate) async fn greeted(account: &Arc<MemoryAccount>) -> Client {
    let mut client = connect_with(account, ServerSettings::default()).await;
    assert!(client.line().await.starts_with("* OK "));
    client
}

/// A client that is logged in.
pub(crate) async fn logged_in(account: &Arc<MemoryAccount>) -> Client {
    let mut client = greeted(account).await;
    let answer = client.command(&format!("in LOGIN {ADDRESS} \"ceralacca \\\"1\\\"\"")).await;
    assert!(answer.starts_with("in OK [CAPABILITY "), "{answer}");
    client
}

/// A client that has selected INBOX.
pub(crate) async fn in_inbox(account: &Arc<MemoryAccount>) -> Client {
    let mut client = logged_in(account).await;
    let answer = client.command("sel SELECT INBOX").await;
    assert!(answer.contains("sel OK [READ-WRITE]"), "{answer}");
    client
}

impl Client {
    /// The same client over another stream; the one that it had, and what it had read of that.
    pub(crate) fn over(self, stream: TcpStream) -> (Self, TcpStream, Vec<u8>) {
        let Self { stream: before, buffer, stopping } = self;
        (Self { stream, buffer: Vec::new(), stopping }, before, buffer)
    }

    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
    }

    async fn fill(&mut self) -> usize {
        let mut octets = vec![0; 65_536];
        let read = timeout(PATIENCE, self.stream.read(&mut octets)).await.expect("an answer");
        let read = read.unwrap_or(0);
        self.buffer.extend_from_slice(&octets[..read]);
        read
    }

    /// Reads a line; empty at the end of the stream.
    pub(crate) async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return String::from_utf8_lossy(&line).into_owned();
            }
            if self.fill().await == 0 {
                return String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned();
            }
        }
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill().await > 0, "the stream ended within a literal");
        }
        self.buffer.drain(..length).collect()
    }

    /// Reads to the line that begins with `tag`, literals included.
    pub(crate) async fn until(&mut self, tag: &str) -> String {
        let mut answer = Vec::new();
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the stream ended: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(line.as_bytes());
            if line.starts_with(&format!("{tag} ")) {
                return String::from_utf8_lossy(&answer).into_owned();
            }
            if let Some(length) = announced(&line) {
                answer.extend(self.exactly(length).await);
            }
        }
    }

    /// Sends a command and reads its whole answer.
    pub(crate) async fn command(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n")).await;
        let tag = command.split(' ').next().unwrap();
        self.until(tag).await
    }

    /// Sends a POP3 command and reads the first line of its answer.
    pub(crate) async fn pop3(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n")).await;
        self.line().await
    }

    /// Sends a POP3 command and reads its multi-line answer to the point, as it stands.
    pub(crate) async fn pop3_lines(&mut self, command: &str) -> String {
        let mut answer = self.pop3(command).await;
        assert!(answer.starts_with("+OK"), "{command}: {answer}");
        while !answer.ends_with("\n.\r\n") {
            let line = self.line().await;
            assert!(!line.is_empty(), "the stream ended: {answer}");
            answer.push_str(&line);
        }
        answer
    }

    /// Reads a multi-line answer, whose first octet was taken, to the point; or to the end of the stream.
    pub(crate) async fn pop3_rest_of_list(&mut self) {
        loop {
            let line = self.line().await;
            if line.is_empty() || line == ".\r\n" {
                return;
            }
        }
    }

    /// Reads all there is to the end of the stream.
    pub(crate) async fn rest(&mut self) -> String {
        while self.fill().await > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }
}

fn announced(line: &str) -> Option<usize> {
    let text = line.trim_end().strip_suffix('}')?;
    text[text.rfind('{')? + 1..].parse().ok()
}

/// The address that tests come from.
pub(crate) fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}
