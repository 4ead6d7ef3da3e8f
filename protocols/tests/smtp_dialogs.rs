//! Golden dialogs: every file `tests/smtp/*.dialog` is one exchange with our server.
//!
//! ```text
//! door: submission-tls | submission-start-tls | relay | relay-clear   (first line)
//! # a comment
//! C: a line, sent with CR LF
//! C> octets with \r \n \0 \\ escapes, sent as they are
//! S: a line, exactly as it must come; \s is a space at its end
//! S~ the start of a line that must come
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
            let octets = text
                .replace("\\r", "\r")
                .replace("\\n", "\n")
                .replace("\\0", "\0")
                .replace("\\\\", "\\");
            self.stream.write_all(octets.as_bytes()).await.unwrap();
        } else if let Some(text) = line.strip_prefix("S: ") {
            assert_eq!(self.read_line().await, text.replace("\\s", " "), "{}", self.at);
        } else if let Some(text) = line.strip_prefix("S~ ") {
            let read = self.read_line().await;
            assert!(read.starts_with(text), "{}: {read:?} does not start with {text:?}", self.at);
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
