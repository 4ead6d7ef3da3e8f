//! Checking a bag in a tar file: complete and valid in the sense of RFC 8493 §3.
//!
//! One pass, bounded memory: payload octets are only digested, tag files are kept. What is asked
//! for is stricter than RFC 8493 where packages of this program always comply: one folder at the
//! top, regular files only, SHA-256, no `fetch.txt`.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use tar::{Archive, Entry, EntryType};
use trust::digest::{Sha256Digest, Sha256Hasher};

use super::bag::BAGIT_TXT;

/// Octets that a tag file may have: some 100,000 lines of a manifest.
pub const TAG_OCTETS_MAX: u64 = 16 << 20;
/// Files that a bag may have.
pub const FILES_MAX: usize = 200_000;

/// Why a bag is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The archive cannot be read to its end.
    #[error("the archive cannot be read")]
    Unreadable(#[source] io::Error),
    /// The archive is no bag, or its parts do not fit together.
    #[error("the bag is not valid: {object}: {reason}")]
    Invalid {
        /// The file, or the bag.
        object: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What a valid bag holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckedBag {
    /// Its folder.
    pub name: String,
    /// The fields of bag-info.txt, in order.
    pub info: Vec<(String, String)>,
    /// Payload files: path from the folder, octets, digest.
    pub payload: BTreeMap<String, (u64, Sha256Digest)>,
}

/// Reads the tar file `archive` to its end and checks the bag in it.
pub fn check(archive: impl Read) -> Result<CheckedBag, CheckError> {
    let mut archive = Archive::new(archive);
    let mut contents = Contents::default();
    for entry in archive.entries().map_err(CheckError::Unreadable)? {
        contents.add(entry.map_err(CheckError::Unreadable)?)?;
    }
    contents.judge()
}

/// What was read: tag files whole, payload files digested.
#[derive(Default)]
struct Contents {
    name: Option<String>,
    tags: BTreeMap<String, Vec<u8>>,
    payload: BTreeMap<String, (u64, Sha256Digest)>,
}

impl Contents {
    fn add<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), CheckError> {
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let invalid = |reason| CheckError::Invalid { object: path.clone(), reason };
        if entry.header().entry_type() != EntryType::Regular {
            return Err(invalid("it is not a regular file"));
        }
        if self.tags.len() + self.payload.len() >= FILES_MAX {
            return Err(invalid("there are too many files"));
        }
        let (folder, file) = path.split_once('/').ok_or(invalid("it stands in no folder"))?;
        if self.name.get_or_insert_with(|| folder.to_owned()) != folder {
            return Err(invalid("it stands in a second folder"));
        }
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !plain(folder) || !file.split('/').all(plain) || path.contains(['\n', '\r', '\0', '%']) {
            return Err(invalid("its path is not plain"));
        }
        let again = if file.starts_with("data/") {
            let found = digest(&mut entry).map_err(CheckError::Unreadable)?;
            self.payload.insert(file.to_owned(), found).is_some()
        } else {
            if entry.size() > TAG_OCTETS_MAX {
                return Err(invalid("it is too large"));
            }
            let mut octets = Vec::new();
            entry.read_to_end(&mut octets).map_err(CheckError::Unreadable)?;
            self.tags.insert(file.to_owned(), octets).is_some()
        };
        if again { Err(invalid("it stands there twice")) } else { Ok(()) }
    }

    fn judge(self) -> Result<CheckedBag, CheckError> {
        let bag = |reason| CheckError::Invalid { object: "the bag".to_owned(), reason };
        let tag = |name: &str| {
            let octets = self.tags.get(name).map(Vec::as_slice);
            let text = octets.and_then(|octets| std::str::from_utf8(octets).ok());
            text.ok_or(CheckError::Invalid {
                object: name.to_owned(),
                reason: "it is missing or not UTF-8",
            })
        };
        if tag("bagit.txt")? != BAGIT_TXT {
            return Err(bag("bagit.txt is not that of BagIt 1.0 in UTF-8"));
        }
        let payload = self.payload.iter().map(|(path, (_, digest))| (path.as_str(), *digest));
        compare("manifest-sha256.txt", tag("manifest-sha256.txt")?, payload.collect())?;
        let listed = self.tags.iter().filter(|(name, _)| !name.starts_with("tagmanifest-"));
        let tags = listed.map(|(name, octets)| (name.as_str(), Sha256Digest::of(octets)));
        compare("tagmanifest-sha256.txt", tag("tagmanifest-sha256.txt")?, tags.collect())?;
        let info: Vec<(String, String)> = tag("bag-info.txt")?
            .lines()
            .map(|line| line.split_once(": ").ok_or(bag("a line of bag-info.txt has no label")))
            .map(|field| field.map(|(label, value)| (label.to_owned(), value.to_owned())))
            .collect::<Result<_, _>>()?;
        let octets = self.payload.values().fold(0_u64, |sum, (size, _)| sum.saturating_add(*size));
        let oxum = format!("{octets}.{}", self.payload.len());
        let stated = info.iter().find(|(label, _)| label == "Payload-Oxum");
        if stated.is_some_and(|(_, stated)| *stated != oxum) {
            return Err(bag("Payload-Oxum counts other octets or files"));
        }
        let name = self.name.ok_or(bag("it is empty"))?;
        Ok(CheckedBag { name, info, payload: self.payload })
    }
}

/// Compares a manifest with the digests of the files that it must list: all of them, once.
fn compare(
    manifest: &str,
    text: &str,
    mut files: BTreeMap<&str, Sha256Digest>,
) -> Result<(), CheckError> {
    let invalid = |object: &str, reason| CheckError::Invalid { object: object.to_owned(), reason };
    for line in text.lines() {
        let (digest, path) = line
            .split_once([' ', '\t'])
            .map(|(digest, path)| (digest, path.trim_start_matches([' ', '\t'])))
            .ok_or_else(|| invalid(manifest, "a line has no path"))?;
        let found = files
            .remove(path)
            .ok_or_else(|| invalid(path, "a manifest lists it twice, or it is missing"))?;
        if !digest.eq_ignore_ascii_case(&found.to_string()) {
            return Err(invalid(path, "its digest is another"));
        }
    }
    match files.keys().next() {
        Some(path) => Err(invalid(path, "no manifest lists it")),
        None => Ok(()),
    }
}

fn digest(octets: &mut impl Read) -> io::Result<(u64, Sha256Digest)> {
    let mut hasher = Sha256Hasher::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut count = 0;
    loop {
        let read = octets.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok((count, hasher.finish()));
        };
        hasher.update(piece);
        count += read as u64;
    }
}
