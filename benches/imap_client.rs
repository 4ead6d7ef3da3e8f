//! An IMAP client that is as cheap as can be: it sends commands over TLS, reads answers to their tag and
//! looks at nothing else. What it costs is the same whoever answers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use protocols::net::{stream::ConnectionStream, tls::TlsClient};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::Failure;

const HANDSHAKE_TIME_MAX: Duration = Duration::from_mins(1);
/// Octets read at a time.
const BUFFER_OCTETS: usize = 16 * 1024;

/// One connection.
pub(crate) struct ImapClient {
    stream: BufReader<ConnectionStream>,
    line: Vec<u8>,
    /// What literals are read into.
    literal: Vec<u8>,
    commands: usize,
}

impl ImapClient {
    /// Connects under TLS and reads the greeting.
    pub(crate) async fn connect(address: SocketAddr, tls: &TlsClient) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = tls.connect("localhost", stream, HANDSHAKE_TIME_MAX).await?;
        let stream = BufReader::with_capacity(BUFFER_OCTETS, stream);
        let (line, literal) = (Vec::new(), Vec::new());
        let mut client = Self { stream, line, literal, commands: 0 };
        client.read_line().await?;
        Ok(client)
    }

    /// Commands answered OK.
    pub(crate) fn commands(&self) -> usize {
        self.commands
    }

    /// Sends a command and reads its answer, which must be OK; how many octets its literals had.
    pub(crate) async fn command(&mut self, command: &str) -> Result<usize, Failure> {
        self.send(format!("a {command}\r\n").as_bytes()).await?;
        let literals = self.answer(command).await?;
        self.commands += 1;
        Ok(literals)
    }

    /// Appends a message to INBOX, without waiting to be asked for its octets (RFC 7888).
    pub(crate) async fn append(&mut self, message: &[u8]) -> Result<(), Failure> {
        let command = format!("a APPEND INBOX {{{}+}}\r\n", message.len());
        self.send(&[command.as_bytes(), message, b"\r\n"].concat()).await?;
        self.answer("APPEND").await?;
        self.commands += 1;
        Ok(())
    }

    /// Begins IDLE (RFC 2177) and reads that it has begun.
    pub(crate) async fn idle(&mut self) -> Result<(), Failure> {
        self.send(b"a IDLE\r\n").await?;
        while !self.line.starts_with(b"+") {
            self.read_line().await?;
        }
        Ok(())
    }

    /// Waits in IDLE for a line that holds `word`; when it had come.
    pub(crate) async fn told(&mut self, word: &str) -> Result<Instant, Failure> {
        loop {
            self.read_line().await?;
            if String::from_utf8_lossy(&self.line).contains(word) {
                return Ok(Instant::now());
            }
        }
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let stream = self.stream.get_mut();
        stream.write_all(octets).await?;
        Ok(stream.flush().await?)
    }

    async fn answer(&mut self, command: &str) -> Result<usize, Failure> {
        let mut literals = 0;
        loop {
            self.read_line().await?;
            if let Some(length) = announced(&self.line) {
                self.literal.resize(length, 0);
                self.stream.read_exact(&mut self.literal).await?;
                literals += length;
            } else if self.line.starts_with(b"a ") {
                let told = String::from_utf8_lossy(&self.line);
                if told.starts_with("a OK") {
                    return Ok(literals);
                }
                return Err(format!("{command} was answered {told}").into());
            }
        }
    }

    async fn read_line(&mut self) -> Result<(), Failure> {
        self.line.clear();
        match self.stream.read_until(b'\n', &mut self.line).await? {
            0 => Err("the server ended the connection".into()),
            _ => Ok(()),
        }
    }
}

/// The octets of the literal that follows a line.
fn announced(line: &[u8]) -> Option<usize> {
    let text = line.strip_suffix(b"}\r\n")?;
    let digits = &text[text.iter().rposition(|octet| *octet == b'{')? + 1..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}
