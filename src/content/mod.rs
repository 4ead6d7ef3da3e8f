//! Checks of what a message contains, by programs beside this one: viruses ([`clamd`]), unwanted
//! ordinary mail ([`rspamd`]).
//!
//! * A [`ContentCheck`] speaks the protocol of one program. A [`Checker`] is one with bounds: messages
//!   at a time, large ones among them, those of one source, and the wait for a turn.
//! * Whoever asks hears a verdict or an error, never a guess: what was not checked whole is an error.
//! * A message is read from where it waits; a check takes a piece of it at a time.
//!
//! Not here: what follows from a verdict (`pec`).

pub mod clamd;
pub mod rspamd;
mod turns;

use std::{io::SeekFrom, net::IpAddr, time::Duration};

use bytes::Bytes;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use trust::clock::UnixMillis;

pub use turns::Turns;

use crate::{
    metrics_names::{CONTENT_CHECK_SECONDS, CONTENT_CHECKS},
    sources::Source,
};

/// Octets handed over at a time.
pub const PIECE_OCTETS: usize = 64 * 1024;

/// The most characters of a word of theirs that is kept: a virus's name, a reason.
const WORD_CHARACTERS_MAX: usize = 128;

/// A message where it waits.
#[derive(Debug)]
pub enum Content<'a> {
    /// In memory.
    Memory(Bytes),
    /// In a file, so many octets from its start.
    File(&'a mut File, u64),
}

impl Content<'_> {
    /// Its octets.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(octets) => octets.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    /// Goes back to the start.
    async fn begin(&mut self) -> std::io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file, _) => file.seek(SeekFrom::Start(0)).await.map(drop),
        }
    }

    /// Reads the next piece into `piece`; an empty one is the end.
    async fn next(&mut self, piece: &mut Vec<u8>) -> std::io::Result<()> {
        piece.clear();
        match self {
            Self::Memory(octets) => {
                let next = octets.split_to(octets.len().min(PIECE_OCTETS));
                piece.extend_from_slice(&next);
                Ok(())
            }
            Self::File(file, left) => {
                let next = (*left).min(PIECE_OCTETS as u64);
                let read = file.take(next).read_to_end(piece).await? as u64;
                if read < next {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                *left -= read;
                Ok(())
            }
        }
    }
}

/// How a message came; what a check may want to know beside its octets.
#[derive(Clone, Debug)]
pub struct Passage {
    /// The address of the connection.
    pub address: IpAddr,
    /// What it said in HELO or EHLO.
    pub helo: String,
    /// The reverse path.
    pub reverse_path: String,
    /// The forward paths.
    pub recipients: Vec<String>,
}

/// What a check found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing.
    Clean,
    /// It must not pass; the name of what was found.
    Found(String),
    /// It shall come again later; why.
    Later(String),
    /// It may pass, with this said of it: printable ASCII.
    Noted(String),
}

impl Verdict {
    /// The word in metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Found(_) => "found",
            Self::Later(_) => "later",
            Self::Noted(_) => "noted",
        }
    }
}

/// What a program says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// Its name and version.
    pub version: String,
    /// Of when its signatures are, when it says so.
    pub signatures: Option<UnixMillis>,
}

/// Why a message was not checked. The same message may be checked later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// Others were first for too long.
    #[error(
        "no turn for a content check within {0:?}: raise connections_max, or give the program more threads"
    )]
    NoTurn(Duration),
    /// The program is not there.
    #[error("{address} cannot be reached: is the program running, and may this user open it?")]
    Unreachable {
        /// Where.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("{address} broke the exchange off")]
    Broken {
        /// Where.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{address} did not answer within {limit:?}: raise the time limit, or lower its load")]
    TimeOut {
        /// Where.
        address: String,
        /// The bound.
        limit: Duration,
    },
    /// The message is larger than the program takes.
    #[error(
        "{address} takes no message of this size: raise StreamMaxLength in clamd.conf, with MaxFileSize and MaxScanSize, and set AlertExceedsMax"
    )]
    TooLarge {
        /// Where.
        address: String,
    },
    /// The program has not looked at everything.
    #[error(
        "{address} has not looked at the whole message ({found}): raise its limits, MaxFileSize, MaxScanSize and MaxScanTime among them"
    )]
    NotWhole {
        /// Where.
        address: String,
        /// What it says.
        found: String,
    },
    /// The program says that it failed, or something that is no answer.
    #[error("{address} gives no verdict: {answer:?}")]
    NoVerdict {
        /// Where.
        address: String,
        /// What it says.
        answer: String,
    },
    /// The message cannot be read from where it waits.
    #[error("the message cannot be read from where it waits")]
    Unreadable(#[source] std::io::Error),
}

