//! Unpacks a tar while it comes, into a folder that gets its name when it is whole.
//!
//! Only files and folders are taken, and only below the folder. A place that cannot be given to the whole
//! folder at the end is refused before anything is read.

use std::{
    io::{self, Read, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use tempfile::TempDir;

use super::{
    super::failure::Failure,
    export::{not_made, parent, part, synced, taken},
};
use crate::texts::Text;

/// Pieces that wait for being unpacked.
const WAITING_MAX: usize = 4;

/// A folder in the making.
pub(super) struct Unpacking {
    path: PathBuf,
    beside: TempDir,
    /// Whether more came than could be unpacked.
    refused: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

/// Where the octets of the tar go.
pub(super) struct Feed {
    sender: SyncSender<Vec<u8>>,
    refused: Arc<AtomicBool>,
}

impl Write for Feed {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.sender.send(octets.to_vec()).map_err(|_| {
            self.refused.store(true, Ordering::SeqCst);
            io::Error::other("what came could not be unpacked")
        })?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same octets, to read.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    read: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            // Nobody sends any more: the end.
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.read) = (piece, 0);
        }
        let left = self.piece.get(self.read..).unwrap_or_default();
        let count = left.len().min(into.len());
        if let (Some(into), Some(left)) = (into.get_mut(..count), left.get(..count)) {
            into.copy_from_slice(left);
        }
        self.read += count;
        Ok(count)
    }
}

impl Unpacking {
    /// Begins the folder `path`, which must be new, or empty and on the file system that it is in; an empty
    /// one is replaced. The octets go into the [`Feed`], which is
    /// dropped behind the last of them.
    pub(super) fn begin(path: &Path) -> Result<(Self, Feed), Failure> {
        let path = &free(path)?;
        let beside = part().tempdir_in(parent(path)).map_err(|error| not_made(path, &error))?;
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let folder = beside.path().to_owned();
        let thread = std::thread::spawn(move || {
            unpack(&mut Pieces { receiver, piece: Vec::new(), read: 0 }, &folder)
        });
        let refused = Arc::new(AtomicBool::new(false));
        let feed = Feed { sender, refused: Arc::clone(&refused) };
        let unpacking = Self { path: path.to_owned(), beside, refused, thread };
        Ok((unpacking, feed))
    }

    /// Names the folder when all of it came and was unpacked, or removes it.
    pub(super) fn end<T>(self, came: Result<T, Failure>) -> Result<T, Failure> {
        let Self { path, beside, refused, thread } = self;
        let unpacked = thread.join().unwrap_or_else(|_| Err(io::Error::other("unpacking ended")));
        let unpacked = unpacked.map_err(|error| not_made(&path, &error));
        // What went wrong here may be why no more was taken, or come of what was cut short there.
        let came = if refused.load(Ordering::SeqCst) {
            unpacked?;
            came?
        } else {
            let came = came?;
            unpacked?;
            came
        };
        let named = || -> io::Result<()> {
            let folder = std::fs::File::open(beside.path())?;
            // The files are many: one call for all of them.
            nix::unistd::syncfs(&folder)?;
            std::fs::rename(beside.path(), &path)?;
            synced(parent(&path))
        };
        named().map_err(|error| not_made(&path, &error))?;
        // It has another name now, and stays.
        let _ = beside.keep();
        Ok(came)
    }
}

/// The path, as the whole folder can have it at the end.
fn free(path: &Path) -> Result<PathBuf, Failure> {
    let shown = path.display();
    let refused = |italian: &str, english: &str| {
        let text = Text::filled(format!("{shown} {italian}"), format!("{shown} {english}"));
        Err(Failure::invalid(text))
    };
    let Some(name) = path.file_name() else {
        return refused(
            "non finisce con un nome: indicare la cartella per nome, per esempio ./esportazione",
            "does not end in a name: give the folder's name, for example ./export",
        );
    };
    let (parent, path) = (parent(path), parent(path).join(name));
    let about = match path.symlink_metadata() {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
        Err(error) => return Err(not_made(&path, &error)),
    };
    if about.is_symlink() {
        return refused(
            "è un collegamento simbolico: indicare la cartella stessa, nuova o vuota",
            "is a symbolic link: give the folder itself, new or empty",
        );
    }
    if !about.is_dir() {
        return Err(taken(&path));
    }
    let above = parent.metadata().map_err(|error| not_made(&path, &error))?;
    if above.dev() != about.dev() {
        return refused(
            "è la radice di un altro file system: indicare una cartella nuova al suo interno",
            "is the top of another file system: give a new folder inside it",
        );
    }
    let mut entries = std::fs::read_dir(&path).map_err(|error| not_made(&path, &error))?;
    if entries.next().is_some() { Err(taken(&path)) } else { Ok(path) }
}

