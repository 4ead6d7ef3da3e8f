//! Parts without their transfer encoding (RFC 3516 §4, RFC 9051 §6.4.5): decoded on the way,
//! never held.
//!
//! A literal is announced with its length, so an encoded part is read twice: once to count, once to
//! send. Only the octets up to the end of what was asked for are read.

use std::ops::Range;

use storage::{error::StoreError, ids::EmailNumber, mailbox::view::MailboxView, summary::Summary};

use super::{
    content::{self, read},
    section::{self, Octets},
};
use crate::{
    imap::{
        frame::Frame,
        grammar::{fetch::Partial, write},
        text::transfer_encoding::TransferDecoder,
    },
    lines::{Disconnect, Stream},
};

/// A part that is there.
#[derive(Debug)]
pub(crate) struct Binary {
    range: Range<u64>,
    /// `None` where the octets stand as they are.
    encoding: Option<Vec<u8>>,
    partial: Partial,
}

/// Nobody here knows how the part is encoded.
#[derive(Debug)]
pub(crate) struct UnknownEncoding;

impl Binary {
    /// Finds the part; `None` when there is no such part.
    pub(crate) fn find(
        summary: &Summary,
        part: &[u32],
        partial: Partial,
    ) -> Result<Option<Self>, UnknownEncoding> {
        let Some((range, encoding)) = section::whole_part(summary, part) else { return Ok(None) };
        let encoding = match encoding.map(<[u8]>::to_ascii_lowercase) {
            None => None,
            Some(name) => match name.as_slice() {
                b"7bit" | b"8bit" | b"binary" => None,
                b"base64" | b"quoted-printable" => Some(name),
                _ => return Err(UnknownEncoding),
            },
        };
        Ok(Some(Self { range, encoding, partial }))
    }

    /// How many octets are to be sent.
    pub(crate) async fn length(
        &self,
        view: &dyn MailboxView,
        number: EmailNumber,
    ) -> Result<u64, StoreError> {
        if self.encoding.is_none() {
            return Ok(self.plain().length());
        }
        let mut decoding = Decoding::new(self);
        let mut length = 0;
        while let Some(octets) = decoding.next(view, number).await? {
            length += octets.len() as u64;
        }
        Ok(length)
    }

    fn plain(&self) -> Octets {
        let octets = Octets::range(self.range.clone());
        match self.partial {
            Some((origin, count)) => octets.part(origin, count.get()),
            None => octets,
        }
    }

    /// Sends the part as `literal8`, in which NUL may stand (RFC 3516 §4.3). As
    /// [`content::send_literal`] it sends NIL where the message cannot be read.
    pub(crate) async fn send<S: Stream>(
        &self,
        frame: &mut Frame<S>,
        view: &dyn MailboxView,
        number: EmailNumber,
    ) -> Result<Result<(), StoreError>, Disconnect> {
        if self.encoding.is_none() {
            return content::send(frame, view, number, &self.plain(), b"~").await;
        }
        let length = match self.length(view, number).await {
            Ok(length) => length,
            Err(error) => {
                frame.put(b"NIL").await?;
                return Ok(Err(error));
            }
        };
        let mut announcement = b"~".to_vec();
        write::literal_announcement(&mut announcement, length);
        frame.put(&announcement).await?;
        let mut decoding = Decoding::new(self);
        while let Some(octets) =
            decoding.next(view, number).await.map_err(Disconnect::MessageUnreadable)?
        {
            frame.put(&octets).await?;
        }
        Ok(Ok(()))
    }
}

/// One pass over an encoded part.
struct Decoding {
    position: u64,
    end: u64,
    decoder: Option<TransferDecoder>,
    /// Decoded octets still to be passed over, and to be sent.
    skip: u64,
    left: u64,
}

impl Decoding {
    fn new(binary: &Binary) -> Self {
        let (skip, left) =
            binary.partial.map_or((0, u64::MAX), |(origin, count)| (origin, count.get()));
        Self {
            position: binary.range.start,
            end: binary.range.end,
            decoder: Some(TransferDecoder::new(binary.encoding.as_deref())),
            skip,
            left,
        }
    }

    /// The next decoded octets of those asked for; `None` at their end.
    async fn next(
        &mut self,
        view: &dyn MailboxView,
        number: EmailNumber,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        while self.left > 0 {
            let Some(mut decoder) = self.decoder.take() else { return Ok(None) };
            let octets = if self.position < self.end {
                let piece = read(view, number, self.position..self.end).await?;
                self.position += piece.len() as u64;
                let octets = decoder.decode(&piece);
                self.decoder = Some(decoder);
                octets
            } else {
                decoder.finish()
            };
            let wanted = self.wanted(octets);
            if !wanted.is_empty() {
                return Ok(Some(wanted));
            }
        }
        Ok(None)
    }

    fn wanted(&mut self, mut decoded: Vec<u8>) -> Vec<u8> {
        let clamp = |octets: u64| usize::try_from(octets).unwrap_or(usize::MAX);
        let skipped = clamp(self.skip).min(decoded.len());
        decoded.drain(..skipped);
        decoded.truncate(clamp(self.left));
        self.skip -= skipped as u64;
        self.left -= decoded.len() as u64;
        decoded
    }
}
