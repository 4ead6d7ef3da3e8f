//! Octets of messages on their way to the client, a piece at a time.

use std::ops::Range;

use bytes::Bytes;
use storage::{error::StoreError, ids::EmailNumber, mailbox::view::MailboxView};

use super::section::Octets;
use crate::{
    imap::{frame::Frame, grammar::write},
    lines::{Disconnect, Stream},
};

/// Sends `octets` as a literal.
///
/// The first piece is read before the literal is announced: a message that cannot be read at all
/// is sent as NIL and its error returned, so that it costs a NO and not the connection.
pub(crate) async fn send_literal<S: Stream>(
    frame: &mut Frame<S>,
    view: &dyn MailboxView,
    email_number: EmailNumber,
    octets: &Octets,
) -> Result<Result<(), StoreError>, Disconnect> {
    send(frame, view, email_number, octets, b"").await
}

/// As [`send_literal`]; `sign` stands before the literal.
pub(crate) async fn send<S: Stream>(
    frame: &mut Frame<S>,
    view: &dyn MailboxView,
    email_number: EmailNumber,
    octets: &Octets,
    sign: &[u8],
) -> Result<Result<(), StoreError>, Disconnect> {
    let mut announcement = sign.to_vec();
    write::literal_announcement(&mut announcement, octets.length());
    let mut announced = false;
    for range in &octets.ranges {
        let mut position = range.start;
        while position < range.end {
            match read(view, email_number, position..range.end).await {
                Ok(piece) => {
                    if !announced {
                        frame.put(&announcement).await?;
                        announced = true;
                    }
                    position += piece.len() as u64;
                    frame.put(&piece).await?;
                }
                Err(error) if announced => return Err(Disconnect::MessageUnreadable(error)),
                Err(error) => {
                    frame.put(b"NIL").await?;
                    return Ok(Err(error));
                }
            }
        }
    }
    if !announced {
        frame.put(&announcement).await?;
    }
    frame.put(octets.tail).await?;
    Ok(Ok(()))
}

/// Reads the next octets of a range that the summary says is there.
pub(crate) async fn read(
    view: &dyn MailboxView,
    email_number: EmailNumber,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    let asked = range.end.saturating_sub(range.start);
    let piece = view.read(email_number, range).await?;
    if piece.is_empty() || piece.len() as u64 > asked {
        return Err(StoreError::Damaged {
            object: format!("message {email_number}"),
            detail: "its octets are not as many as its summary says".to_owned(),
        });
    }
    Ok(piece)
}
