//! The protocol of `rspamd`: HTTP, `POST /checkv2` with the message, an answer in JSON.
//!
//! | action | verdict |
//! |---|---|
//! | `reject`, `discard` | it must not pass: nothing is dropped without a word to its sender |
//! | `soft reject`, `greylist` | later |
//! | any other | it may pass; score and action are said of it |
//!
//! * A connection carries one request. An answer has at most [`ANSWER_OCTETS_MAX`] octets.
//! * What is larger than the bound is not asked about: it may pass, and that is said of it.
//!
//! Not here: how many are asked at a time ([`super::Turns`]), what becomes of the message.

use std::{io, time::Duration};

use axum::body::{Body, Bytes, to_bytes};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};

use super::{CheckError, Content, ContentCheck, Health, Passage, Verdict, word};
use crate::config::HostPort;

/// The largest answer that is read.
const ANSWER_OCTETS_MAX: usize = 1 << 20;

/// Recipients that are told of: a rule about more of them sees none.
const RECIPIENTS_MAX: usize = 250;

/// Asks one `rspamd`.
#[derive(Clone, Debug)]
pub struct Rspamd {
    address: HostPort,
    connect_time_max: Duration,
    answer_time_max: Duration,
    octets_max: u64,
}

/// What is read of an answer.
#[derive(Debug, Deserialize)]
struct Answer {
    action: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    required_score: f64,
}

impl Rspamd {
    /// Asks the one at `address` about messages of up to `octets_max`: so long for the connection, so
    /// long for everything after it.
    #[must_use]
    pub fn new(
        address: HostPort,
        connect_time_max: Duration,
        answer_time_max: Duration,
        octets_max: u64,
    ) -> Self {
        Self { address, connect_time_max, answer_time_max, octets_max }
    }

    async fn connect(&self) -> Result<TcpStream, CheckError> {
        let unreachable =
            |source| CheckError::Unreachable { address: self.address.to_string(), source };
        let connecting = TcpStream::connect((self.address.host.as_str(), self.address.port));
        match timeout(self.connect_time_max, connecting).await {
            Ok(connected) => connected.map_err(unreachable),
            Err(_) => Err(unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CheckError {
        CheckError::Broken { address: self.address.to_string(), source: io::Error::other(error) }
    }

    fn no_verdict(&self, answer: &[u8]) -> CheckError {
        CheckError::NoVerdict { address: self.address.to_string(), answer: word(answer) }
    }

    /// Sends `request` and reads the whole answer.
    async fn exchange(&self, request: Request<Body>) -> Result<Bytes, CheckError> {
        let stream = TokioIo::new(self.connect().await?);
        let limit = self.answer_time_max;
        let exchange = async {
            let (mut sender, connection) =
                http1::handshake(stream).await.map_err(|error| self.broken(error))?;
            let answer = async {
                let response =
                    sender.send_request(request).await.map_err(|error| self.broken(error))?;
                let status = response.status();
                let body = to_bytes(Body::new(response.into_body()), ANSWER_OCTETS_MAX).await;
                let body = body.map_err(|error| self.broken(error))?;
                if status == StatusCode::OK { Ok(body) } else { Err(self.no_verdict(&body)) }
            };
            let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(answer));
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                // The whole answer may have been read already when the connection ends.
                ended = &mut connection => match ended {
                    Ok(()) => answer.await,
                    Err(error) => Err(self.broken(error)),
                },
            }
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(CheckError::TimeOut { address: self.address.to_string(), limit })
        })
    }

    fn request(&self, octets: Bytes, passage: &Passage) -> Result<Request<Body>, CheckError> {
        let mut request = Request::post("/checkv2")
            .header("host", self.address.to_string())
            .header("user-agent", "ceralacca")
            .header("content-length", octets.len())
            .header("ip", passage.address.to_string())
            .header("helo", word(passage.helo.as_bytes()))
            .header("from", word(passage.reverse_path.as_bytes()));
        for recipient in passage.recipients.iter().take(RECIPIENTS_MAX) {
            request = request.header("rcpt", word(recipient.as_bytes()));
        }
        request.body(Body::from(octets)).map_err(|error| self.broken(error))
    }
}

/// The whole of `message`; a copy only where it lies in a file.
async fn whole(mut message: Content<'_>) -> io::Result<Bytes> {
    if let Content::Memory(octets) = message {
        return Ok(octets);
    }
    message.begin().await?;
    let (mut octets, mut piece) = (Vec::new(), Vec::new());
    loop {
        message.next(&mut piece).await?;
        if piece.is_empty() {
            return Ok(octets.into());
        }
        octets.extend_from_slice(&piece);
    }
}

impl Answer {
    fn verdict(&self) -> Verdict {
        let Self { action, score, required_score } = self;
        let action = word(action.as_bytes());
        match action.as_str() {
            "reject" | "discard" => Verdict::Found(action),
            "soft reject" | "greylist" => Verdict::Later(action),
            "no action" => {
                Verdict::Noted(format!("No, score={score:.2} required={required_score:.2}"))
            }
            _ => Verdict::Noted(format!(
                "Yes, score={score:.2} required={required_score:.2} action=\"{}\"",
                action.replace(['"', '\\'], "?")
            )),
        }
    }
}

#[async_trait::async_trait]
impl ContentCheck for Rspamd {
    fn name(&self) -> &'static str {
        "rspamd"
    }

    async fn check(&self, message: Content<'_>, passage: &Passage) -> Result<Verdict, CheckError> {
        if message.size() > self.octets_max {
            return Ok(Verdict::Noted("Unknown, too large to be checked".to_owned()));
        }
        let octets = whole(message).await.map_err(CheckError::Unreadable)?;
        let answer = self.exchange(self.request(octets, passage)?).await?;
        let read: Result<Answer, _> = serde_json::from_slice(&answer);
        read.map(|answer| answer.verdict()).map_err(|_| self.no_verdict(&answer))
    }

    async fn health(&self) -> Result<Health, CheckError> {
        let request = Request::get("/ping")
            .header("host", self.address.to_string())
            .body(Body::empty())
            .map_err(|error| self.broken(error))?;
        let pong = self.exchange(request).await?;
        if pong.trim_ascii() == b"pong" {
            Ok(Health { version: "rspamd".to_owned(), signatures: None })
        } else {
            Err(self.no_verdict(&pong))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_its_verdict() {
        for (action, verdict) in [
            ("no action", Verdict::Noted("No, score=7.10 required=15.00".to_owned())),
            (
                "add header",
                Verdict::Noted("Yes, score=7.10 required=15.00 action=\"add header\"".to_owned()),
            ),
            (
                "rewrite subject",
                Verdict::Noted(
                    "Yes, score=7.10 required=15.00 action=\"rewrite subject\"".to_owned(),
                ),
            ),
            (
                "a\r\nX: \"b\"",
                Verdict::Noted("Yes, score=7.10 required=15.00 action=\"a??X: ?b?\"".to_owned()),
            ),
            ("greylist", Verdict::Later("greylist".to_owned())),
            ("soft reject", Verdict::Later("soft reject".to_owned())),
            ("reject", Verdict::Found("reject".to_owned())),
            ("discard", Verdict::Found("discard".to_owned())),
        ] {
            let text = serde_json::json!({ "action": action, "score": 7.1, "required_score": 15, "symbols": {} });
            let answer: Answer = serde_json::from_value(text).expect("an answer");
            assert_eq!(answer.verdict(), verdict, "{action}");
        }
        assert!(serde_json::from_str::<Answer>("{\"error\": \"x\"}").is_err(), "no verdict");
    }
}
