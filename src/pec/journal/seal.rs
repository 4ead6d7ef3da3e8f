//! A seal: what one minute of the journal was, so that nothing of it changes unseen.
//!
//! * The records of a seal are leaves of a Merkle tree of the shape of RFC 6962 §2.1. A leaf is
//!   SHA-256 over one octet 0, the record's key and its value exactly as they are stored; an inner
//!   node is SHA-256 over one octet 1 and its two children.
//! * A seal is [`SEAL_OCTETS`] octets of fixed layout ([`Seal::octets`]); its hash is SHA-256 over
//!   one octet 2 and these. Every seal names the hash of the one before.
//!
//! The layout stands in `docs/formats.md`, for who verifies without this program.
//!
//! Not here: when seals are made ([`super::sealer`]), what a damage is called ([`super::verify`]).

use storage::error::StoreError;
use trust::{
    clock::UnixMillis,
    digest::{Sha256Digest, Sha256Hasher},
};

/// Octets of a seal.
pub const SEAL_OCTETS: usize = 125;

const VERSION: u8 = 1;
const LEAF: u8 = 0;
const NODE: u8 = 1;
const SEAL: u8 = 2;

/// The name of nothing: what the first seal, and the first statement, name as the one before.
pub const NOTHING: Sha256Digest = Sha256Digest([0; 32]);

/// What one run of the sealer has sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seal {
    /// The node whose journal it is.
    pub node: u64,
    /// The store's epoch when it was made.
    pub epoch: u32,
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// The first record.
    pub first: u64,
    /// The last record; between the two none is missing.
    pub last: u64,
    /// When it was made; never before the seal that it follows, a period that is closed, or one of its
    /// records.
    pub instant: UnixMillis,
    /// The lowest instant of its records.
    pub earliest: UnixMillis,
    /// The highest instant of its records.
    pub latest: UnixMillis,
    /// The root of the tree over its records.
    pub root: Sha256Digest,
    /// The hash of the seal before; [`NOTHING`] for the first.
    pub previous: Sha256Digest,
}

impl Seal {
    /// The octets that stand in the catalog and in the daily piece.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(SEAL_OCTETS);
        octets.push(VERSION);
        octets.extend_from_slice(&self.node.to_be_bytes());
        octets.extend_from_slice(&self.epoch.to_be_bytes());
        for number in [self.number, self.first, self.last] {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        for instant in [self.instant, self.earliest, self.latest] {
            octets.extend_from_slice(&instant.0.to_be_bytes());
        }
        octets.extend_from_slice(&self.root.0);
        octets.extend_from_slice(&self.previous.0);
        octets
    }

    /// Reads a seal; `object` names it in errors.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooNew`], [`StoreError::Damaged`].
    pub fn read(octets: &[u8], object: impl Fn() -> String) -> Result<Self, StoreError> {
        match octets.first() {
            Some(&version) if version > VERSION => {
                return Err(StoreError::TooNew {
                    object: object(),
                    found: version.into(),
                    known: VERSION.into(),
                });
            }
            Some(&VERSION) if octets.len() == SEAL_OCTETS => {}
            _ => {
                let detail = format!("{} octets are no seal", octets.len());
                return Err(StoreError::Damaged { object: object(), detail });
            }
        }
        let number = |at: usize| {
            octets[at..at + 8].iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet))
        };
        let instant = |at: usize| UnixMillis(number(at).cast_signed());
        let digest = |at: usize| {
            let mut digest = [0; 32];
            digest.copy_from_slice(&octets[at..at + 32]);
            Sha256Digest(digest)
        };
        Ok(Self {
            node: number(1),
            epoch: octets[9..13].iter().fold(0, |epoch, octet| epoch << 8 | u32::from(*octet)),
            number: number(13),
            first: number(21),
            last: number(29),
            instant: instant(37),
            earliest: instant(45),
            latest: instant(53),
            root: digest(61),
            previous: digest(93),
        })
    }

    /// What the next seal names it by.
    #[must_use]
    pub fn hash(&self) -> Sha256Digest {
        hash(SEAL, &[&self.octets()])
    }
}

