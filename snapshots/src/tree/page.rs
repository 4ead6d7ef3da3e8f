//! Pages: the unit in which a tree is stored.
//!
//! A leaf page is `00 ‖ count u16 ‖ count × (key u64 ‖ row)`; its name hashes its *outline*, in
//! which the leaf hash stands for each row, so that a proof can show a page without the rows. An
//! inner page is `level u8 ‖ count u16 ‖ count × (last key u64 ‖ rows u64 ‖ page 32 ‖ birth u64)`,
//! level 1 and above; its name hashes all of it but the births. Keys ascend strictly.
//!
//! A *birth* is the number of the snapshot that wrote a page. It is no part of any hash: equal rows
//! make equal names. It tells apart what was stored, went, and came back ([`PageRef`]).

use std::fmt;

use bytes::Bytes;
use trust::digest::Sha256Digest;

use super::row::Row;
use crate::{
    error::SnapshotError,
    hash::{Salts, Tag, hash},
    octets::Cursor,
};

/// How many entries pages have: never fewer than `least` but at the end of a level, then each key ends
/// its page with one chance in `one_in`, and never more than `most`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageSize {
    /// Entries before a key may end the page.
    pub least: u16,
    /// The boundary hash of a key that ends its page is a multiple of it.
    pub one_in: u32,
    /// A page with so many entries ends.
    pub most: u16,
}

/// Inner pages.
pub const INNER_PAGE: PageSize = PageSize { least: 4, one_in: 4, most: 16 };
/// From here on pages end only when they are full, so that every tree has an end.
const LEVELS_BY_CONTENT: u8 = 16;

/// The name of a page.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageId(pub Sha256Digest);

impl PageId {
    /// The leaf page without rows.
    #[must_use]
    pub fn empty() -> Self {
        Self(hash(Tag::LeafPage, &[&0_u16.to_be_bytes()]))
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A stored page: its name, and the number of the snapshot that wrote it.
///
/// A stored page belongs to one unbroken range of its account's snapshots, from its birth on. What
/// goes and comes back later is stored again, under another birth.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PageRef {
    /// The number of the snapshot that wrote it; 0 for the page without rows, which is not stored.
    pub birth: u64,
    /// Its name.
    pub id: PageId,
}

impl PageRef {
    /// The leaf page without rows.
    #[must_use]
    pub fn empty() -> Self {
        Self { birth: 0, id: PageId::empty() }
    }
}

/// A page as its parent knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Child {
    pub(crate) last_key: u64,
    pub(crate) rows: u64,
    pub(crate) page: PageRef,
}

const CHILD_OCTETS: usize = 48;

impl Child {
    /// One that is named by its hash alone, as in outlines.
    pub(crate) fn new(last_key: u64, rows: u64, id: PageId) -> Self {
        Self { last_key, rows, page: PageRef { birth: 0, id } }
    }

    fn octets(&self) -> [u8; CHILD_OCTETS] {
        let mut octets = [0; CHILD_OCTETS];
        octets[..8].copy_from_slice(&self.last_key.to_be_bytes());
        octets[8..16].copy_from_slice(&self.rows.to_be_bytes());
        octets[16..].copy_from_slice(&self.page.id.0.0);
        octets
    }
}

/// A page taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Page<R> {
    Leaf(Vec<R>),
    Inner(u8, Vec<Child>),
}

/// Says whether a page of `level` with `count` entries, the last of which is `key`, ends there.
pub(crate) fn ends_page(size: PageSize, level: u8, count: usize, key: u64) -> bool {
    if count >= usize::from(size.most) {
        return true;
    }
    if level >= LEVELS_BY_CONTENT || count < usize::from(size.least) {
        return false;
    }
    let Sha256Digest(digest) = hash(Tag::Boundary, &[&[level], &key.to_be_bytes()]);
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    number.is_multiple_of(size.one_in)
}

/// What stands in pages of one level: rows in leaves, pages above.
pub(crate) trait Entry<R: Row>: Clone {
    /// The key that orders it.
    fn key(&self) -> u64;
    /// Rows it stands for.
    fn rows(&self) -> u64;
    /// The entries of `page`, when it is of this kind.
    fn of(page: &Page<R>) -> Option<&[Self]>;
    /// How many of them a page has.
    const PAGE: PageSize;
    /// A page of such entries.
    fn page(level: u8, entries: Vec<Self>) -> Page<R>;
}

impl<R: Row> Entry<R> for R {
    const PAGE: PageSize = R::LEAF_PAGE;

    fn key(&self) -> u64 {
        Row::key(self)
    }

    fn rows(&self) -> u64 {
        1
    }

    fn of(page: &Page<R>) -> Option<&[Self]> {
        match page {
            Page::Leaf(rows) => Some(rows),
            Page::Inner(..) => None,
        }
    }

    fn page(_level: u8, entries: Vec<Self>) -> Page<R> {
        Page::Leaf(entries)
    }
}

impl<R: Row> Entry<R> for Child {
    const PAGE: PageSize = INNER_PAGE;

