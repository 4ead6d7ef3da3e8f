//! Reads what `strace -f -y` saw, and says at any point which files are written and not yet synced.
//!
//! * A file is dirty from the beginning of a write to the end of a successful `fsync` or `fdatasync` that
//!   began after that write.
//! * A folder is dirty when a name was made in it (`open` with `O_CREAT`, `rename`, `link`), until it is
//!   synced in the same way.
//! * A call that another thread interrupts in the output (`<unfinished ...>`) ends where it is resumed.

use std::collections::{BTreeMap, BTreeSet};

/// What a line says that matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// Octets were written to a file.
    Write { path: String },
    /// A name was made.
    Name { path: String },
    /// A sync of file or folder begins.
    SyncBegins { process: String, path: String },
    /// A sync of this process ends well.
    SyncEnds { process: String },
    /// Text was written to a pipe or socket: what it is, and the beginning of the text.
    Sent { to: String, text: String },
    /// Something was read from a pipe or socket.
    Received { from: String },
}

/// The calls that have to be watched for [`events`].
pub(crate) const CALLS: &str = "trace=openat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,rename,\
     renameat,renameat2,link,linkat,read,readv,recvfrom,recvmsg,sendto,sendmsg";

/// The path that `-y` shows for a descriptor: `12</tmp/x>` or `5<TCP:[…]>`.
fn described(text: &str) -> Option<&str> {
    let start = text.find('<')? + 1;
    // A socket's description may hold `->`.
    let end = start
        + text[start..].find(['>', ',']).map(|end| {
            let closing = text[start..].find(">,").or_else(|| text[start..].find(">)"));
            closing.unwrap_or(end)
        })?;
    text.get(start..end)
}

/// The last text in quotes: the new name of `rename` and `link`.
fn last_quoted(text: &str) -> Option<&str> {
    let end = text.rfind('"')?;
    let start = text[..end].rfind('"')? + 1;
    text.get(start..end)
}

/// Everything in the output, in its order.
pub(crate) fn events(output: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut syncing = BTreeSet::new();
    for line in output.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let (process, call) = (process.to_owned(), call.trim_start());
        if let Some(resumed) = call.strip_prefix("<... ") {
            let sync = resumed.starts_with("fsync") || resumed.starts_with("fdatasync");
            if sync && resumed.trim_end().ends_with("= 0") && syncing.remove(&process) {
                events.push(Event::SyncEnds { process });
            }
            continue;
        }
        let Some((name, arguments)) = call.split_once('(') else { continue };
        let path = described(arguments).unwrap_or_default().to_owned();
        match name {
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "sendto" | "sendmsg" => {
                if path.starts_with('/') && !path.starts_with("/dev/") {
                    events.push(Event::Write { path });
                } else {
                    events.push(Event::Sent { to: path, text: arguments.to_owned() });
                }
            }
            // Nothing came when the call would have had to wait.
            "read" | "readv" | "recvfrom" | "recvmsg"
                if !path.starts_with('/') && !call.contains("= -1") && !call.ends_with("= 0") =>
            {
                events.push(Event::Received { from: path });
            }
            "fsync" | "fdatasync" => {
                events.push(Event::SyncBegins { process: process.clone(), path });
                if call.trim_end().ends_with("= 0") {
                    events.push(Event::SyncEnds { process });
                } else if call.contains("<unfinished") {
                    syncing.insert(process);
                }
            }
            "openat" if call.contains("O_CREAT") => {
                events.extend(
                    last_quoted(arguments).map(|path| Event::Name { path: path.to_owned() }),
                );
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                events.extend(
                    last_quoted(arguments).map(|path| Event::Name { path: path.to_owned() }),
                );
            }
            _ => {}
        }
    }
    events
}

/// Which files and folders are dirty.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    written: BTreeMap<String, u64>,
    syncing: BTreeMap<String, (String, u64)>,
    number: u64,
    /// Syncs that made something clean.
    pub(crate) syncs: u64,
}

impl Dirty {
    /// Takes in the next event.
    pub(crate) fn note(&mut self, event: &Event) {
        self.number += 1;
        match event {
            Event::Write { path } => {
                self.written.insert(path.clone(), self.number);
            }
            Event::Name { path } => {
                if let Some((folder, _)) = path.rsplit_once('/') {
                    self.written.insert(folder.to_owned(), self.number);
                }
            }
            Event::SyncBegins { process, path } => {
                self.syncing.insert(process.clone(), (path.clone(), self.number));
            }
            Event::SyncEnds { process } => {
                if let Some((path, begun)) = self.syncing.remove(process)
                    && self.written.get(&path).is_some_and(|written| *written < begun)
                {
                    self.written.remove(&path);
                    self.syncs += 1;
                }
            }
            Event::Sent { .. } | Event::Received { .. } => {}
        }
    }

    /// The dirty files and folders that `matters` names.
    pub(crate) fn of(&self, matters: impl Fn(&str) -> bool) -> Vec<String> {
        self.written.keys().filter(|path| matters(path)).cloned().collect()
    }
}

/// Whether a file or folder belongs to what an acknowledgement promises: the engine's log, packs, and
/// the folders that their names stand in.
pub(crate) fn is_promised(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let log =
        name.strip_suffix(".log").is_some_and(|stem| stem.bytes().all(|c| c.is_ascii_digit()));
    let in_catalog = path.contains("/catalog/") && log;
    in_catalog || path.ends_with("/catalog") || path.contains("/objects/packs")
}

#[test]
fn a_write_is_dirty_until_a_sync_that_began_after_it_ends() {
    let output = "\
7 write(4</x/catalog/000004.log>, \"a\", 1) = 1
8 fdatasync(4</x/catalog/000004.log> <unfinished ...>
7 write(4</x/catalog/000004.log>, \"b\", 1) = 1
8 <... fdatasync resumed>) = 0
9 write(1<pipe:[77]>, \"ACK 1\\n\", 6) = 6
9 fdatasync(4</x/catalog/000004.log>) = 0
9 rename(\"/x/objects/packs/00/a#1\", \"/x/objects/packs/00/a\") = 0
9 fsync(9</x/objects/packs/00>) = -1 EIO
";
    let mut dirty = Dirty::default();
    let mut left = Vec::new();
    for event in events(output) {
        dirty.note(&event);
        left.push(dirty.of(is_promised).join(" "));
    }
    let log = "/x/catalog/000004.log";
    let folder = "/x/objects/packs/00";
    assert_eq!(left, [log, log, log, log, log, log, "", folder, folder]);
}
