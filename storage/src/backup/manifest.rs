//! What one checkpoint consists of: files cut into pieces, and packs.
//!
//! ```text
//! version octet 1, then a Protocol Buffers message:
//! 1  int64     instant: everything acknowledged before it is in the checkpoint
//! 2  uint32    epoch of the store
//! 3  message*  files: 1 string name, 2 uint64 octets, 3 message* pieces (1 bytes PieceId,
//!              2 uint32 plain octets), 4 sint64 nanoseconds since 1970 of the last change
//! 4  message*  packs: 1 bytes PackId, 2 uint64 octets, 3 bytes BLAKE3-256 (empty: not copied),
//!              4 uint32 fault when the checkpoint was taken (0 = none, 1 = damaged, 2 = lost)
//! 5  bool      the packs are in this back-up's own object store and were never copied
//! 6  string    the program that wrote it
//! 7  bytes     Lineage of the store, 16 (absent in those of before claims)
//! ```
//!
//! Not here: how it is encrypted and where it lies (`repository`).

use std::{fmt, str::FromStr};

use prost::Message as _;
use trust::clock::UnixMillis;

use super::BackupError;
use crate::{claim::Lineage, pack::store::PackId};

const VERSION: u8 = 1;

/// Names a checkpoint: `<epoch, 8 hexadecimal digits>-<instant in ms, 16 digits>`. The order is
/// that of history: a restore begins a new epoch.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CheckpointName {
    /// The epoch of the store.
    pub epoch: u32,
    /// The instant of the checkpoint.
    pub instant: UnixMillis,
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}-{:016x}", self.epoch, self.instant.0)
    }
}

/// The text names no checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the name of a checkpoint: `ceralacca backup list` shows them")]
pub struct NotACheckpointName;

impl FromStr for CheckpointName {
    type Err = NotACheckpointName;

    fn from_str(text: &str) -> Result<Self, NotACheckpointName> {
        let (epoch, instant) = text.split_once('-').ok_or(NotACheckpointName)?;
        let name = Self {
            epoch: u32::from_str_radix(epoch, 16).map_err(|_| NotACheckpointName)?,
            instant: UnixMillis(i64::from_str_radix(instant, 16).map_err(|_| NotACheckpointName)?),
        };
        // One text for one checkpoint: no signs, no missing zeros.
        if name.to_string() == text { Ok(name) } else { Err(NotACheckpointName) }
    }
}

/// Names a piece: keyed BLAKE3-256 of its plain octets under a secret of the data key.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PieceId(pub [u8; 32]);

impl fmt::Display for PieceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

impl fmt::Debug for PieceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PieceId({self})")
    }
}

/// A part of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece {
    /// Its name.
    pub id: PieceId,
    /// Its plain octets.
    pub octets: u32,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileEntry {
    /// Path below the restored node's folder, such as `catalog/000012.sst`.
    pub name: String,
    /// Octets.
    pub octets: u64,
    /// Its parts, in order.
    pub pieces: Vec<Piece>,
    /// When it was last changed, in nanoseconds since 1970: with name and length it recognises a
    /// table of the catalog that was shipped before.
    pub modified_nanos: i64,
}

/// A pack that the checkpoint needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PackCopy {
    /// The pack.
    pub pack: PackId,
    /// Octets of the object.
    pub octets: u64,
    /// BLAKE3-256 of the object; `None` when it was never read by the back-up.
    pub digest: Option<[u8; 32]>,
    /// What was wrong with it when the checkpoint was taken, and no sound copy was there.
    pub fault: Option<PackFault>,
}

/// Why a checkpoint has no sound copy of a pack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PackFault {
    /// The copy has damaged chunks, as the pack had in the store.
    Damaged,
    /// There is no copy: the store had lost the pack.
    Lost,
}

/// The numbers of the faults in a manifest; 0 = none.
const FAULTS: [(u32, PackFault); 2] = [(1, PackFault::Damaged), (2, PackFault::Lost)];

