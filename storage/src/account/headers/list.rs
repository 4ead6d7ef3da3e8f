//! The list of an account's header blocks: what the builder has to do, and what it began with.
//!
//! ```text
//! number: EmailNumbers of a window
//! number: counts what took headers away
//! number: windows that were looked at: the first so many
//! number: blocks; each: by how much its window is above the one after the block before (the first
//!         above 0), a number; its messages, a number, 0 = it is to be built
//! ```
//!
//! Readers do not need it: the block of a number stands under a key that follows from the number.

use bytes::Bytes;

use super::{LIST_OCTETS_MAX, LIST_VERSION};
use crate::{
    account::draft::Draft,
    catalog::keys,
    error::StoreError,
    ids::{AccountId, EmailNumber},
    sealed::{Opener, Plain, put_number, seal},
};

/// The list of an account's header blocks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderList {
    /// EmailNumbers of a window.
    pub(crate) span: u32,
    /// Raised by whatever takes headers away.
    pub(crate) removals: u64,
    /// Windows that were looked at.
    pub(crate) windows: u64,
    /// Window and messages of each block, ascending by window; no messages = it is to be built.
    pub(crate) blocks: Vec<(u64, u64)>,
}

impl HeaderList {
    /// A list of nothing.
    pub(crate) fn new(span: u32, removals: u64) -> Self {
        Self { span, removals, windows: 0, blocks: Vec::new() }
    }

    /// The key of the list.
    pub(crate) fn key(account: AccountId) -> Bytes {
        keys::message(account, EmailNumber(0))
    }

    /// The number before the first of a window.
    pub(crate) fn before(&self, window: u64) -> u64 {
        window.saturating_mul(u64::from(self.span))
    }

    /// Notes that the block of `window` has so many messages; `None` = it has none.
    pub(crate) fn set(&mut self, window: u64, messages: Option<u64>) {
        match (self.blocks.binary_search_by_key(&window, |(window, _)| *window), messages) {
            (Ok(index), Some(messages)) => self.blocks[index].1 = messages,
            (Ok(index), None) => drop(self.blocks.remove(index)),
            (Err(index), Some(messages)) => self.blocks.insert(index, (window, messages)),
            (Err(_), None) => {}
        }
    }

    /// The list's value, sealed for its account.
    pub(crate) fn seal(&self, account: AccountId) -> Result<Bytes, StoreError> {
        let mut plain = Vec::with_capacity(32 + 4 * self.blocks.len());
        put_number(&mut plain, self.span.into());
        put_number(&mut plain, self.removals);
        put_number(&mut plain, self.windows);
        put_number(&mut plain, self.blocks.len() as u64);
        let mut next = 0;
        for (window, messages) in &self.blocks {
            put_number(&mut plain, window.wrapping_sub(next));
            put_number(&mut plain, *messages);
            next = window.wrapping_add(1);
        }
        seal(LIST_VERSION, &Self::key(account), &plain)
    }

    /// Reads a list; `None` when it cannot be read.
    pub(crate) fn open(opener: &mut Opener, account: AccountId, value: &[u8]) -> Option<Self> {
        let plain = opener.open(LIST_VERSION, &Self::key(account), value, LIST_OCTETS_MAX).ok()?;
        let mut plain = Plain::new(&plain);
        let span = u32::try_from(plain.number()?).ok().filter(|span| *span > 0)?;
        let (removals, windows) = (plain.number()?, plain.number()?);
        windows.checked_mul(u64::from(span))?;
        let count = plain.count()?;
        let mut blocks = Vec::new();
        let mut next = 0_u64;
        for _ in 0..count {
            let window = next.checked_add(plain.number()?)?;
            next = Some(window).filter(|window| *window < windows)? + 1;
            blocks.push((window, plain.number()?));
        }
        plain.finish()?;
        Some(Self { span, removals, windows, blocks })
    }
}

/// Deletes whatever block could hold the headers of a message, and stops a builder that has read
/// them. For batches that take a message's summary away, or change it, while a row may stay.
pub(crate) async fn forget(
    draft: &mut Draft<'_>,
    email_number: EmailNumber,
) -> Result<(), StoreError> {
    let (account, key) = (draft.account, HeaderList::key(draft.account));
    let value = draft.get(keys::HEADER_BLOCKS, &key).await?;
    let mut opener = Opener::new()?;
    let list = value.as_ref().and_then(|value| HeaderList::open(&mut opener, account, value));
    let mut list = if let Some(list) = list {
        list
    } else {
        // Blocks of an unknown size may stand anywhere.
        let prefix = keys::account(account);
        for (key, _) in draft.scan_prefix(keys::HEADER_BLOCKS, &prefix, usize::MAX).await? {
            draft.delete(keys::HEADER_BLOCKS, key);
        }
        HeaderList::new(draft.limits.block_rows, 0)
    };
    let window = email_number.0.saturating_sub(1) / u64::from(list.span);
    let first = EmailNumber(list.before(window).saturating_add(1));
    draft.delete(keys::HEADER_BLOCKS, keys::message(account, first));
    list.removals = list.removals.wrapping_add(1);
    if window < list.windows {
        list.set(window, Some(0));
    }
    draft.put(keys::HEADER_BLOCKS, key, list.seal(account)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    #[test]
    fn a_list_stays_readable() {
        let mut list = HeaderList::new(1_024, 3);
        list.windows = 1 << 33;
        list.set(5, Some(0));
        list.set(1 << 32, Some(9));
        let then = Golden::of("header_blocks").variant("list").key(HeaderList::key(AccountId(7)));
        let then = then.written(list.seal(AccountId(7)).expect("seal"));
        let mut opener = Opener::new().expect("memory");
        assert_eq!(HeaderList::open(&mut opener, AccountId(7), &then), Some(list));
    }

    #[test]
    fn a_list_gives_back_what_it_names() {
        let mut list = HeaderList::new(1_024, 3);
        list.windows = 1 << 33;
        for window in [5, 1 << 32, 0] {
            list.set(window, Some(window + 1));
        }
        list.set(5, None);
        let value = list.seal(AccountId(7)).expect("seal");
        let mut opener = Opener::new().expect("memory");
        assert_eq!(HeaderList::open(&mut opener, AccountId(7), &value), Some(list));
        assert_eq!(HeaderList::open(&mut opener, AccountId(8), &value), None);
    }
}
