//! Pages in the catalog, packed.
//!
//! A value is `form u8 ‖ octets`: form 0 is the page as it is, form 1 a zstd frame that says its
//! length. Leaf pages and states are stored in the shorter form; inner pages, which are hashes, always as
//! they are. Whoever reads a page checks it by its hash.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use storage::{
    catalog::engine::{Batch, Reader},
    ids::AccountId,
};
use zstd::bulk::{Compressor, Decompressor};

use super::keys::{self, SNAPSHOT_PAGES};
use crate::{
    error::SnapshotError,
    tree::{PageStore, page::PageRef},
};

const PLAIN: u8 = 0;
const PACKED: u8 = 1;

/// Octets that a page has at most, unpacked.
const PLAIN_OCTETS_MAX: usize = 64 << 20;

/// Packs pages, one after the other.
pub(crate) struct Packer(Option<Compressor<'static>>);

impl Packer {
    pub(crate) fn new(level: i32) -> Self {
        Self(Compressor::new(level).ok())
    }

    pub(crate) fn pack(&mut self, plain: &[u8]) -> Vec<u8> {
        match self.0.as_mut().and_then(|packer| packer.compress(plain).ok()) {
            Some(frame) if frame.len() < plain.len() => [&[PACKED], &frame[..]].concat(),
            _ => as_it_is(plain),
        }
    }
}

fn as_it_is(plain: &[u8]) -> Vec<u8> {
    [&[PLAIN], plain].concat()
}

/// Unpacks pages, one after the other: what it takes to begin with a frame is as much as a small page.
#[derive(Default)]
pub(crate) struct Unpacker(Option<Decompressor<'static>>);

impl Unpacker {
    /// The page in a value; `None` when it follows no known layout.
    pub(crate) fn unpack(&mut self, value: &Bytes) -> Option<Bytes> {
        match value.split_first()? {
            (&PLAIN, _) => Some(value.slice(1..)),
            (&PACKED, frame) => {
                let length = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
                let length = usize::try_from(length).ok()?.min(PLAIN_OCTETS_MAX);
                if self.0.is_none() {
                    self.0 = Some(Decompressor::new().ok()?);
                }
                self.0.as_mut()?.decompress(frame, length).ok().map(Bytes::from)
            }
            _ => None,
        }
    }
}

/// The page in one value; `None` when it follows no known layout.
pub(crate) fn unpack(value: &Bytes) -> Option<Bytes> {
    Unpacker::default().unpack(value)
}

/// The pages of one account.
#[derive(Clone)]
pub struct CatalogPages {
    reader: Arc<dyn Reader>,
    account: AccountId,
}

impl std::fmt::Debug for CatalogPages {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CatalogPages")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl CatalogPages {
    /// Pages as `reader` sees them.
    pub fn new(reader: Arc<dyn Reader>, account: AccountId) -> Self {
        Self { reader, account }
    }
}

fn unpacked(
    page: PageRef,
    value: Option<&Bytes>,
    unpacker: &mut Unpacker,
) -> Result<Bytes, SnapshotError> {
    let value = value.ok_or(SnapshotError::PageMissing(page.id))?;
    unpacker.unpack(value).ok_or_else(|| SnapshotError::Damaged {
        object: format!("page {}", page.id),
        detail: "its value follows no known layout",
    })
}

#[async_trait::async_trait]
impl PageStore for CatalogPages {
    async fn page(&self, page: PageRef) -> Result<Bytes, SnapshotError> {
        let key = keys::page(self.account, page);
        let value = self.reader.get(SNAPSHOT_PAGES, &key).await?;
        unpacked(page, value.as_ref(), &mut Unpacker::default())
    }

    async fn pages(&self, pages: &[PageRef]) -> Result<Vec<Bytes>, SnapshotError> {
        let asked: Vec<_> =
            pages.iter().map(|page| (SNAPSHOT_PAGES, keys::page(self.account, *page))).collect();
        let values = self.reader.multi_get(&asked).await?;
        let mut unpacker = Unpacker::default();
        let pages = pages.iter().zip(&values);
        pages.map(|(page, value)| unpacked(*page, value.as_ref(), &mut unpacker)).collect()
    }
}

/// Pages being written under one birth, over those that are stored.
pub(crate) struct Sheet {
    stored: CatalogPages,
    pub(crate) birth: u64,
    /// Not stored yet.
    new: HashMap<PageRef, Bytes>,
    new_octets: usize,
    /// Replaced ones of older births: they belong to the snapshot before.
    pub(crate) replaced: Vec<PageRef>,
    /// Replaced ones of this birth that are stored: nothing refers to them.
    dead: std::collections::HashSet<PageRef>,
}

impl Sheet {
    pub(crate) fn new(stored: CatalogPages, birth: u64, replaced: Vec<PageRef>) -> Self {
        let (new, dead) = Default::default();
        Self { stored, birth, new, new_octets: 0, replaced, dead }
    }

    /// Octets of pages that are not stored yet.
    pub(crate) fn octets(&self) -> usize {
        self.new_octets
    }

    /// Takes over what an update did.
    pub(crate) fn take(&mut self, new: Vec<(PageRef, Bytes)>, replaced: Vec<PageRef>) {
        for page in replaced {
            if page.birth != self.birth {
                self.replaced.push(page);
            } else if let Some(octets) = self.new.remove(&page) {
                self.new_octets = self.new_octets.saturating_sub(octets.len());
            } else {
                self.dead.insert(page);
            }
        }
        for (page, octets) in new {
            // What was stored, went, and came back while the snapshot was made is written again.
            self.dead.remove(&page);
            self.new_octets += octets.len();
            self.new.insert(page, octets);
        }
    }

    /// Moves what is to be written to a batch.
    pub(crate) fn drain(&mut self, level: i32) -> Batch {
        let (mut batch, mut packer) = (Batch::default(), Packer::new(level));
        let account = self.stored.account;
        for (page, octets) in self.new.drain() {
            // The first octet is the level.
            let is_leaf = octets.first() == Some(&0);
            let value = if is_leaf { packer.pack(&octets) } else { as_it_is(&octets) };
            batch.put(SNAPSHOT_PAGES, keys::page(account, page), value);
        }
        for page in self.dead.drain() {
            batch.delete(SNAPSHOT_PAGES, keys::page(account, page));
        }
        self.new_octets = 0;
        batch
    }
}

#[async_trait::async_trait]
impl PageStore for Sheet {
    async fn page(&self, page: PageRef) -> Result<Bytes, SnapshotError> {
        match self.new.get(&page) {
            Some(octets) => Ok(octets.clone()),
            None => self.stored.page(page).await,
        }
    }
}
