//! A BagIt bag (RFC 8493) in an uncompressed tar file.
//!
//! ```text
//! <package>/bag-info.txt
//! <package>/bagit.txt
//! <package>/data/<name of a message>        as many as there are
//! <package>/manifest-sha256.txt
//! <package>/tagmanifest-sha256.txt
//! ```
//!
//! Invariants:
//!
//! * The same package gives the same octets: members in the order above, messages by name; owner
//!   and group 0, mode 0644, modification time the bagging instant; POSIX ustar headers, no
//!   folders, two zero blocks at the end.
//! * Written in one pass, with one buffer, whatever the size of the messages: sizes are known from
//!   the declaration, and the manifests come after what they list.
//! * Octets that are not what was declared make the writing fail; what was written by then is to
//!   be thrown away.
//!
//! The tar's own SHA-256 is the identity of the package: it is what gets signed and stamped.

use std::io::{self, Read, Write};

use jiff::{Timestamp, tz::TimeZone};
use tar::{Builder, EntryType, Header};
use trust::{
    clock::UnixMillis,
    digest::{Sha256Digest, Sha256Hasher},
};

use crate::{
    name::{PackageId, PayloadPath},
    pdv::PackagedMessage,
    rdv::AcceptedPdv,
};

/// RFC 8493 §2.1.1.
pub(super) const BAGIT_TXT: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

/// Why a bag cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BagError {
    /// The messages cannot be read or the archive cannot be written.
    #[error("cannot {operation} {object}: check the store and the space left, then start again")]
    Io {
        /// `read` or `write`.
        operation: &'static str,
        /// The message, or the member of the archive.
        object: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A message's octets are not those that were taken in charge.
    #[error(
        "{name} of package {package} is not what was taken in charge: run `ceralacca store check`, restore it from a back-up"
    )]
    WrongOctets {
        /// The package.
        package: PackageId,
        /// The message.
        name: PayloadPath,
    },
    /// A text cannot stand in bag-info.txt.
    #[error("{label} cannot be {value:?}: it must be one line, not empty")]
    InvalidInfo {
        /// The label.
        label: &'static str,
        /// The text.
        value: String,
    },
    /// The instant has no date.
    #[error("the bagging instant {} ms is outside the calendar", .0.0)]
    InvalidInstant(UnixMillis),
}

/// What bag-info.txt says besides the counts (RFC 8493 §2.2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BagInfo {
    /// Source-Organization: who keeps the package.
    pub source_organization: String,
    /// Bag-Software-Agent: the program and its version.
    pub software_agent: String,
    /// Bag-Group-Identifier: the series that the package belongs to.
    pub group_identifier: Option<String>,
    /// Bagging-Date, and the modification time of every member.
    pub bagged: UnixMillis,
}

/// What was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WrittenBag {
    /// Octets of the tar file.
    pub octets: u64,
    /// Its SHA-256.
    pub digest: Sha256Digest,
}

/// A bag that is ready to be written.
#[derive(Clone, Debug)]
pub struct Bag {
    package: PackageId,
    info: String,
    seconds: u64,
    /// In the order of their names.
    messages: Vec<PackagedMessage>,
}

impl Bag {
    /// Plans the bag of `accepted` under the identifier `package`.
    ///
    /// # Errors
    ///
    /// [`BagError::InvalidInfo`], [`BagError::InvalidInstant`].
    pub fn new(
        package: PackageId,
        accepted: &AcceptedPdv,
        info: &BagInfo,
    ) -> Result<Self, BagError> {
        let text = bag_info(&package, accepted, info)?;
        let mut messages = accepted.pdv().messages.clone();
        messages.sort_by(|one, other| one.name.cmp(&other.name));
        let seconds = u64::try_from(info.bagged.seconds())
            .map_err(|_| BagError::InvalidInstant(info.bagged))?;
        Ok(Self { package, info: text, seconds, messages })
    }

