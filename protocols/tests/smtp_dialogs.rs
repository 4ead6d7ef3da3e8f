//! Golden dialogs: every file `tests/smtp/*.dialog` is one exchange with our server.
//!
//! ```text
//! door: submission-tls | submission-start-tls | relay | relay-clear   (first line)
//! # a comment
//! C: a line, sent with CR LF
//! C> octets with \r \n \0 \xHH \\ escapes, sent as they are
//! S: a line, exactly as it must come; \s is a space at its end
//! S~ the start of a line that must come
//! S+ the code of a reply in any number of lines, whatever they say
//! TLS   (the client's handshake)
//! EOF   (the server must close now)
//! ```

#![allow(missing_docs)]

mod support;

use std::{path::Path, time::Duration};

use protocols::net::{stream::ConnectionStream, tls::TlsClient};
use support::post::{Door, open, settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

struct Dialog {
    stream: ConnectionStream,
    authority: Vec<u8>,
    at: String,
}

impl Dialog {
    async fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut octet = [0];
            let read = timeout(SOON, self.stream.read(&mut octet)).await;
            let read = read.unwrap_or_else(|_| panic!("{}: no reply", self.at));
            assert!(
                read.unwrap_or(0) == 1,
                "{}: closed after {:?}",
                self.at,
                String::from_utf8_lossy(&line)
            );
            line.push(octet[0]);
        }
        String::from_utf8(line).unwrap().trim_end_matches("\r\n").to_owned()
    }

    async fn step(mut self, line: &str) -> Self {
        if let Some(text) = line.strip_prefix("C: ").or((line == "C:").then_some("")) {
            self.stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
        } else if let Some(text) = line.strip_prefix("C> ") {
            self.stream.write_all(&unescaped(text)).await.unwrap();
        } else if let Some(text) = line.strip_prefix("S: ") {
            assert_eq!(self.read_line().await, text.replace("\\s", " "), "{}", self.at);
        } else if let Some(text) = line.strip_prefix("S~ ") {
            let read = self.read_line().await;
            assert!(read.starts_with(text), "{}: {read:?} does not start with {text:?}", self.at);
        } else if let Some(code) = line.strip_prefix("S+ ") {
            let mut read = self.read_line().await;
            while read.as_bytes().get(3) == Some(&b'-') {
                read = self.read_line().await;
            }
            assert!(read.starts_with(&format!("{code} ")), "{}: {read:?}", self.at);
        } else if line == "TLS" {
            let ConnectionStream::Plain(stream) = self.stream else { panic!("{}", self.at) };
            let client = TlsClient::verified_by(&self.authority).unwrap();
            self.stream = client.connect("localhost", stream, SOON).await.unwrap();
        } else if line == "EOF" {
            let mut octets = Vec::new();
            let _ = timeout(SOON, self.stream.read_to_end(&mut octets)).await.expect("closes");
            assert_eq!(String::from_utf8_lossy(&octets), "", "{}", self.at);
        } else {
            panic!("{}: {line:?} is no step", self.at);
        }
        self
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        octets.extend_from_slice(plain.as_bytes());
        let (octet, length) = match escaped.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b'0' => (0, 1),
            b'x' => (u8::from_str_radix(&escaped[1..3], 16).unwrap(), 3),
            other => (other, 1),
        };
        octets.push(octet);
        rest = &escaped[length..];
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

async fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().unwrap();
    let door = match first {
        "door: submission-tls" => Door::SubmissionTls,
        "door: submission-start-tls" => Door::SubmissionStartTls,
        "door: relay" => Door::Relay,
        "door: relay-clear" => Door::RelayClear,
        other => panic!("{other:?} is no door"),
    };
    let office = open(door, settings()).await;
    let stream = ConnectionStream::Plain(TcpStream::connect(office.address).await.unwrap());
    let mut dialog = Dialog { stream, authority: office.made.authority.clone(), at: String::new() };
    for (number, line) in lines {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        dialog.at = format!("{}:{}", path.display(), number + 1);
        dialog = dialog.step(line).await;
    }
}

#[tokio::test]
async fn every_golden_dialog_is_held_to_the_letter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "dialog") {
            play(&path).await;
            played += 1;
        }
    }
    assert!(played >= 10, "only {played} dialogs were found");
}