impl CheckError {
    /// The word in metrics: `unavailable` for a program that cannot be asked, `unchecked` for a
    /// message that it does not check.
    fn word(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::NotWhole { .. } => "unchecked",
            _ => "unavailable",
        }
    }
}

/// Asks one program about messages.
#[async_trait::async_trait]
pub trait ContentCheck: std::fmt::Debug + Send + Sync {
    /// The program, in metrics and logs.
    fn name(&self) -> &'static str;

    /// Hands `message` over and returns the verdict. The connection is this check's own, and ends
    /// with it; dropping the future gives the check up.
    ///
    /// # Errors
    ///
    /// [`CheckError`], whenever the whole message was not checked.
    async fn check(&self, message: Content<'_>, passage: &Passage) -> Result<Verdict, CheckError>;

    /// Asks whether the program is there, and which.
    ///
    /// # Errors
    ///
    /// [`CheckError`].
    async fn health(&self) -> Result<Health, CheckError>;
}

/// A check with its bounds.
#[derive(Debug)]
pub struct Checker {
    check: Box<dyn ContentCheck>,
    turns: Turns,
}

impl Checker {
    /// `check` within `turns`.
    #[must_use]
    pub fn new(check: Box<dyn ContentCheck>, turns: Turns) -> Self {
        Self { check, turns }
    }

    /// The program, in metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.check.name()
    }

    /// Waits for a turn of `source` and checks `message`.
    ///
    /// # Errors
    ///
    /// [`CheckError`].
    pub async fn check(
        &self,
        message: Content<'_>,
        passage: &Passage,
        source: Source,
    ) -> Result<Verdict, CheckError> {
        let verdict = match self.turns.take(source, message.size()).await {
            None => Err(CheckError::NoTurn(self.turns.waiting_time_max())),
            Some(_turn) => {
                let begin = std::time::Instant::now();
                let verdict = self.check.check(message, passage).await;
                metrics::histogram!(CONTENT_CHECK_SECONDS, "check" => self.name())
                    .record(begin.elapsed().as_secs_f64());
                verdict
            }
        };
        let outcome = verdict.as_ref().map_or_else(CheckError::word, Verdict::word);
        metrics::counter!(CONTENT_CHECKS, "check" => self.name(), "outcome" => outcome)
            .increment(1);
        verdict
    }

    /// As [`ContentCheck::health`]; needs no turn.
    ///
    /// # Errors
    ///
    /// [`CheckError`].
    pub async fn health(&self) -> Result<Health, CheckError> {
        self.check.health().await
    }
}

/// What a program wrote, as printable ASCII of a bounded length.
fn word(text: &[u8]) -> String {
    let printable =
        |octet: &u8| if (b' '..=b'~').contains(octet) { char::from(*octet) } else { '?' };
    text.iter().take(WORD_CHARACTERS_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_message_is_read_the_same_from_memory_and_from_a_file() {
        let octets: Vec<u8> =
            (0..PIECE_OCTETS * 2 + 7).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut file = File::from_std(tempfile::tempfile().expect("a file"));
        file.write_all(&octets).await.expect("written");
        file.flush().await.expect("written");
        let size = octets.len() as u64;
        for mut content in [Content::Memory(octets.clone().into()), Content::File(&mut file, size)]
        {
            assert_eq!(content.size(), size);
            content.begin().await.expect("at the start");
            let (mut read, mut piece) = (Vec::new(), Vec::new());
            loop {
                content.next(&mut piece).await.expect("a piece");
                if piece.is_empty() {
                    break;
                }
                assert!(piece.len() <= PIECE_OCTETS);
                read.extend_from_slice(&piece);
            }
            assert_eq!(read, octets);
        }
        let mut short = Content::File(&mut file, size + 1);
        short.begin().await.expect("at the start");
        let mut piece = Vec::new();
        while short.next(&mut piece).await.is_ok() {
            assert!(!piece.is_empty(), "a file that is too short is no whole message");
        }
    }

    #[test]
    fn what_a_program_writes_is_printable_and_short() {
        assert_eq!(word(b"Win.Test\r\n\xff"), "Win.Test???");
        assert_eq!(word(&[b'x'; 10_000]).len(), WORD_CHARACTERS_MAX);
    }
}