fn unpack(from: &mut impl Read, folder: &Path) -> io::Result<()> {
    for entry in tar::Archive::new(&mut *from).entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let is_inside = (kind.is_file() || kind.is_dir()) && entry.unpack_in(folder)?;
        if !is_inside {
            let path = entry.path()?.display().to_string();
            return Err(io::Error::other(format!("{path} is no file or folder of an export")));
        }
    }
    // What is behind the end, so that nobody waits for a reader.
    io::copy(from, &mut io::sink())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(path: &str, kind: tar::EntryType) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(4);
        header.set_mode(0o600);
        // As a hostile writer does, past what the library refuses to write.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, &b"text"[..]).expect("an entry");
        builder.into_inner().expect("a tar")
    }

    fn folder_of(tar: &[u8], came: Result<(), Failure>) -> (TempDir, bool) {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("esportazione");
        let (unpacking, mut feed) = Unpacking::begin(&path).expect("begun");
        let taken = tar.chunks(100).try_for_each(|piece| feed.write_all(piece));
        drop(feed);
        let ended = unpacking.end(came).is_ok() && taken.is_ok();
        (root, ended)
    }

    fn names(root: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(root).expect("a folder");
        entries.map(|one| one.expect("one").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_folder_has_its_name_when_it_is_whole_and_nothing_is_left_of_another() {
        let good = tar_of("INBOX/1.eml", tar::EntryType::Regular);
        let (root, ended) = folder_of(&good, Ok(()));
        assert!(ended);
        assert_eq!(names(root.path()), ["esportazione"]);
        let file = root.path().join("esportazione/INBOX/1.eml");
        assert_eq!(std::fs::read(file).expect("the file"), b"text");
        let again = Unpacking::begin(&root.path().join("esportazione"));
        assert!(again.is_err(), "a folder with something in it is not replaced");
        let cut = Failure::failed(Text::fixed("tagliato", "cut"));
        for (octets, came) in [
            (good.as_slice(), Err(cut)),
            (&good[..600], Ok(())),
            (&tar_of("../fuori", tar::EntryType::Regular), Ok(())),
            (&tar_of("legame", tar::EntryType::Symlink), Ok(())),
        ] {
            let (root, ended) = folder_of(octets, came);
            assert!(!ended);
            assert_eq!(names(root.path()), [""; 0]);
        }
    }

    #[test]
    fn a_place_that_the_whole_folder_cannot_have_is_refused_before_anything_is_read() {
        let root = tempfile::tempdir().expect("a folder");
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir(path("vuota")).expect("a folder");
        std::os::unix::fs::symlink(path("vuota"), path("legame")).expect("a link");
        std::fs::write(path("file"), b"text").expect("a file");
        let before = names(root.path()).len();
        for (place, code, why) in [
            (PathBuf::from("."), 2, "does not end in a name"),
            (PathBuf::from("/"), 2, "does not end in a name"),
            (path("vuota/.."), 2, "does not end in a name"),
            (path("legame"), 2, "is a symbolic link"),
            (path("legame/"), 2, "is a symbolic link"),
            (PathBuf::from("/proc"), 2, "is the top of another file system"),
            (path("file"), 4, "is there already"),
            (root.path().to_owned(), 4, "is there already"),
        ] {
            let Err(refused) = Unpacking::begin(&place) else { panic!("{place:?} is refused") };
            let english = refused.text().get(crate::texts::Language::English);
            assert!(english.contains(why) && refused.code() == code, "{place:?}: {refused:?}");
        }
        assert_eq!(names(root.path()).len(), before, "nothing was written");
        for place in ["vuota", "vuota/", "vuota/.", "nuova/"] {
            let (unpacking, feed) = Unpacking::begin(&path(place)).expect("begun");
            drop(feed);
            let cut = Failure::failed(Text::fixed("tagliato", "cut"));
            assert!(unpacking.end::<()>(Err(cut)).is_err());
        }
    }
}