fn hash(domain: u8, parts: &[&[u8]]) -> Sha256Digest {
    let mut hasher = Sha256Hasher::default();
    hasher.update(&[domain]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// The leaf of the record that stands under `key` with `value`.
#[must_use]
pub fn leaf(key: &[u8], value: &[u8]) -> Sha256Digest {
    hash(LEAF, &[key, value])
}

fn node(left: Sha256Digest, right: Sha256Digest) -> Sha256Digest {
    hash(NODE, &[&left.0, &right.0])
}

/// A tree while its leaves come: it keeps as many digests as its height.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Whole subtrees, the largest first: height and root.
    whole: Vec<(u32, Sha256Digest)>,
}

impl Tree {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Sha256Digest) {
        let mut added = (0, leaf);
        while let Some((height, left)) = self.whole.pop_if(|(height, _)| *height == added.0) {
            added = (height + 1, node(left, added.1));
        }
        self.whole.push(added);
    }

    /// The root over all leaves; of none, SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Sha256Digest {
        let roots = self.whole.iter().rev().map(|(_, root)| *root);
        roots.reduce(|right, left| node(left, right)).unwrap_or_else(|| Sha256Digest::of(b""))
    }
}

/// The root over `leaves`.
#[must_use]
pub fn root(leaves: &[Sha256Digest]) -> Sha256Digest {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree.root()
}

/// What proves that leaf `index` is in the tree over `leaves`, from the leaf upwards (RFC 6962
/// §2.1.1); empty when there is no such leaf.
#[must_use]
pub fn path(leaves: &[Sha256Digest], index: usize) -> Vec<Sha256Digest> {
    if leaves.len() <= 1 || index >= leaves.len() {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut below, beside) = match index.checked_sub(left.len()) {
        None => (path(left, index), root(right)),
        Some(index) => (path(right, index), root(left)),
    };
    below.push(beside);
    below
}

/// The largest power of two below `count`, which is above 1.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<Sha256Digest> {
        (0..count).map(|number| leaf(&[number; 16], b"record")).collect()
    }

    /// The root by the definition: MTH of RFC 6962 §2.1.
    fn defined(leaves: &[Sha256Digest]) -> Sha256Digest {
        match leaves {
            [] => Sha256Digest::of(b""),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node(defined(left), defined(right))
            }
        }
    }

    /// The root that a path leads to.
    fn climbed(
        leaf: Sha256Digest,
        index: usize,
        count: usize,
        path: &[Sha256Digest],
    ) -> Sha256Digest {
        let Some((beside, below)) = path.split_last() else { return leaf };
        match index.checked_sub(split(count)) {
            None => node(climbed(leaf, index, split(count), below), *beside),
            Some(index) => node(*beside, climbed(leaf, index, count - split(count), below)),
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_and_every_path_leads_to_it() {
        for count in 0..40_u8 {
            let leaves = leaves(count);
            assert_eq!(root(&leaves), defined(&leaves), "{count} leaves");
            for (index, leaf) in leaves.iter().enumerate() {
                let path = path(&leaves, index);
                assert_eq!(climbed(*leaf, index, leaves.len(), &path), root(&leaves));
            }
        }
        assert_eq!(path(&leaves(3), 3), []);
    }

    #[test]
    fn a_leaf_is_never_an_inner_node() {
        let [left, right] = [leaf(b"k", b"1"), leaf(b"k", b"2")];
        assert_ne!(leaf(&left.0, &right.0), node(left, right));
    }

    #[test]
    fn a_seal_comes_back_from_its_octets_and_nothing_else_is_one() {
        let seal = Seal {
            node: 1,
            epoch: 2,
            number: 3,
            first: 4,
            last: 5,
            instant: UnixMillis(-6),
            earliest: UnixMillis(7),
            latest: UnixMillis(8),
            root: Sha256Digest([9; 32]),
            previous: Sha256Digest([10; 32]),
        };
        let octets = seal.octets();
        assert_eq!(octets.len(), SEAL_OCTETS);
        assert_eq!(Seal::read(&octets, String::new).expect("a seal"), seal);
        for wrong in [&octets[..124], &[], &[octets.as_slice(), &[0]].concat()] {
            let read = Seal::read(wrong, String::new);
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
        }
        let later = [&[2], &octets[1..]].concat();
        assert!(matches!(Seal::read(&later, String::new), Err(StoreError::TooNew { .. })));
    }
}