fn number_of(fault: Option<PackFault>) -> u32 {
    FAULTS.iter().find(|(_, of)| Some(*of) == fault).map_or(0, |(number, _)| *number)
}

/// What a checkpoint consists of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The checkpoint.
    pub name: CheckpointName,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// The packs that its catalog names.
    pub packs: Vec<PackCopy>,
    /// The packs' own store and the back-up's are one, and nothing was copied.
    pub packs_in_place: bool,
    /// The program that wrote it.
    pub program: String,
    /// Which store it is of; not known when a program wrote it that had no claims.
    pub lineage: Lineage,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ManifestFields {
    #[prost(int64, tag = "1")]
    instant_millis: i64,
    #[prost(uint32, tag = "2")]
    epoch: u32,
    #[prost(message, repeated, tag = "3")]
    files: Vec<FileFields>,
    #[prost(message, repeated, tag = "4")]
    packs: Vec<PackFields>,
    #[prost(bool, tag = "5")]
    packs_in_place: bool,
    #[prost(string, tag = "6")]
    program: String,
    #[prost(bytes = "vec", tag = "7")]
    lineage: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileFields {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    octets: u64,
    #[prost(message, repeated, tag = "3")]
    pieces: Vec<PieceFields>,
    #[prost(sint64, tag = "4")]
    modified_nanos: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PieceFields {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    octets: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PackFields {
    #[prost(bytes = "vec", tag = "1")]
    pack: Vec<u8>,
    #[prost(uint64, tag = "2")]
    octets: u64,
    #[prost(bytes = "vec", tag = "3")]
    digest: Vec<u8>,
    #[prost(uint32, tag = "4")]
    fault: u32,
}

impl Manifest {
    /// The octets of the checkpoint's files.
    pub fn file_octets(&self) -> u64 {
        self.files.iter().map(|file| file.octets).sum()
    }

    /// The manifest's octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let file = |file: &FileEntry| FileFields {
            name: file.name.clone(),
            octets: file.octets,
            pieces: file
                .pieces
                .iter()
                .map(|piece| PieceFields { id: piece.id.0.to_vec(), octets: piece.octets })
                .collect(),
            modified_nanos: file.modified_nanos,
        };
        let pack = |copy: &PackCopy| PackFields {
            pack: copy.pack.0.to_vec(),
            octets: copy.octets,
            digest: copy.digest.map(|digest| digest.to_vec()).unwrap_or_default(),
            fault: number_of(copy.fault),
        };
        let fields = ManifestFields {
            instant_millis: self.name.instant.0,
            epoch: self.name.epoch,
            files: self.files.iter().map(file).collect(),
            packs: self.packs.iter().map(pack).collect(),
            packs_in_place: self.packs_in_place,
            program: self.program.clone(),
            lineage: self.lineage.0.to_vec(),
        };
        let mut octets = vec![VERSION];
        octets.extend(fields.encode_to_vec());
        octets
    }

    /// Reads the manifest of the checkpoint `name`.
    pub fn decode(octets: &[u8], name: CheckpointName) -> Result<Self, BackupError> {
        let object = || format!("the manifest of {name}");
        let damaged =
            |detail: &str| BackupError::Damaged { object: object(), detail: detail.to_owned() };
        let fields = match octets.split_first() {
            Some((&VERSION, fields)) => fields,
            Some((&found, _)) if found > VERSION => {
                let (found, known) = (found.into(), VERSION.into());
                return Err(BackupError::TooNew { object: object(), found, known });
            }
            _ => return Err(damaged("it has no version octet")),
        };
        let fields = ManifestFields::decode(fields).map_err(|_| damaged("it is not a record"))?;
        let found =
            CheckpointName { epoch: fields.epoch, instant: UnixMillis(fields.instant_millis) };
        if found != name {
            return Err(damaged(&format!("it is that of {found}")));
        }
        let files: Option<Vec<_>> = fields.files.into_iter().map(file_of).collect();
        let packs: Option<Vec<_>> = fields.packs.into_iter().map(pack_of).collect();
        Ok(Self {
            name,
            files: files.ok_or_else(|| damaged("a file's name or pieces are impossible"))?,
            packs: packs.ok_or_else(|| damaged("a pack's name or digest is impossible"))?,
            packs_in_place: fields.packs_in_place,
            program: fields.program,
            lineage: fields.lineage.try_into().map(Lineage).unwrap_or_default(),
        })
    }
}

fn file_of(fields: FileFields) -> Option<FileEntry> {
    let FileFields { name, octets, pieces, modified_nanos } = fields;
    let pieces: Option<Vec<Piece>> = pieces
        .into_iter()
        .map(|piece| Some(Piece { id: PieceId(piece.id.try_into().ok()?), octets: piece.octets }))
        .collect();
    let pieces = pieces?;
    // A name becomes a path: nothing may lead out of the folder.
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let fits = pieces.iter().map(|piece| u64::from(piece.octets)).sum::<u64>() == octets;
    let usable = fits && !name.contains('\0') && name.split('/').all(plain);
    usable.then_some(FileEntry { name, octets, pieces, modified_nanos })
}

fn pack_of(fields: PackFields) -> Option<PackCopy> {
    let PackFields { pack, octets, digest, fault } = fields;
    let digest = if digest.is_empty() { None } else { Some(digest.try_into().ok()?) };
    let fault = match fault {
        0 => None,
        number => Some(FAULTS.iter().find(|(of, _)| *of == number)?.1),
    };
    Some(PackCopy { pack: PackId::from_octets(&pack)?, octets, digest, fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(file: &str) -> Manifest {
        Manifest {
            name: CheckpointName { epoch: 2, instant: UnixMillis(1_795_240_800_000) },
            files: vec![FileEntry {
                name: file.to_owned(),
                octets: 7,
                pieces: vec![Piece { id: PieceId([9; 32]), octets: 7 }],
                modified_nanos: -4,
            }],
            packs: vec![
                PackCopy {
                    pack: PackId([3; 16]),
                    octets: 64,
                    digest: Some([8; 32]),
                    fault: Some(PackFault::Damaged),
                },
                PackCopy {
                    pack: PackId([4; 16]),
                    octets: 64,
                    digest: None,
                    fault: Some(PackFault::Lost),
                },
            ],
            packs_in_place: false,
            program: "ceralacca 0".to_owned(),
            lineage: Lineage([5; 16]),
        }
    }

    #[test]
    fn a_manifest_comes_back_and_a_later_version_is_refused() {
        let manifest = manifest("catalog/000007.sst");
        let octets = manifest.encode();
        assert_eq!(Manifest::decode(&octets, manifest.name).expect("readable"), manifest);
        let other = CheckpointName { epoch: 3, ..manifest.name };
        assert!(matches!(Manifest::decode(&octets, other), Err(BackupError::Damaged { .. })));
        let later = [&[VERSION + 1], &octets[1..]].concat();
        let outcome = Manifest::decode(&later, manifest.name);
        assert!(matches!(outcome, Err(BackupError::TooNew { .. })));
    }

    #[test]
    fn no_name_of_a_file_leads_out_of_the_folder() {
        for name in ["../x", "/etc/passwd", "catalog/../../x", "catalog//x", "", "a/./b"] {
            let manifest = manifest(name);
            let outcome = Manifest::decode(&manifest.encode(), manifest.name);
            assert!(matches!(outcome, Err(BackupError::Damaged { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_checkpoint_has_one_name_and_names_are_in_the_order_of_history() {
        let name = manifest("x").name;
        assert_eq!(name.to_string(), "00000002-000001a1fcb0af00");
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in ["2-1a1fcb0af00", "00000002", "00000002-000001A1FCB0AF00", "", "x-y"] {
            assert_eq!(text.parse::<CheckpointName>(), Err(NotACheckpointName), "{text}");
        }
        let earlier = CheckpointName { epoch: 1, instant: UnixMillis(i64::MAX) };
        assert!(earlier < name && earlier.to_string() < name.to_string());
    }
}
