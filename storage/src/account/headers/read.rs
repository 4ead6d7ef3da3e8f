//! Headers of messages by way of blocks; what no block says, from summaries.
//!
//! At most [`BLOCKS_AT_ONCE`] blocks, or [`SUMMARIES_AT_ONCE`] summaries, are held besides what is
//! returned.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    PLAIN_OCTETS_MAX, SPARSE, VERSION,
    page::{HeaderPage, MessageHeaders},
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

/// What was found, by number.
type Found = BTreeMap<EmailNumber, MessageHeaders>;

/// The headers of `asked`, in that order; `None` for a message that is gone and in no block.
/// Returns how many blocks were used, too.
pub(crate) async fn headers(
    account: &Account,
    asked: &[EmailNumber],
) -> Result<(Vec<Option<MessageHeaders>>, usize), StoreError> {
    let span = account.core.limits.block_rows;
    let mut wanted = asked.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let window_of = |number: &EmailNumber| number.0.saturating_sub(1) / u64::from(span);
    let mut found = Found::new();
    let worth = |some: &&[EmailNumber]| some.len() as u64 * SPARSE >= u64::from(span);
    let groups: Vec<&[EmailNumber]> =
        wanted.chunk_by(|one, next| window_of(one) == window_of(next)).filter(worth).collect();
    let mut opener = Opener::new()?;
    let mut blocks = 0;
    for some in groups.chunks(BLOCKS_AT_ONCE) {
        let befores: Vec<u64> = some
            .iter()
            .filter_map(|group| group.first())
            .map(|number| window_of(number) * u64::from(span))
            .collect();
        let key = |before: &u64| keys::message(account.id(), EmailNumber(before + 1));
        let keys: Vec<_> =
            befores.iter().map(|before| (keys::HEADER_BLOCKS, key(before))).collect();
        let values = account.core.engine.multi_get(&keys).await?;
        for ((group, (_, key)), value) in some.iter().zip(&keys).zip(values) {
            let Some(value) = value else { continue };
            let Some((_, page)) = open(&mut opener, span, key, &value) else {
                account.core.note_unusable(account.id(), None);
                continue;
            };
            blocks += 1;
            let in_page = |number: &EmailNumber| Some((*number, page.find(*number)?));
            found.extend(group.iter().filter_map(in_page));
        }
        // Decompressing is work: others get their turn.
        tokio::task::yield_now().await;
    }
    wanted.retain(|number| !found.contains_key(number));
    for some in wanted.chunks(SUMMARIES_AT_ONCE) {
        from_summaries(account, some, &mut found).await?;
    }
    Ok((asked.iter().map(|number| found.get(number).cloned()).collect(), blocks))
}

/// Opens what stands under `key`: the number before its window, and the headers; `None` when it is
/// no block of such a window, or cannot be read.
pub(crate) fn open(
    opener: &mut Opener,
    span: u32,
    key: &[u8],
    value: &[u8],
) -> Option<(u64, Arc<HeaderPage>)> {
    let mut reader = KeyReader::new(keys::HEADER_BLOCKS, key);
    reader.take_u64().ok()?;
    let before = reader.take_u64().ok()?.checked_sub(1)?;
    let plain = opener.open(VERSION, key, value, PLAIN_OCTETS_MAX).ok()?;
    let page = HeaderPage::decode(before, span, &plain)?;
    before.is_multiple_of(u64::from(span)).then(|| (before, Arc::new(page)))
}

/// Reads the summaries of `numbers`, which ascend.
async fn from_summaries(
    account: &Account,
    numbers: &[EmailNumber],
    found: &mut Found,
) -> Result<(), StoreError> {
    let page = page_of(&*account.core.engine, account, numbers).await?;
    let page = Arc::new(page);
    let in_page = |number: &EmailNumber| Some((*number, page.find(*number)?));
    found.extend(numbers.iter().filter_map(in_page));
    Ok(())
}

async fn page_of(
    reader: &(impl Reader + ?Sized),
    account: &Account,
    numbers: &[EmailNumber],
) -> Result<HeaderPage, StoreError> {
    let key = |number: &EmailNumber| (keys::SUMMARIES, keys::message(account.id(), *number));
    let values = reader.multi_get(&numbers.iter().map(key).collect::<Vec<_>>()).await?;
    let mut page = HeaderPage::default();
    for (number, value) in numbers.iter().zip(values) {
        let Some(value) = value else { continue };
        page.push(*number, &Summary::decode(&value, || message_name(account.id(), *number))?);
    }
    Ok(page)
}
