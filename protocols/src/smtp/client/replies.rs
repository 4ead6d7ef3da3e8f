//! Reading a server's replies, within bounds.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::SmtpConnection;
use crate::smtp::{
    grammar::{ReplyLine, ServerReply},
    wire::{Line, Wire, WireError},
};

/// Octets of one line of a reply. The standard's 512 are exceeded by servers that print long
/// addresses and links.
const REPLY_LINE_OCTETS_MAX: usize = 4_096;

/// Lines of one reply.
const REPLY_LINES_MAX: usize = 128;

/// Octets of text that are kept of one reply; what comes behind is read and forgotten. The extensions
/// that a server announces have room in it many times.
const REPLY_TEXT_OCTETS_MAX: usize = 8 * 1024;

/// Why an exchange stopped without a reply. What was being done stands in `during`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Interrupted {
    /// The server closed the connection.
    #[error("the server closed the connection during {during}")]
    Closed {
        /// The command, or `the data`.
        during: &'static str,
    },
    /// The server took too long.
    #[error("the server took too long during {during}")]
    TimeOut {
        /// The command, or `the data`.
        during: &'static str,
    },
    /// The server did each step in time, and all together too slowly.
    #[error("the server is too slow: the time of the message was over during {during}")]
    TooSlow {
        /// The command, or `the data`.
        during: &'static str,
    },
    /// The connection broke.
    #[error("the connection broke during {during}: {cause}")]
    Broken {
        /// The command, or `the data`.
        during: &'static str,
        /// The operating system's or OpenSSL's words.
        cause: String,
    },
    /// What the server said is no reply of SMTP.
    #[error("the server's reply to {during} cannot be understood")]
    BadReply {
        /// The command, or `the data`.
        during: &'static str,
    },
    /// Our own source of the message failed.
    #[error("the message could not be read: {cause}")]
    Source {
        /// The source's words.
        cause: String,
    },
}

impl Interrupted {
    pub(super) fn during(during: &'static str) -> impl Fn(WireError) -> Self {
        move |error| match error {
            WireError::Closed => Self::Closed { during },
            WireError::TimeOut => Self::TimeOut { during },
            WireError::EndlessLine => Self::BadReply { during },
            WireError::Broken(error) => Self::Broken { during, cause: error.to_string() },
        }
    }
}

/// Does `work` until `end`, if there is one.
pub(super) async fn before<T>(
    end: Option<Instant>,
    during: &'static str,
    work: impl Future<Output = Result<T, Interrupted>>,
) -> Result<T, Interrupted> {
    match end {
        None => work.await,
        Some(end) => {
            timeout_at(end, work).await.unwrap_or_else(|_| Err(Interrupted::TooSlow { during }))
        }
    }
}

/// Reads one reply of any number of lines.
///
/// ```text
/// Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
/// ```
pub(super) async fn read_reply(
    wire: &mut Wire,
    during: &'static str,
    time_max: Duration,
) -> Result<ServerReply, Interrupted> {
    let deadline = Instant::now() + time_max;
    let mut reply: Option<ServerReply> = None;
    let mut room = REPLY_TEXT_OCTETS_MAX;
    for _ in 0..REPLY_LINES_MAX {
        let line = wire
            .line(REPLY_LINE_OCTETS_MAX, deadline)
            .await
            .map_err(Interrupted::during(during))?;
        let Line::Whole(line) = line else { return Err(Interrupted::BadReply { during }) };
        let line = ReplyLine::parse(&line).ok_or(Interrupted::BadReply { during })?;
        let fits = line.text.len() <= room;
        room = room.saturating_sub(line.text.len());
        match &mut reply {
            None => {
                reply = Some(ServerReply {
                    code: line.code,
                    enhanced: line.enhanced,
                    lines: vec![line.text],
                });
            }
            Some(reply) if reply.code == line.code && fits => reply.lines.push(line.text),
            Some(reply) if reply.code == line.code => {}
            Some(_) => return Err(Interrupted::BadReply { during }),
        }
        if line.last {
            return reply.ok_or(Interrupted::BadReply { during });
        }
    }
    Err(Interrupted::BadReply { during })
}

impl SmtpConnection {
    /// Reads the reply to `during` within the time of the message; a failure, and 421, make the connection unusable.
    pub(super) async fn reply(
        &mut self,
        during: &'static str,
        time_max: Duration,
    ) -> Result<ServerReply, Interrupted> {
        let reading = read_reply(&mut self.wire, during, time_max);
        let reply = before(self.message_end, during, reading).await;
        if reply.as_ref().map_or(true, |reply| reply.code == 421) {
            self.unusable = true;
        }
        reply
    }

    /// Lets octets go out with the next flush or read, within the time of the message.
    pub(super) async fn write(
        &mut self,
        during: &'static str,
        octets: &[u8],
    ) -> Result<(), Interrupted> {
        let writing = async { self.wire.write(octets).await.map_err(Interrupted::during(during)) };
        let written = before(self.message_end, during, writing).await;
        self.unusable |= written.is_err();
        written
    }
}
