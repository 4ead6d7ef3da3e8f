//! UIDBATCHES (RFC 10022): ranges of UIDs that hold equally many messages, the newest first.

use std::ops::RangeInclusive;

use crate::{
    imap::{
        completion::{CommandResult, Completion},
        grammar::UidBatches,
        selected::SelectedMailbox,
        session::Context,
    },
    lines::Stream,
};

/// Messages of the smallest batch (§3.1.3.2).
const BATCH_MIN: u32 = 500;

/// Messages that the batches of a range may have (§3.1.5).
const RANGE_MAX: u64 = 100_000;

/// Different requests that are answered until enough messages have come and gone.
const REQUESTS_MAX: usize = 1_024;

pub(crate) async fn uid_batches<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    wanted: UidBatches,
    tag: &str,
) -> CommandResult {
    let places = admitted(mailbox, wanted)?;
    let size = usize::try_from(wanted.size.get()).unwrap_or(usize::MAX);
    let rows = mailbox.rows();
    let mut ranges = Vec::new();
    for (place, batch) in (1_u64..).zip(rows.rchunks(size)) {
        let (Some(oldest), Some(newest)) = (batch.first(), batch.last()) else { continue };
        if places.contains(&place) {
            // The last range ends with 1, so that it is known as the last (§3.1.4).
            let is_last = rows.first().is_some_and(|row| row.uid == oldest.uid);
            let lowest = if is_last { 1 } else { oldest.uid.get() };
            ranges.push(format!("{}:{lowest}", newest.uid));
        }
    }
    let space = if ranges.is_empty() { "" } else { " " };
    let line = format!("* UIDBATCHES (TAG \"{tag}\"){space}{}\r\n", ranges.join(","));
    context.frame.put(line.as_bytes()).await?;
    Ok(Completion::ok("UIDBATCHES"))
}

/// The batches that are asked for, counted from 1, unless the request is not to be answered.
fn admitted(
    mailbox: &mut SelectedMailbox,
    wanted: UidBatches,
) -> Result<RangeInclusive<u64>, Completion> {
    if wanted.size.get() < BATCH_MIN {
        return Err(Completion::no("TOOFEW", "Lotti di almeno 500 / Minimum batch size is 500"));
    }
    let places = match wanted.range {
        None => 1..=u64::MAX,
        Some((from, to)) if from > to => {
            return Err(Completion {
                code: Some("CLIENTBUG".into()),
                ..Completion::bad("Intervallo rovesciato / Invalid batch range")
            });
        }
        Some((from, to)) => {
            let batches = u64::from(to.get()) - u64::from(from.get()) + 1;
            if batches.saturating_mul(wanted.size.get().into()) > RANGE_MAX {
                return Err(Completion::no("TOOMANY", "Troppi messaggi / Too many messages"));
            }
            from.get().into()..=to.get().into()
        }
    };
    // The same is worth asking again once half a batch has come or gone (§3.1.1).
    let half = usize::try_from(wanted.size.get() / 2).unwrap_or(usize::MAX);
    let (asked, turnover) = &mut mailbox.batches;
    if *turnover > half {
        asked.clear();
        *turnover = 0;
    }
    if asked.len() >= REQUESTS_MAX || !asked.insert(wanted) {
        return Err(Completion::no("LIMIT", "Lotti gia' comunicati / These batches are known"));
    }
    Ok(places)
}
