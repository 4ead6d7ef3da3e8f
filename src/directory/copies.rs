//! The copies of the directory in the data folder.
//!
//! In the folder `directory`: `current.p7m` is the last good copy with its signature, `held.p7m` one
//! that waits for an operator, `notes.json` when they came and what the server called them.
//!
//! Invariants:
//!
//! * Each file is replaced as a whole; a copy is there before the note that speaks of it. A note
//!   whose digest is not the copy's says nothing.
//! * What is read here is not believed: the signature is verified again by the caller.
//!
//! Not here: whether a copy is good ([`super::signed`], [`super::changes`]).

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use trust::clock::UnixMillis;

use crate::durable::{self, Readers};

/// Which copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// The last good one.
    Current,
    /// The one that waits.
    Held,
}

/// When a copy came.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CopyNote {
    /// SHA-256 of the copy.
    pub digest: String,
    /// When it was fetched, in ms since 1970: its signer was valid then.
    pub fetched_millis: i64,
    /// When the server said last that it is the newest.
    pub confirmed_millis: i64,
    /// SHA-256 of the certificate that signed it.
    #[serde(default)]
    pub signer: String,
}

/// What is noted beside the copies.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Notes {
    /// Of the last good copy.
    pub current: Option<CopyNote>,
    /// Of the one that waits.
    pub held: Option<CopyNote>,
    /// ETag of what was fetched last (RFC 9110 §8.8.3).
    pub etag: Option<String>,
    /// Last-Modified of what was fetched last.
    pub last_modified: Option<String>,
    /// When the last copy that was taken was signed: no older one is taken without an operator.
    #[serde(default)]
    pub signed_millis: Option<i64>,
    /// How many other providers it has.
    #[serde(default)]
    pub providers: usize,
}

/// The folder of copies.
#[derive(Clone, Debug)]
pub struct Copies(PathBuf);

impl Copies {
    /// Opens the folder, made when it is absent.
    ///
    /// # Errors
    ///
    /// Those of the operating system, as from all methods.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    fn path(&self, which: Which) -> PathBuf {
        self.0.join(match which {
            Which::Current => "current.p7m",
            Which::Held => "held.p7m",
        })
    }

    /// Reads a copy; `None` when there is none.
    pub fn read(&self, which: Which) -> io::Result<Option<Vec<u8>>> {
        durable::read(&self.path(which))
    }

    /// Puts a copy there.
    pub fn write(&self, which: Which, octets: &[u8]) -> io::Result<()> {
        durable::replace(&self.path(which), octets, Readers::Usual)
    }

    /// Takes the copy that waits away.
    pub fn drop_held(&self) -> io::Result<()> {
        durable::remove(&self.path(Which::Held))
    }

    /// The notes; none when they do not read: they only spare a fetch.
    pub fn notes(&self) -> io::Result<Notes> {
        let Some(octets) = durable::read(&self.0.join("notes.json"))? else {
            return Ok(Notes::default());
        };
        Ok(serde_json::from_slice(&octets).unwrap_or_else(|error| {
            tracing::warn!(%error, "the notes beside the directory's copy are damaged: it is fetched anew");
            Notes::default()
        }))
    }

    /// Writes the notes.
    pub fn write_notes(&self, notes: &Notes) -> io::Result<()> {
        let octets = serde_json::to_vec_pretty(notes).map_err(io::Error::other)?;
        durable::replace(&self.0.join("notes.json"), &octets, Readers::Usual)
    }
}

impl Notes {
    /// The note of a copy, when it is the copy's own.
    #[must_use]
    pub fn of(&self, which: Which, digest: &str) -> Option<&CopyNote> {
        let note = match which {
            Which::Current => self.current.as_ref(),
            Which::Held => self.held.as_ref(),
        };
        note.filter(|note| note.digest == digest)
    }

    /// Whether these are the notes of the copies with these digests, and no others. Otherwise what
    /// the server called the last one may be another's name.
    #[must_use]
    pub fn are_of(&self, current: Option<&str>, held: Option<&str>) -> bool {
        let noted = [&self.current, &self.held].map(|note| Some(note.as_ref()?.digest.as_str()));
        noted == [current, held] && current.is_some()
    }

    /// The instant at which a copy's signer must have been valid: when it was fetched, if the note
    /// is the copy's own, else `now`.
    #[must_use]
    pub fn judged_at(&self, which: Which, digest: &str, now: UnixMillis) -> UnixMillis {
        let own = self.of(which, digest).filter(|note| note.fetched_millis <= now.0);
        own.map_or(now, |note| UnixMillis(note.fetched_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_notes_read_back_and_damaged_notes_say_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let copies = Copies::open(folder.path()).expect("opened");
        assert_eq!(copies.read(Which::Current).expect("read"), None);
        copies.write(Which::Held, b"held").expect("written");
        let note = CopyNote {
            digest: "aa".to_owned(),
            fetched_millis: 5,
            confirmed_millis: 6,
            signer: String::new(),
        };
        let notes =
            Notes { current: Some(note), etag: Some("\"x\"".to_owned()), ..Notes::default() };
        copies.write_notes(&notes).expect("written");
        assert_eq!(copies.notes().expect("read"), notes);
        let judged = |digest, now| notes.judged_at(Which::Current, digest, UnixMillis(now)).0;
        assert_eq!((judged("aa", 9), judged("bb", 9), judged("aa", 4)), (5, 9, 4));
        std::fs::write(folder.path().join("notes.json"), "{").expect("damaged");
        assert_eq!(copies.notes().expect("read"), Notes::default());
        assert_eq!(copies.read(Which::Held).expect("read").as_deref(), Some(&b"held"[..]));
        copies.drop_held().expect("dropped");
        assert_eq!(copies.read(Which::Held).expect("read"), None);
    }
}