    /// Writes the tar file to `out`. `open` gives the octets of a message; it is called once for
    /// each, in the order of their names.
    pub fn write<R: Read>(
        &self,
        mut open: impl FnMut(&PackagedMessage) -> io::Result<R>,
        out: impl Write,
    ) -> Result<WrittenBag, BagError> {
        let out = DigestingWriter { out, hasher: Sha256Hasher::default(), octets: 0 };
        let mut archive = Builder::new(out);
        let mut tags = vec![
            self.tag(&mut archive, "bag-info.txt", &self.info)?,
            self.tag(&mut archive, "bagit.txt", BAGIT_TXT)?,
        ];
        let mut manifest = String::new();
        for message in &self.messages {
            let octets = open(message).map_err(|source| BagError::Io {
                operation: "read",
                object: message.name.to_string(),
                source,
            })?;
            self.message(&mut archive, message, octets)?;
            manifest.push_str(&line(message.digest, &format!("data/{}", message.name)));
        }
        tags.push(self.tag(&mut archive, "manifest-sha256.txt", &manifest)?);
        self.tag(&mut archive, "tagmanifest-sha256.txt", &tags.concat())?;
        let written = archive
            .into_inner()
            .and_then(|mut out| out.flush().map(|()| out))
            .map_err(|source| write_error("the end of the archive", source))?;
        Ok(WrittenBag { octets: written.octets, digest: written.hasher.finish() })
    }

    /// Adds a tag file and returns its line for the tag manifest.
    fn tag<W: Write>(
        &self,
        archive: &mut Builder<W>,
        name: &str,
        text: &str,
    ) -> Result<String, BagError> {
        self.header(name, text.len() as u64)
            .and_then(|header| archive.append(&header, text.as_bytes()))
            .map_err(|source| write_error(name, source))?;
        Ok(line(Sha256Digest::of(text.as_bytes()), name))
    }

    fn message<W: Write>(
        &self,
        archive: &mut Builder<W>,
        message: &PackagedMessage,
        octets: impl Read,
    ) -> Result<(), BagError> {
        // One octet more is asked for than declared, so that a longer message is noticed.
        let limited = octets.take(message.size.saturating_add(1));
        let mut reader =
            DigestingReader { octets: limited, hasher: Sha256Hasher::default(), count: 0 };
        let name = format!("data/{}", message.name);
        self.header(&name, message.size)
            .and_then(|header| archive.append(&header, &mut reader))
            .map_err(|source| write_error(&name, source))?;
        if reader.count == message.size && reader.hasher.finish() == message.digest {
            Ok(())
        } else {
            let name = message.name.clone();
            Err(BagError::WrongOctets { package: self.package.clone(), name })
        }
    }

    fn header(&self, name: &str, size: u64) -> io::Result<Header> {
        let mut header = Header::new_ustar();
        header.set_path(format!("{}/{name}", self.package))?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.seconds);
        header.set_size(size);
        header.set_cksum();
        Ok(header)
    }
}

fn bag_info(
    package: &PackageId,
    accepted: &AcceptedPdv,
    info: &BagInfo,
) -> Result<String, BagError> {
    let date = Timestamp::from_millisecond(info.bagged.0)
        .map_err(|_| BagError::InvalidInstant(info.bagged))?
        .to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d")
        .to_string();
    let pdv = accepted.pdv();
    let oxum = format!("{}.{}", pdv.octets(), pdv.messages.len());
    let fields = [
        ("Source-Organization", Some(info.source_organization.as_str())),
        ("External-Identifier", Some(package.as_str())),
        ("External-Description", Some(pdv.producer.as_str())),
        ("Bagging-Date", Some(date.as_str())),
        ("Payload-Oxum", Some(oxum.as_str())),
        ("Bag-Group-Identifier", info.group_identifier.as_deref()),
        ("Internal-Sender-Identifier", Some(pdv.id.as_str())),
        ("Bag-Software-Agent", Some(info.software_agent.as_str())),
    ];
    let mut text = String::new();
    for (label, value) in fields {
        let Some(value) = value else { continue };
        if value.trim().is_empty() || value.chars().any(char::is_control) {
            return Err(BagError::InvalidInfo { label, value: value.to_owned() });
        }
        text.push_str(label);
        text.push_str(": ");
        text.push_str(value);
        text.push('\n');
    }
    Ok(text)
}

/// A line of a manifest (RFC 8493 §2.1.3), as `sha256sum` prints it.
fn line(digest: Sha256Digest, path: &str) -> String {
    format!("{digest}  {path}\n")
}

fn write_error(object: &str, source: io::Error) -> BagError {
    BagError::Io { operation: "write", object: object.to_owned(), source }
}

struct DigestingWriter<W> {
    out: W,
    hasher: Sha256Hasher,
    octets: u64,
}

impl<W: Write> Write for DigestingWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = self.out.write(octets)?;
        self.hasher.update(octets.get(..count).unwrap_or(octets));
        self.octets += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct DigestingReader<R> {
    octets: R,
    hasher: Sha256Hasher,
    count: u64,
}

impl<R: Read> Read for DigestingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.octets.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or(buffer));
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
