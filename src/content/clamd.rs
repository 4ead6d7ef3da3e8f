//! The protocol of `clamd`, the daemon of ClamAV (clamd(8), "COMMANDS").
//!
//! A connection carries one command, in the form that ends with a NUL: `zPING`, `zVERSION`,
//! `zINSTREAM`. After the last come pieces of the message, each behind its length as a big-endian u32,
//! and a length of 0. The answer is one line that ends with a NUL.
//!
//! * The answer is listened for while octets are sent: `clamd` refuses what is too large before it has
//!   all of it.
//! * `OK` is clean only at the end: after the whole message was sent, and with its NUL. What is said before
//!   may be a refusal or a virus.
//! * `OK` alone is clean. A name that begins with `Heuristics.Limits.Exceeded` says that something was not
//!   looked at (`AlertExceedsMax`): that is neither clean nor a virus.
//! * An answer has at most [`ANSWER_OCTETS_MAX`] octets.
//!
//! Not here: how many are asked at a time ([`super::Turns`]).

use std::{fmt, io, time::Duration};

use jiff::{civil::DateTime, tz::TimeZone};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use trust::clock::UnixMillis;

use super::{CheckError, Content, ContentCheck, Health, PIECE_OCTETS, Passage, Verdict, word};
use crate::config::ClamdAddress;

/// The longest answer that is read.
const ANSWER_OCTETS_MAX: usize = 4096;

/// How a name begins that says that a limit was exceeded.
const LIMITS_EXCEEDED: &str = "Heuristics.Limits.Exceeded";

/// How long `clamd` is given to refuse a length that it does not take: it says nothing to the others.
const PROBE_TIME: Duration = Duration::from_millis(300);

/// Asks one `clamd`.
#[derive(Clone, Debug)]
pub struct Clamd {
    address: ClamdAddress,
    connect_time_max: Duration,
    answer_time_max: Duration,
}

/// A connection to it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What an answer to INSTREAM says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Answer {
    Clean,
    Found(String),
    NotWhole(String),
    TooLarge,
    Other(String),
}

impl Clamd {
    /// Asks the one at `address`: so long for the connection, so long for everything after it.
    #[must_use]
    pub fn new(
        address: ClamdAddress,
        connect_time_max: Duration,
        answer_time_max: Duration,
    ) -> Self {
        Self { address, connect_time_max, answer_time_max }
    }

