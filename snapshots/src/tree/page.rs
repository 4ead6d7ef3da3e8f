//! Pages: the unit in which a tree is stored.
//!
//! A page's name is the hash of its *outline*. That of a leaf page is `count u16 ‖ count × (key u64 ‖
//! leaf hash)`, so that a proof can show a page without the rows; that of an inner page is `level u8 ‖
//! count u16 ‖ count × (last key u64 ‖ rows u64 ‖ page 32)`, level 1 and above. Keys ascend strictly.
//!
//! What is stored is shorter. Numbers are varints (`octets`), and stand as columns:
//!
//! | page | octets |
//! |---|---|
//! | leaf | `00 ‖ count ‖ runs × (gap ‖ length) ‖ columns of the rows` ([`super::row`]) |
//! | inner | `level u8 ‖ count ‖ count × last key ‖ count × rows ‖ count × birth ‖ count × page 32` |
//!
//! A run is as many keys, one after the other, as its length says. Its gap is how many keys are left
//! out before it, after the run before or from 0 on. A last key stands less the one before it. There is
//! one way to store a page; another is refused.
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
    octets::{Cursor, put_varint},
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
        let outline = self.outline(salts)?;
        let mut octets = vec![self.level()];
        match self {
            Self::Leaf(rows) => {
                put_varint(rows.len() as u64, &mut octets);
                put_runs(rows.iter().map(Row::key), &mut octets);
                R::put_columns(rows, &mut octets)?;
                Ok((leaf_page_id(&outline), octets.into()))
            }
            Self::Inner(_, children) => {
                put_children(children, &mut octets);
                Ok((inner_page_id(&outline), octets.into()))
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
            Self::Inner(level, children) => inner_outline(*level, children),
        }
    }

    /// Reads the page called `id`, and checks that it is the one.
    pub(crate) fn decode(id: PageId, octets: &[u8], salts: &Salts) -> Result<Self, SnapshotError> {
        let damaged = |detail| SnapshotError::Damaged { object: format!("page {id}"), detail };
        let page = Self::parse(octets).ok_or_else(|| damaged("it follows no known layout"))?;
        let (found, same) = page.encode(salts)?;
        if found != id {
            return Err(damaged("its hash is another"));
        }
        if same == octets { Ok(page) } else { Err(damaged("it is stored in another way")) }
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        let level = cursor.u8()?;
        let count = usize::from(u16::try_from(cursor.varint()?).ok()?);
        let page = if level > 0 {
            Self::Inner(level, read_children(&mut cursor, count)?)
        } else {
            let keys = read_runs(&mut cursor, count)?;
            Self::Leaf(R::read_columns(&keys, &mut cursor.0)?)
        };
        cursor.end()?;
        Some(page)
    }
}

/// Writes ascending keys as runs.
fn put_runs(keys: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let mut keys = keys.peekable();
    let mut next = 0;
    while let Some(first) = keys.next() {
        let mut length = 1;
        while keys.next_if_eq(&first.saturating_add(length)).is_some() {
            length += 1;
        }
        put_varint(first - next, out);
        put_varint(length, out);
        next = first.saturating_add(length);
    }
}

fn read_runs(cursor: &mut Cursor<'_>, count: usize) -> Option<Vec<u64>> {
    let mut keys = Vec::with_capacity(count);
    // `None` behind the largest key.
    let mut next = Some(0_u64);
    while keys.len() < count {
        let first = next?.checked_add(cursor.varint()?)?;
        let length = cursor.varint()?;
        if length == 0 || length > (count - keys.len()) as u64 {
            return None;
        }
        let last = first.checked_add(length - 1)?;
        keys.extend(first..=last);
        next = last.checked_add(1);
    }
    Some(keys)
}

fn put_children(children: &[Child], out: &mut Vec<u8>) {
    put_varint(children.len() as u64, out);
    let mut before = 0;
    for child in children {
        put_varint(child.last_key.wrapping_sub(before), out);
        before = child.last_key;
    }
    for child in children {
        put_varint(child.rows, out);
    }
    for child in children {
        put_varint(child.page.birth, out);
    }
    for child in children {
        out.extend_from_slice(&child.page.id.0.0);
    }
}

fn read_children(cursor: &mut Cursor<'_>, count: usize) -> Option<Vec<Child>> {
    let mut children: Vec<Child> = Vec::with_capacity(count);
    for _ in 0..count {
        let before = children.last().map(|child| child.last_key);
        let gap = cursor.varint()?;
        let last_key = before.unwrap_or(0).checked_add(gap)?;
        if before == Some(last_key) {
            return None;
        }
        let page = PageRef { birth: 0, id: PageId(Sha256Digest([0; 32])) };
        children.push(Child { last_key, rows: 0, page });
    }
    for child in &mut children {
        child.rows = cursor.varint()?;
    }
    for child in &mut children {
        child.page.birth = cursor.varint()?;
    }
    for child in &mut children {
        child.page.id = PageId(cursor.digest()?);
    }
    (!children.is_empty()).then_some(children)
}

fn parse_children(mut cursor: Cursor<'_>) -> Option<Vec<Child>> {
    let mut children: Vec<Child> = Vec::new();
    for _ in 0..cursor.u16()? {
        let (last_key, rows) = (cursor.u64()?, cursor.u64()?);
        if children.last().is_some_and(|last| last.last_key >= last_key) {
            return None;
        }
        let id = PageId(cursor.digest()?);
        children.push(Child { last_key, rows, page: PageRef { birth: 0, id } });
    }
    cursor.end()?;
    (!children.is_empty()).then_some(children)
}

/// The entries of a leaf page's outline: keys, which ascend strictly, and leaf hashes. A key that stood
/// there twice would let one root show two leaves of it.
pub(crate) fn parse_leaf_outline(outline: &[u8]) -> Option<Vec<(u64, Sha256Digest)>> {
    let mut cursor = Cursor(outline);
    let mut leaves: Vec<(u64, Sha256Digest)> = Vec::new();
    for _ in 0..cursor.u16()? {
        let key = cursor.u64()?;
        if leaves.last().is_some_and(|(last, _)| *last >= key) {
            return None;
        }
        leaves.push((key, cursor.digest()?));
    }
    cursor.end()?;
    Some(leaves)
}

/// What the name of an inner page is hashed from, without the tag.
pub(crate) fn inner_outline(level: u8, children: &[Child]) -> Result<Vec<u8>, SnapshotError> {
    let mut octets = vec![level];
    octets.extend_from_slice(&count(children.len())?);
    for child in children {
        octets.extend_from_slice(&child.octets());
    }
    Ok(octets)
}

/// The level and entries of an inner page's outline, which has no births.
pub(crate) fn parse_inner_outline(outline: &[u8]) -> Option<(u8, Vec<Child>)> {
    let mut cursor = Cursor(outline);
    let level = cursor.u8().filter(|level| *level > 0)?;
    Some((level, parse_children(cursor)?))
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
        remedy: "move messages to another account",
    })
}
