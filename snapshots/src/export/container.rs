//! What holds the files of an export: tar, zip, or nothing around the one file, written into memory that is taken away piece by piece.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use trust::clock::UnixMillis;
use zip::{
    CompressionMethod, ZipWriter,
    write::{SimpleFileOptions, StreamWriter},
};

/// Octets of a block of a tar.
const BLOCK: u64 = 512;

/// Octets from which on an entry of a zip has sizes of 64 bits: a file below it cannot grow above
/// 4 GiB by being deflated.
const ZIP_LARGE: u64 = 1 << 31;

/// The bits of file and folder: for the one who unpacks.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

pub(super) enum Container {
    Tar {
        builder: tar::Builder<Vec<u8>>,
        /// Octets of the open file so far.
        written: u64,
    },
    Zip {
        writer: Option<Box<ZipWriter<StreamWriter<Shared>>>>,
        octets: Shared,
    },
    /// The one file itself.
    Plain(Vec<u8>),
}

/// Octets that the zip writer has written.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Container {
    pub(super) fn tar() -> Self {
        Self::Tar { builder: tar::Builder::new(Vec::new()), written: 0 }
    }

    pub(super) fn plain() -> Self {
        Self::Plain(Vec::new())
    }

    pub(super) fn zip() -> Self {
        let octets = Shared::default();
        let writer = Some(Box::new(ZipWriter::new_stream(octets.clone())));
        Self::Zip { writer, octets }
    }

    /// Begins a file. A tar must know its octets; a zip takes more of them as it goes.
    pub(super) fn begin(
        &mut self,
        path: &str,
        octets: Option<u64>,
        at: UnixMillis,
    ) -> io::Result<()> {
        match self {
            Self::Tar { builder, written } => {
                *written = 0;
                let size = octets.ok_or_else(|| io::Error::other("a tar needs the file's size"))?;
                entry(builder, path, tar::EntryType::Regular, (size, FILE_MODE), at)
            }
            Self::Zip { writer, .. } => {
                let is_large = octets.is_none_or(|octets| octets >= ZIP_LARGE);
                let options = SimpleFileOptions::default()
                    .compression_method(CompressionMethod::Deflated)
                    .last_modified_time(zip_time(at))
                    .unix_permissions(FILE_MODE)
                    .large_file(is_large);
                let writer = writer.as_mut().ok_or_else(closed)?;
                writer.start_file(path, options).map_err(io::Error::other)
            }
            Self::Plain(_) => Ok(()),
        }
    }

    /// A folder, for the sake of those that stay empty.
    pub(super) fn directory(&mut self, path: &str, at: UnixMillis) -> io::Result<()> {
        match self {
            Self::Tar { builder, .. } if !path.is_empty() => {
                let path = format!("{path}/");
                entry(builder, &path, tar::EntryType::Directory, (0, FOLDER_MODE), at)
            }
            Self::Zip { writer, .. } if !path.is_empty() => {
                let options = SimpleFileOptions::default()
                    .last_modified_time(zip_time(at))
                    .unix_permissions(FOLDER_MODE);
                let writer = writer.as_mut().ok_or_else(closed)?;
                writer.add_directory(path, options).map_err(io::Error::other)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Tar { builder, written } => {
                *written += octets.len() as u64;
                builder.get_mut().extend_from_slice(octets);
                Ok(())
            }
            Self::Zip { writer, .. } => writer.as_mut().ok_or_else(closed)?.write_all(octets),
            Self::Plain(written) => {
                written.extend_from_slice(octets);
                Ok(())
            }
        }
    }

    /// Ends a file.
    pub(super) fn end(&mut self) {
        if let Self::Tar { builder, written } = self {
            let over = (BLOCK - *written % BLOCK) % BLOCK;
            let octets = builder.get_mut();
            octets.resize(octets.len() + usize::try_from(over).unwrap_or(0), 0);
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tar { builder, .. } => builder.finish(),
            Self::Zip { writer, .. } => {
                let writer = writer.take().ok_or_else(closed)?;
                writer.finish().map(drop).map_err(io::Error::other)
            }
            Self::Plain(_) => Ok(()),
        }
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Tar { builder, .. } => std::mem::take(builder.get_mut()),
            Self::Zip { octets, .. } => {
                std::mem::take(&mut *octets.0.lock().unwrap_or_else(PoisonError::into_inner))
            }
            Self::Plain(written) => std::mem::take(written),
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the zip is closed")
}

/// Writes the head of an entry. The path stands in a PAX record too, which has no bound and is UTF-8.
fn entry(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    (size, mode): (u64, u32),
    at: UnixMillis,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(at.seconds()).unwrap_or(0));
    let is_plain = path.is_ascii() && path.len() < 100;
    // The octal field ends before 8 GiB.
    let is_large = size >= 1 << 33;
    if !is_plain || is_large {
        let size = size.to_string();
        let mut records = vec![("path", path.as_bytes())];
        if is_large {
            records.push(("size", size.as_bytes()));
        }
        builder.append_pax_extensions(records)?;
    }
    header.set_path(if is_plain { path } else { "file" })?;
    header.set_cksum();
    builder.get_mut().extend_from_slice(header.as_bytes());
    Ok(())
}

fn zip_time(at: UnixMillis) -> zip::DateTime {
    let time = jiff::Timestamp::from_second(at.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let part = |value: i8| u8::try_from(value).unwrap_or(1);
    zip::DateTime::from_date_and_time(
        u16::try_from(time.year()).unwrap_or(1980),
        part(time.month()),
        part(time.day()),
        part(time.hour()),
        part(time.minute()),
        part(time.second()),
    )
    .unwrap_or_default()
}
