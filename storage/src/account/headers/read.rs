//! Headers of messages by way of blocks; what no block says, from summaries.
//!
//! At most [`BLOCKS_AT_ONCE`] blocks, or [`SUMMARIES_AT_ONCE`] summaries, are held besides what is
//! returned.

use std::sync::Arc;

use super::{
    BLOCK_VERSION, PLAIN_OCTETS_MAX, SPARSE,
    page::{HeaderFields, HeaderPage, MessageHeaders, PARTS},
};
use crate::{
    account::{Account, message_name},
    catalog::{
        engine::Reader,
        keys::{self, KeyReader},
    },
    error::StoreError,
    ids::EmailNumber,
    sealed::Opener,
    summary::Summary,
};

/// Blocks read at once.
const BLOCKS_AT_ONCE: usize = 8;
/// Summaries read at once.
const SUMMARIES_AT_ONCE: usize = 256;

/// The headers of `asked`, in that order; `None` for a message that is gone and in no block.
/// Returns how many blocks were used, too.
pub(crate) async fn headers(
    account: &Account,
    asked: &[EmailNumber],
    fields: HeaderFields,
) -> Result<(Vec<Option<MessageHeaders>>, usize), StoreError> {
    if asked.is_sorted_by(|one, next| one < next) {
        return ascending(account, asked, fields).await;
    }
    let mut wanted = asked.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let (found, blocks) = ascending(account, &wanted, fields).await?;
    let place = |number| wanted.binary_search(number).ok();
    let of = |number| place(number).and_then(|place| found.get(place).cloned().flatten());
    Ok((asked.iter().map(of).collect(), blocks))
}

/// The same of numbers that ascend.
async fn ascending(
    account: &Account,
    asked: &[EmailNumber],
    fields: HeaderFields,
) -> Result<(Vec<Option<MessageHeaders>>, usize), StoreError> {
    let mut found = vec![None; asked.len()];
    let blocks = from_blocks(account, asked, fields, &mut found).await?;
    let missing = |place: &usize| found[*place].is_none();
    let places: Vec<usize> = (0..asked.len()).filter(missing).collect();
    for some in places.chunks(SUMMARIES_AT_ONCE) {
        let numbers: Vec<EmailNumber> = some.iter().map(|place| asked[*place]).collect();
        let page = page_of(&*account.core.engine, account, &numbers, fields).await?;
        Arc::new(page).find_each(&numbers, |place, headers| found[some[place]] = Some(headers));
    }
    Ok((found, blocks))
}

/// Fills in what blocks say of `asked`, and returns how many were used.
async fn from_blocks(
    account: &Account,
    asked: &[EmailNumber],
    fields: HeaderFields,
    found: &mut [Option<MessageHeaders>],
) -> Result<usize, StoreError> {
    let span = account.core.limits.block_rows;
    let window_of = |number: &EmailNumber| number.0.saturating_sub(1) / u64::from(span);
    let mut groups = Vec::new();
    let mut at = 0;
    for group in asked.chunk_by(|one, next| window_of(one) == window_of(next)) {
        if let Some(first) = group.first()
            && group.len() as u64 * SPARSE >= u64::from(span)
        {
            groups.push((at, group, window_of(first) * u64::from(span)));
        }
        at += group.len();
    }
    let mut opener = Opener::new()?;
    let mut blocks = 0;
    for some in groups.chunks(BLOCKS_AT_ONCE) {
        let key = |before: u64| keys::message(account.id(), EmailNumber(before + 1));
        let keys: Vec<_> =
            some.iter().map(|(_, _, before)| (keys::HEADER_BLOCKS, key(*before))).collect();
        let values = account.core.engine.multi_get(&keys).await?;
        for (((at, group, _), (_, key)), value) in some.iter().zip(&keys).zip(values) {
            let Some(value) = value else { continue };
            let Some((_, page)) = open(&mut opener, span, key, &value, fields) else {
                account.core.note_unusable(account.id(), None);
                continue;
            };
            blocks += 1;
            page.find_each(group, |place, headers| found[at + place] = Some(headers));
        }
        // Decompressing is work: others get their turn.
        tokio::task::yield_now().await;
    }
    Ok(blocks)
}

/// Opens what stands under `key`: the number before its window, and the headers, with the texts of
/// `fields`; `None` when it is
/// no block of such a window, or cannot be read.
pub(crate) fn open(
    opener: &mut Opener,
    span: u32,
    key: &[u8],
    value: &[u8],
    fields: HeaderFields,
) -> Option<(u64, Arc<HeaderPage>)> {
    let mut reader = KeyReader::new(keys::HEADER_BLOCKS, key);
    reader.take_u64().ok()?;
    let before = reader.take_u64().ok()?.checked_sub(1)?;
    let wanted = |part| fields.need(part);
    let parts =
        opener.open_parts(BLOCK_VERSION, key, value, PARTS, PLAIN_OCTETS_MAX, wanted).ok()?;
    let page = HeaderPage::decode(before, span, fields, &parts)?;
    before.is_multiple_of(u64::from(span)).then(|| (before, Arc::new(page)))
}

/// Reads the summaries of `numbers`, which ascend.
async fn page_of(
    reader: &(impl Reader + ?Sized),
    account: &Account,
    numbers: &[EmailNumber],
    fields: HeaderFields,
) -> Result<HeaderPage, StoreError> {
    let key = |number: &EmailNumber| (keys::SUMMARIES, keys::message(account.id(), *number));
    let values = reader.multi_get(&numbers.iter().map(key).collect::<Vec<_>>()).await?;
    let mut page = HeaderPage::new(fields);
    for (number, value) in numbers.iter().zip(values) {
        let Some(value) = value else { continue };
        page.push(*number, &Summary::decode(&value, || message_name(account.id(), *number))?);
    }
    Ok(page)
}
