//! The list of a mailbox's blocks.
//!
//! ```text
//! number: UIDs of a window
//! number: `as_of`, a MODSEQ
//! number: windows that were looked at: the first so many
//! number: blocks; each: by how much its window is above the one before, the first from -1: a
//!         number; the first 8 octets of its digest
//! ```
//!
//! A window that was looked at and has no block had few rows, and can get no more.

use bytes::Bytes;

use super::{LIST_OCTETS_MAX, VERSION};
use crate::{
    catalog::{engine::Reader, keys},
    error::StoreError,
    ids::{AccountId, MailboxId, ModSeq, Uid},
    sealed::{Mark, Opener, Plain, put_number, seal},
};

/// A block as the list names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Listed {
    /// Which window, counted from 0.
    pub(crate) window: u32,
    /// The beginning of the block's digest.
    pub(crate) mark: Mark,
}

/// The list of a mailbox's blocks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BlockList {
    /// UIDs of a window.
    pub(crate) span: u32,
    /// The blocks hold at least the changes up to here.
    pub(crate) as_of: ModSeq,
    /// Windows that were looked at.
    pub(crate) windows: u32,
    /// The blocks, ascending by window.
    pub(crate) blocks: Vec<Listed>,
}

impl BlockList {
    /// A list of nothing.
    pub(crate) fn new(span: u32, as_of: ModSeq) -> Self {
        Self { span, as_of, windows: 0, blocks: Vec::new() }
    }

    /// The UID before the first of a window, 0 for the first window.
    pub(crate) fn before(&self, window: u32) -> u32 {
        window.saturating_mul(self.span)
    }

    /// The window of a UID.
    pub(crate) fn window_of(&self, uid: Uid) -> u32 {
        (uid.get() - 1) / self.span
    }

    /// Whether a UID is in a window that was looked at.
    pub(crate) fn reaches(&self, uid: Uid) -> bool {
        self.window_of(uid) < self.windows
    }

    /// Names `mark` as the block of `window`, or nothing.
    pub(crate) fn set(&mut self, window: u32, mark: Option<Mark>) {
        match (self.blocks.binary_search_by_key(&window, |listed| listed.window), mark) {
            (Ok(index), Some(mark)) => self.blocks[index].mark = mark,
            (Ok(index), None) => drop(self.blocks.remove(index)),
            (Err(index), Some(mark)) => self.blocks.insert(index, Listed { window, mark }),
            (Err(_), None) => {}
        }
    }

    /// The list's value, sealed for `key`.
    pub(crate) fn seal(&self, key: &[u8]) -> Result<Bytes, StoreError> {
        let mut plain = Vec::with_capacity(32 + 10 * self.blocks.len());
        put_number(&mut plain, self.span.into());
        put_number(&mut plain, self.as_of.0);
        put_number(&mut plain, self.windows.into());
        put_number(&mut plain, self.blocks.len() as u64);
        let mut next = 0;
        for listed in &self.blocks {
            put_number(&mut plain, u64::from(listed.window.wrapping_sub(next)));
            plain.extend_from_slice(&listed.mark);
            next = listed.window.wrapping_add(1);
        }
        seal(VERSION, key, &plain)
    }

    /// Reads a list; `None` when it cannot be read.
    pub(crate) fn open(opener: &mut Opener, key: &[u8], value: &[u8]) -> Option<Self> {
        let plain = opener.open(VERSION, key, value, LIST_OCTETS_MAX).ok()?;
        let mut plain = Plain::new(&plain);
        let span = u32::try_from(plain.number()?).ok().filter(|span| *span > 0)?;
        let as_of = ModSeq(plain.number()?);
        let windows = u32::try_from(plain.number()?).ok()?;
        if u64::from(windows) * u64::from(span) > u64::from(u32::MAX) {
            return None;
        }
        let count = plain.count()?;
        let mut blocks = Vec::new();
        let mut next = 0_u32;
        for _ in 0..count {
            let window = next.checked_add(u32::try_from(plain.number()?).ok()?)?;
            let mark = *plain.octets(8)?.first_chunk()?;
            next = Some(window).filter(|window| *window < windows)?.checked_add(1)?;
            blocks.push(Listed { window, mark });
        }
        plain.finish()?;
        Some(Self { span, as_of, windows, blocks })
    }
}

/// A list as it was found.
pub(crate) struct Found {
    /// Its octets, to expect them in a batch; `None` = there is none.
    pub(crate) value: Option<Bytes>,
    /// What it says, when it can be read.
    pub(crate) list: Option<BlockList>,
}

/// Reads the list of a mailbox.
pub(crate) async fn read(
    reader: &(impl Reader + ?Sized),
    opener: &mut Opener,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Found, StoreError> {
    let key = keys::mailbox_block(account, mailbox, 0);
    let value = reader.get(keys::MAILBOX_BLOCKS, &key).await?;
    let list = value.as_ref().and_then(|value| BlockList::open(opener, &key, value));
    Ok(Found { value, list })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    fn opener() -> Opener {
        Opener::new().expect("memory")
    }

    #[test]
    fn a_list_gives_back_what_it_names() {
        let mut list = BlockList::new(1_024, ModSeq(77));
        list.windows = 9;
        for window in [3, 0, 8] {
            list.set(window, Some([u8::try_from(window).unwrap(); 8]));
        }
        list.set(3, None);
        list.set(4, Some([4; 8]));
        let value = list.seal(b"key").unwrap();
        assert_eq!(BlockList::open(&mut opener(), b"key", &value), Some(list.clone()));
        assert_eq!(list.blocks.iter().map(|listed| listed.window).collect::<Vec<_>>(), [0, 4, 8]);
        assert_eq!(BlockList::open(&mut opener(), b"another", &value), None);
    }

    #[test]
    fn a_list_stays_readable() {
        let mut list = BlockList::new(1_024, ModSeq(77));
        list.windows = 9;
        list.set(3, Some([3; 8]));
        list.set(7, Some([7; 8]));
        let key = keys::mailbox_block(AccountId(7), MailboxId(8), 0);
        let then = Golden::of("mailbox_blocks").variant("list").key(&key);
        let then = then.written(list.seal(&key).unwrap());
        assert_eq!(BlockList::open(&mut opener(), &key, &then), Some(list));
    }

    #[test]
    fn a_list_that_names_windows_beyond_every_uid_is_none() {
        let mut list = BlockList::new(1_024, ModSeq(1));
        list.windows = 1 << 22;
        let value = list.seal(b"key").unwrap();
        assert_eq!(BlockList::open(&mut opener(), b"key", &value), None);
        list.windows = 2;
        list.blocks.push(Listed { window: 2, mark: [0; 8] });
        let value = list.seal(b"key").unwrap();
        assert_eq!(BlockList::open(&mut opener(), b"key", &value), None);
    }
}