    fn key(&self) -> u64 {
        self.last_key
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn of(page: &Page<R>) -> Option<&[Self]> {
        match page {
            Page::Inner(_, children) => Some(children),
            Page::Leaf(_) => None,
        }
    }

    fn page(level: u8, entries: Vec<Self>) -> Page<R> {
        Page::Inner(level, entries)
    }
}

impl<R: Row> Page<R> {
    pub(crate) fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner(level, _) => *level,
        }
    }

    /// Encodes the page and returns its name.
    pub(crate) fn encode(&self, salts: &Salts) -> Result<(PageId, Bytes), SnapshotError> {
        match self {
            Self::Leaf(rows) => {
                let mut octets = vec![0];
                octets.extend_from_slice(&count(rows.len())?);
                for row in rows {
                    octets.extend_from_slice(&Row::key(row).to_be_bytes());
                    octets.extend_from_slice(&row.encode()?);
                }
                Ok((leaf_page_id(&self.outline(salts)?), octets.into()))
            }
            Self::Inner(level, children) => {
                let id = inner_page_id(&self.outline(salts)?);
                Ok((id, inner_octets(*level, children, true)?.into()))
            }
        }
    }

    /// What the name is hashed from, without the tag.
    pub(crate) fn outline(&self, salts: &Salts) -> Result<Vec<u8>, SnapshotError> {
        match self {
            Self::Leaf(rows) => {
                let mut octets = count(rows.len())?.to_vec();
                for row in rows {
                    octets.extend_from_slice(&Row::key(row).to_be_bytes());
                    octets.extend_from_slice(&row.leaf(salts)?.0);
                }
                Ok(octets)
            }
            Self::Inner(level, children) => inner_octets(*level, children, false),
        }
    }

    /// Reads the page called `id`, and checks that it is the one.
    pub(crate) fn decode(id: PageId, octets: &[u8], salts: &Salts) -> Result<Self, SnapshotError> {
        let damaged = |detail| SnapshotError::Damaged { object: format!("page {id}"), detail };
        let page = Self::parse(octets).ok_or_else(|| damaged("it follows no known layout"))?;
        let (found, _) = page.encode(salts)?;
        if found == id { Ok(page) } else { Err(damaged("its hash is another")) }
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        let level = cursor.u8()?;
        if level > 0 {
            return Some(Self::Inner(level, parse_children(cursor, true)?));
        }
        let mut rows: Vec<R> = Vec::new();
        for _ in 0..cursor.u16()? {
            let key = cursor.u64()?;
            if rows.last().is_some_and(|last| Row::key(last) >= key) {
                return None;
            }
            rows.push(R::decode(key, &mut cursor.0)?);
        }
        cursor.end()?;
        Some(Self::Leaf(rows))
    }
}

fn parse_children(mut cursor: Cursor<'_>, births: bool) -> Option<Vec<Child>> {
    let mut children: Vec<Child> = Vec::new();
    for _ in 0..cursor.u16()? {
        let (last_key, rows) = (cursor.u64()?, cursor.u64()?);
        if children.last().is_some_and(|last| last.last_key >= last_key) {
            return None;
        }
        let id = PageId(cursor.digest()?);
        let birth = if births { cursor.u64()? } else { 0 };
        children.push(Child { last_key, rows, page: PageRef { birth, id } });
    }
    cursor.end()?;
    (!children.is_empty()).then_some(children)
}

/// The entries of a leaf page's outline: keys and leaf hashes.
pub(crate) fn parse_leaf_outline(outline: &[u8]) -> Option<Vec<(u64, Sha256Digest)>> {
    let mut cursor = Cursor(outline);
    let mut leaves = Vec::new();
    for _ in 0..cursor.u16()? {
        leaves.push((cursor.u64()?, cursor.digest()?));
    }
    cursor.end()?;
    Some(leaves)
}

/// What the name of an inner page is hashed from, without the tag.
pub(crate) fn inner_outline(level: u8, children: &[Child]) -> Result<Vec<u8>, SnapshotError> {
    inner_octets(level, children, false)
}

/// Level, count and children of an inner page, with their births or without.
fn inner_octets(level: u8, children: &[Child], births: bool) -> Result<Vec<u8>, SnapshotError> {
    let mut octets = vec![level];
    octets.extend_from_slice(&count(children.len())?);
    for child in children {
        octets.extend_from_slice(&child.octets());
        if births {
            octets.extend_from_slice(&child.page.birth.to_be_bytes());
        }
    }
    Ok(octets)
}

/// The level and entries of an inner page's outline, which has no births.
pub(crate) fn parse_inner_outline(outline: &[u8]) -> Option<(u8, Vec<Child>)> {
    let mut cursor = Cursor(outline);
    let level = cursor.u8().filter(|level| *level > 0)?;
    Some((level, parse_children(cursor, false)?))
}

pub(crate) fn leaf_page_id(outline: &[u8]) -> PageId {
    PageId(hash(Tag::LeafPage, &[outline]))
}

pub(crate) fn inner_page_id(outline: &[u8]) -> PageId {
    PageId(hash(Tag::InnerPage, &[outline]))
}

fn count(entries: usize) -> Result<[u8; 2], SnapshotError> {
    u16::try_from(entries).map(u16::to_be_bytes).map_err(|_| SnapshotError::LimitExceeded {
        what: "the number of entries of a page",
        limit: u64::from(u16::MAX),
    })
}
