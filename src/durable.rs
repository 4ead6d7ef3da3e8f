//! Files that are replaced as a whole: after a crash there is the old one or the new one.
//!
//! Not here: what stands in them.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Who may read a file besides its owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// Whoever the process's mask lets.
    Usual,
    /// Nobody: the file holds a secret.
    Owner,
}

/// Puts `octets` in the place of the file at `path`, durably.
///
/// # Errors
///
/// Those of the operating system; the old file is then untouched.
pub fn replace(path: &Path, octets: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mode = match readers {
        Readers::Usual => 0o644,
        Readers::Owner => 0o600,
    };
    // What a crash left there may have other readers.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    sync_folder(path)
}

/// Takes the file at `path` away, durably; one that is gone already is no error.
///
/// # Errors
///
/// Those of the operating system.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads the file at `path`; `None` when there is none.
///
/// # Errors
///
/// Those of the operating system.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        None => return Ok(()),
        // A name without a folder is one of the present folder.
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
    };
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_readers_whatever_a_crash_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ring.json");
        std::fs::write(folder.path().join("ring.json.new"), "half").expect("left behind");
        replace(&path, b"one", Readers::Usual).expect("replaced");
        replace(&path, b"two", Readers::Owner).expect("replaced");
        assert_eq!(read(&path).expect("read").as_deref(), Some(&b"two"[..]));
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        remove(&path).expect("removed");
        remove(&path).expect("gone already");
        assert_eq!(read(&path).expect("read"), None);
    }
}
