//! A tree of Maildirs, as programs that synchronise keep one, read and changed by hand.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::samples::{Octets, name_of};

/// Mailboxes by their names as the server has them; in each the letters and octets of messages by name.
pub(crate) type Tree = BTreeMap<String, BTreeMap<String, (String, Octets)>>;

/// A folder of Maildirs.
#[derive(Debug)]
pub(crate) struct Maildirs {
    pub(crate) root: PathBuf,
    /// What stands between the parts of a mailbox's name: `/` where one lies in the other.
    pub(crate) separator: &'static str,
}

impl Maildirs {
    /// Every mailbox and message.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        for (path, octets) in self.files() {
            let entry = tree.entry(self.mailbox_of(&path)).or_default();
            if let Some(octets) = octets {
                let file = path.file_name().unwrap().to_string_lossy().into_owned();
                let letters = file.split_once(":2,").map_or("", |(_, letters)| letters);
                let name = name_of(&octets.0);
                let twice = entry.insert(name.clone(), (letters.to_owned(), octets));
                assert!(twice.is_none(), "{name} twice in {}", path.display());
            }
        }
        tree
    }

    /// Every message under its whole path, and each mailbox as its `cur` without octets: what a run that has nothing
    /// to do leaves as it is.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Option<Octets>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() && (name == "cur" || name == "new") {
                    found.insert(folder.join("cur"), None);
                    for message in std::fs::read_dir(&path).unwrap() {
                        let message = message.unwrap().path();
                        let octets = std::fs::read(&message).unwrap();
                        found.insert(message, Some(Octets(octets)));
                    }
                } else if path.is_dir() && name != "tmp" {
                    folders.push(path);
                }
            }
        }
        found
    }

    /// Makes a mailbox.
    pub(crate) fn make(&self, mailbox: &str) {
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(self.path(mailbox).join(part)).unwrap();
        }
    }

    /// Puts a message there, as a program that reads mail from files would.
    pub(crate) fn put(&self, mailbox: &str, octets: &Octets, letters: &str) {
        let file = format!("{}.{}.here:2,{letters}", 1_795_000_000, name_of(&octets.0));
        std::fs::write(self.path(mailbox).join("cur").join(file), &octets.with_lf().0).unwrap();
    }

    /// Gives a message other letters.
    pub(crate) fn mark(&self, mailbox: &str, name: &str, letters: &str) {
        let from = self.find(mailbox, name);
        let file = from.file_name().unwrap().to_string_lossy().into_owned();
        let unique = file.split_once(":2,").map_or(&*file, |(unique, _)| unique);
        let to = self.path(mailbox).join("cur").join(format!("{unique}:2,{letters}"));
        std::fs::rename(from, to).unwrap();
    }

    /// Takes a message away.
    pub(crate) fn delete(&self, mailbox: &str, name: &str) {
        std::fs::remove_file(self.find(mailbox, name)).unwrap();
    }

    fn find(&self, mailbox: &str, name: &str) -> PathBuf {
        let folder = self.path(mailbox);
        let inside = |path: &Path| path.parent().and_then(Path::parent) == Some(&folder);
        let mut files = self.files().into_iter().filter(|(path, _)| inside(path));
        let found = files
            .find(|(_, octets)| octets.as_ref().is_some_and(|octets| name_of(&octets.0) == name));
        found.unwrap_or_else(|| panic!("{name} is not in {mailbox}")).0
    }

    /// Both programs write names as IMAP4rev1 does, in modified UTF-7.
    fn path(&self, mailbox: &str) -> PathBuf {
        let name = mailbox.replace('&', "&-").replace('à', "&AOA-");
        self.root.join(name.replace('/', self.separator))
    }

    fn mailbox_of(&self, path: &Path) -> String {
        let folder =
            if path.ends_with("cur") { path.parent() } else { path.parent().unwrap().parent() };
        let name = folder.unwrap().strip_prefix(&self.root).unwrap().to_string_lossy().into_owned();
        name.replace(self.separator, "/").replace("&AOA-", "à").replace("&-", "&")
    }
}
