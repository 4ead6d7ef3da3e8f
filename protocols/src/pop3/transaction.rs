//! The transaction state (RFC 1939 §5, §7) and the update that QUIT ends it with (§6).

use std::sync::Arc;

use storage::{error::StoreError, mailbox::view::ListedMessage};

use super::{
    maildrop::Maildrop,
    multiline::{Stuffing, Top},
    reply::{Code, Reply},
    session::{Session, State, log},
    texts,
};
use crate::lines::{Disconnect, Stream};

const NO_MESSAGE: Reply = Reply::Error(None, texts::NO_MESSAGE);
const DONE: Reply = Reply::Ok(texts::DONE);

impl<S: Stream> Session<S> {
    pub(super) async fn transaction(
        &mut self,
        keyword: &[u8],
        argument: Option<&[u8]>,
    ) -> Result<Reply, Disconnect> {
        let State::Transaction(maildrop) = &mut self.state else {
            return Ok(Reply::Wrong(texts::WRONG_STATE));
        };
        let argument = argument.map(|octets| String::from_utf8_lossy(octets).into_owned());
        let words: Vec<&str> = argument.as_deref().unwrap_or_default().split_whitespace().collect();
        let (Some(numbers), true) = (numbers(&words), words.len() <= 2) else {
            return Ok(Reply::Wrong(texts::UNKNOWN));
        };
        Ok(match (keyword, numbers.as_slice()) {
            (b"NOOP", []) => DONE,
            (b"STAT", []) => {
                let (count, octets) = maildrop.totals();
                Reply::Values(format!("{count} {octets}"))
            }
            (b"RSET", []) => {
                maildrop.reset();
                DONE
            }
            (b"LIST" | b"UIDL", []) => {
                let line = |(number, row): (usize, &ListedMessage)| {
                    format!("{number} {}", listed(keyword, maildrop, row))
                };
                let (count, octets) = maildrop.totals();
                let lines = maildrop.messages().map(line).collect();
                Reply::Messages { count, octets, lines: Some(lines) }
            }
            (b"LIST" | b"UIDL", [number]) => match message(maildrop, *number) {
                Some(row) => Reply::Values(format!("{number} {}", listed(keyword, maildrop, row))),
                None => NO_MESSAGE,
            },
            (b"DELE", [number]) => {
                let deleted = usize::try_from(*number).is_ok_and(|number| maildrop.delete(number));
                if deleted { DONE } else { NO_MESSAGE }
            }
            (b"RETR", [number]) => match message(maildrop, *number).cloned() {
                Some(row) => self.retrieve(&row, None).await?,
                None => NO_MESSAGE,
            },
            (b"TOP", [number, lines]) => match message(maildrop, *number).cloned() {
                Some(row) => self.retrieve(&row, Some(Top::new(*lines))).await?,
                None => NO_MESSAGE,
            },
            // RFC 1939 §4, RFC 2595 §4, RFC 6856 §2.1: before the login only.
            (b"USER" | b"PASS" | b"AUTH" | b"STLS" | b"UTF8", _) => {
                Reply::Wrong(texts::WRONG_STATE)
            }
            _ => Reply::Wrong(texts::UNKNOWN),
        })
    }

    /// RETR and TOP: streams a message, up to where `top` stops. Octets go out as they are, also
    /// those of a header in UTF-8 to a client that has not said UTF8, where RFC 6856 §2.1 would have
    /// it refused: clients that take all messages would stop at it, at every visit, and certified
    /// mail may not be kept from its holder. A message rewritten for him (RFC 6857, RFC 6858) would be
    /// another: the octets are what was signed, and what he keeps as proof.
    async fn retrieve(
        &mut self,
        row: &ListedMessage,
        mut top: Option<Top>,
    ) -> Result<Reply, Disconnect> {
        let State::Transaction(maildrop) = &self.state else {
            return Ok(Reply::Wrong(texts::WRONG_STATE));
        };
        let view = Arc::clone(&maildrop.view);
        let mut stuffing = Stuffing::default();
        let mut position = 0;
        while position < row.size {
            let piece = match view.read(row.email_number, position..row.size).await {
                Ok(piece) if piece.is_empty() => Err(StoreError::Damaged {
                    object: format!("message {}", row.email_number),
                    detail: "it has fewer octets than its row says".to_owned(),
                }),
                other => other,
            };
            // The first piece is read before +OK: a message that cannot be read costs -ERR.
            let piece = match piece {
                Ok(piece) => piece,
                Err(StoreError::NoSuchMessage { .. }) if position == 0 => return Ok(NO_MESSAGE),
                Err(error) if position == 0 => return Ok(log(&error)),
                Err(error) => return Err(Disconnect::MessageUnreadable(error)),
            };
            if position == 0 {
                self.lines.put(format!("+OK {} octets\r\n", row.size).as_bytes()).await?;
            }
            position += piece.len() as u64;
            let taken = top.as_mut().map_or(piece.len(), |top| top.take(&piece));
            self.lines.put(&stuffing.piece(&piece[..taken])).await?;
            if taken < piece.len() {
                break;
            }
        }
        if row.size == 0 {
            self.lines.put(b"+OK 0 octets\r\n").await?;
        }
        self.lines.put(stuffing.end()).await?;
        Ok(Reply::Sent)
    }

    /// QUIT, and from the transaction state the update (RFC 1939 §4, §6).
    pub(super) async fn quit(&mut self) -> Reply {
        let State::Transaction(maildrop) = std::mem::replace(&mut self.state, State::Ended) else {
            return Reply::Ok(texts::GOODBYE);
        };
        match maildrop.update().await {
            Ok(true) => Reply::Ok(texts::GOODBYE),
            Ok(false) => Reply::coded(Code::SysTemp, texts::SOME_KEPT),
            Err(error) => {
                log(&error);
                Reply::coded(Code::SysTemp, texts::NONE_REMOVED)
            }
        }
    }
}

/// Reads every word as a number; `None` when one is not.
fn numbers(words: &[&str]) -> Option<Vec<u64>> {
    let number = |word: &&str| {
        word.bytes().all(|octet| octet.is_ascii_digit()).then(|| word.parse().ok()).flatten()
    };
    words.iter().map(number).collect()
}

fn message(maildrop: &Maildrop, number: u64) -> Option<&ListedMessage> {
    usize::try_from(number).ok().and_then(|number| maildrop.message(number))
}

/// What LIST or UIDL says of a message.
fn listed(keyword: &[u8], maildrop: &Maildrop, row: &ListedMessage) -> String {
    if keyword == b"UIDL" { maildrop.unique_id(row) } else { row.size.to_string() }
}