    /// Whether a message of `octets` is within `StreamMaxLength`. Costs one connection and no message:
    /// a length that is too large is refused before what it announces.
    ///
    /// # Errors
    ///
    /// [`CheckError`], but not [`CheckError::TooLarge`].
    pub async fn takes(&self, octets: u64) -> Result<bool, CheckError> {
        let mut stream = self.connect().await?;
        let length = u32::try_from(octets).unwrap_or(u32::MAX);
        let head = [&b"zINSTREAM\0"[..], &length.to_be_bytes()].concat();
        stream.write_all(&head).await.map_err(|source| self.broken(source))?;
        match timeout(PROBE_TIME, read_answer(&mut stream)).await {
            Err(_) => Ok(true),
            Ok(answer) => match self.answered(answer)?.0 {
                Answer::TooLarge => Ok(false),
                Answer::Other(answer) | Answer::Found(answer) | Answer::NotWhole(answer) => {
                    Err(CheckError::NoVerdict { address: self.address.to_string(), answer })
                }
                Answer::Clean => Ok(true),
            },
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, CheckError> {
        let connecting = async {
            Ok::<Box<dyn Stream>, io::Error>(match &self.address {
                ClamdAddress::Socket(path) => Box::new(UnixStream::connect(path).await?),
                ClamdAddress::Host(host) => {
                    let stream = TcpStream::connect((host.host.as_str(), host.port)).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
            })
        };
        let unreachable =
            |source| CheckError::Unreachable { address: self.address.to_string(), source };
        match timeout(self.connect_time_max, connecting).await {
            Ok(connected) => connected.map_err(unreachable),
            Err(_) => Err(unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    fn broken(&self, source: io::Error) -> CheckError {
        CheckError::Broken { address: self.address.to_string(), source }
    }

    /// What an answer says, and whether it came with its NUL.
    fn answered(&self, answer: io::Result<Said>) -> Result<(Answer, bool), CheckError> {
        let said = answer.map_err(|source| self.broken(source))?;
        Ok((parse(&said.octets), said.ended))
    }

    /// What `answer` says of a message that was not sent whole: anything but that it is clean.
    fn early(&self, answer: io::Result<Said>) -> Result<Answer, CheckError> {
        match self.answered(answer)?.0 {
            Answer::Clean => {
                let early = "it calls clean what it has not seen whole";
                Err(self.broken(io::Error::new(io::ErrorKind::InvalidData, early)))
            }
            answer => Ok(answer),
        }
    }

    async fn within<T>(
        &self,
        exchange: impl Future<Output = Result<T, CheckError>>,
    ) -> Result<T, CheckError> {
        let limit = self.answer_time_max;
        timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(CheckError::TimeOut { address: self.address.to_string(), limit })
        })
    }

    /// One command without octets, and its answer.
    async fn ask(&self, command: &str) -> Result<Vec<u8>, CheckError> {
        let mut stream = self.connect().await?;
        self.within(async {
            let exchange = async {
                stream.write_all(format!("z{command}\0").as_bytes()).await?;
                Ok(read_answer(&mut stream).await?.octets)
            };
            exchange.await.map_err(|source| self.broken(source))
        })
        .await
    }

    async fn scan(
        &self,
        stream: Box<dyn Stream>,
        message: Content<'_>,
    ) -> Result<Answer, CheckError> {
        let (mut reader, mut writer) = split(stream);
        let mut answer = std::pin::pin!(read_answer(&mut reader));
        let sent = tokio::select! {
            biased;
            answer = &mut answer => return self.early(answer),
            sent = send(&mut writer, message) => sent,
        };
        match sent {
            Ok(()) => match self.answered(answer.await)? {
                (Answer::Clean, false) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                (answer, _) => Ok(answer),
            },
            Err(Unsent::Message(source)) => Err(CheckError::Unreadable(source)),
            // What it said before it closed the connection counts.
            Err(Unsent::Connection(source)) => match answer.await {
                Ok(answer) => self.early(Ok(answer)),
                Err(_) => Err(self.broken(source)),
            },
        }
    }
}

/// Why a message was not sent whole.
enum Unsent {
    Message(io::Error),
    Connection(io::Error),
}

async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    mut message: Content<'_>,
) -> Result<(), Unsent> {
    message.begin().await.map_err(Unsent::Message)?;
    writer.write_all(b"zINSTREAM\0").await.map_err(Unsent::Connection)?;
    let mut piece = Vec::with_capacity(PIECE_OCTETS);
    loop {
        message.next(&mut piece).await.map_err(Unsent::Message)?;
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        writer.write_all(&length.to_be_bytes()).await.map_err(Unsent::Connection)?;
        if piece.is_empty() {
            return writer.flush().await.map_err(Unsent::Connection);
        }
        writer.write_all(&piece).await.map_err(Unsent::Connection)?;
    }
}

/// An answer.
struct Said {
    octets: Vec<u8>,
    /// Its NUL came too.
    ended: bool,
}

/// Reads an answer up to its NUL, or to the end of the connection.
async fn read_answer(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Said> {
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let read = reader.read(&mut buffer).await?;
        let new = buffer.get(..read).unwrap_or_default();
        if let Some(end) = new.iter().position(|octet| *octet == 0) {
            answer.extend_from_slice(new.get(..end).unwrap_or_default());
            return Ok(Said { octets: answer, ended: true });
        }
        answer.extend_from_slice(new);
        if answer.len() > ANSWER_OCTETS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer has no end"));
        }
        if read == 0 {
            return if answer.is_empty() {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(Said { octets: answer, ended: false })
            };
        }
    }
}

/// Reads `stream: OK`, `stream: NAME FOUND`, `REASON ERROR`.
fn parse(answer: &[u8]) -> Answer {
    let answer = answer.trim_ascii_end();
    if let Some(reason) = answer.strip_suffix(b" ERROR") {
        let too_large = reason.windows(19).any(|part| part == b"size limit exceeded");
        return if too_large { Answer::TooLarge } else { Answer::Other(word(reason)) };
    }
    let Some(said) = answer.strip_prefix(b"stream: ") else { return Answer::Other(word(answer)) };
    if said == b"OK" {
        return Answer::Clean;
    }
    match said.strip_suffix(b" FOUND").map(word) {
        None => Answer::Other(word(answer)),
        Some(name) if name.starts_with(LIMITS_EXCEEDED) => Answer::NotWhole(name),
        Some(name) if name.trim().is_empty() => Answer::Other(word(answer)),
        Some(name) => Answer::Found(name),
    }
}

/// Reads `ClamAV 1.4.3/27500/Mon Nov 23 09:24:15 2026`; without signatures of ClamAV's own the name and
/// version stand alone. The time is of the zone of `clamd`, which is not said: it is read as UTC.
fn parse_version(answer: &[u8]) -> Health {
    let text = word(answer);
    let mut parts = text.splitn(3, '/');
    let version = parts.next().unwrap_or_default().trim().to_owned();
    let at = parts.nth(1).and_then(|at| DateTime::strptime("%a %b %d %H:%M:%S %Y", at.trim()).ok());
    let signatures = at.and_then(|at| at.to_zoned(TimeZone::UTC).ok());
    Health { version, signatures: signatures.map(|at| UnixMillis(at.timestamp().as_millisecond())) }
}

#[async_trait::async_trait]
impl ContentCheck for Clamd {
    fn name(&self) -> &'static str {
        "clamd"
    }

    async fn check(&self, message: Content<'_>, _passage: &Passage) -> Result<Verdict, CheckError> {
        let stream = self.connect().await?;
        let address = || self.address.to_string();
        match self.within(self.scan(stream, message)).await? {
            Answer::Clean => Ok(Verdict::Clean),
            Answer::Found(name) => Ok(Verdict::Found(name)),
            Answer::NotWhole(found) => Err(CheckError::NotWhole { address: address(), found }),
            Answer::TooLarge => Err(CheckError::TooLarge { address: address() }),
            Answer::Other(answer) => Err(CheckError::NoVerdict { address: address(), answer }),
        }
    }

    async fn health(&self) -> Result<Health, CheckError> {
        let pong = self.ask("PING").await?;
        if pong.trim_ascii_end() != b"PONG" {
            let answer = word(&pong);
            return Err(CheckError::NoVerdict { address: self.address.to_string(), answer });
        }
        Ok(parse_version(&self.ask("VERSION").await?))
    }
}

impl fmt::Display for Clamd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)
    }
}

#[cfg(test)]
mod tests;
