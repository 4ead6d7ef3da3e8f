//! A client that says exactly the octets it is told to, whatever the protocol thinks of them.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use openssl::ssl::{SslConnector, SslMethod, SslStream};

/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// One connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    input: Vec<u8>,
}

impl Wire {
    /// Connects in the clear, from 127.0.0.`source`: failures and connections are counted by
    /// source, and one test must not use up what another needs.
    pub(crate) fn plain(source: u8, port: u16) -> Self {
        let socket = connected(source, port);
        Self { stream: Box::new(clone_of(&socket)), socket, input: Vec::new() }
    }

    /// Connects under TLS.
    pub(crate) fn tls(source: u8, port: u16, authority: &Path) -> Self {
        Self::plain(source, port).secured(authority)
    }

    /// Shakes hands on this connection.
    pub(crate) fn secured(self, authority: &Path) -> Self {
        let stream: SslStream<TcpStream> = connector(authority)
            .connect("localhost", clone_of(&self.socket))
            .expect("a TLS handshake");
        Self { stream: Box::new(stream), ..self }
    }

    /// Sends all of `octets`.
    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).expect("the server reads");
    }

    /// Sends as much of `octets` as the server takes before it closes.
    pub(crate) fn send_until_cut(&mut self, octets: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(octets.as_ref()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Says that nothing more will be sent, and still listens.
    pub(crate) fn half_close(&self) {
        // A server that has closed already has seen it.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// The next line without its line end, `None` at the end of the connection.
    pub(crate) fn line(&mut self) -> Option<String> {
        while !self.input.contains(&b'\n') {
            self.fill()?;
        }
        let end = self.input.iter().position(|octet| *octet == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// The next `count` octets.
    pub(crate) fn octets(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            self.fill().expect("as many octets as announced");
        }
        self.input.drain(..count).collect()
    }

    /// Everything up to the end of the connection, which the server must bring about in time.
    pub(crate) fn rest(&mut self) -> String {
        while self.fill().is_some() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.input)).into_owned()
    }

    /// Says a command and returns the SMTP reply to it.
    pub(crate) fn say(&mut self, command: impl AsRef<[u8]>) -> String {
        self.send([command.as_ref(), b"\r\n"].concat());
        self.reply()
    }

    /// The next SMTP reply: the last of its lines, empty at the end of the connection.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            match self.line() {
                None => return String::new(),
                Some(line) if line.as_bytes().get(3) != Some(&b'-') => return line,
                Some(_) => {}
            }
        }
    }

    /// Says an IMAP command and returns the lines up to its tagged response or the end.
    pub(crate) fn imap(&mut self, command: impl AsRef<[u8]>) -> Vec<String> {
        self.send([b"zq7 ", command.as_ref(), b"\r\n"].concat());
        self.imap_response()
    }

    /// The lines up to the tagged response or the end.
    pub(crate) fn imap_response(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line() {
            let last = line.starts_with("zq7 ");
            lines.push(line);
            if last {
                break;
            }
        }
        lines
    }

    /// The octets of one item that FETCH answers with a literal.
    pub(crate) fn imap_literal(&mut self, command: &str) -> Vec<u8> {
        self.send(format!("zq7 {command}\r\n"));
        let line = self.line().expect("an answer");
        let count = line
            .rsplit_once('{')
            .and_then(|(_, count)| count.strip_suffix('}')?.parse().ok())
            .unwrap_or_else(|| panic!("a literal in {line}"));
        let octets = self.octets(count);
        self.imap_response();
        octets
    }

    /// `None` when nothing more comes.
    fn fill(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                self.input.extend_from_slice(&piece[..read]);
                Some(())
            }
            // Only silence is a fault: a server may well reset a connection full of rubbish.
            Err(error) => {
                let silent = matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
                assert!(!silent, "no answer after {ANSWER_TIME_MAX:?}");
                None
            }
        }
    }
}

fn connector(authority: &Path) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("TLS");
    builder.set_ca_file(authority).expect("an authority");
    builder.build()
}

fn clone_of(socket: &TcpStream) -> TcpStream {
    socket.try_clone().expect("a handle")
}

/// The standard library cannot choose the source of a connection; tokio can.
fn connected(source: u8, port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("io");
    let socket = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, source], 0))).expect("a source");
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect(server).await.expect("a listener").into_std().expect("a socket")
    });
    socket.set_nonblocking(false).expect("a socket");
    socket.set_nodelay(true).expect("a socket");
    socket.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a socket");
    socket.set_write_timeout(Some(ANSWER_TIME_MAX)).expect("a socket");
    socket
}
