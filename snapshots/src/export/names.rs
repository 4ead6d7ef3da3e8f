//! Names of files and folders: ones that Windows, too, can have, and never the same one twice.
//!
//! What Windows forbids in a name becomes `_`, and so do characters that change how the rest is shown.
//! Names that are too long are cut. Where two mailboxes would then have one folder, the later one gets
//! `~2`, `~3`, …. The names of a Maildir hold a `:`, as the format has it; those of its folders are UTF-8.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::Path,
};

use storage::{ids::MailboxId, mailbox::view::MessageRow};

use super::{Format, index};

/// Characters of one level.
const LEVEL_CHARACTERS_MAX: usize = 80;

/// Octets of one level: with what is put behind it, no more than the 255 of common file systems.
const LEVEL_OCTETS_MAX: usize = 200;

/// Octets of the one name that a folder of a Maildir has for all its levels. mbsync gives up on a whole
/// path of more than 255.
const MAILDIR_OCTETS_MAX: usize = 120;

/// Names that Windows keeps for devices.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Folders that were given, by mailbox.
pub(super) struct Names {
    format: Format,
    /// What is taken, in lower case.
    taken: BTreeSet<String>,
    /// The folder of each level that was met.
    folders: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn new(format: Format) -> Self {
        let taken = [index::README, index::FILE, index::SUMS].map(str::to_ascii_lowercase);
        let mut taken: BTreeSet<String> = taken.into();
        if format == Format::Maildir {
            taken.extend(["cur", "new", "tmp"].map(str::to_owned));
        }
        Self { format, taken, folders: BTreeMap::new() }
    }

    /// The folder of a mailbox; for mbox its file; for Maildir empty for INBOX.
    pub(super) fn folder(&mut self, mailbox: &str) -> String {
        match self.format {
            Format::Tar | Format::Zip => self.nested(mailbox, ""),
            Format::Mbox | Format::OneMbox => {
                let folder = self.nested(mailbox, ".mbox");
                format!("{folder}.mbox")
            }
            Format::Maildir if mailbox == storage::account::name::INBOX => String::new(),
            Format::Maildir => {
                let levels: Vec<String> =
                    mailbox.split('/').map(|level| safe(level).replace('.', "_")).collect();
                let name = format!(".{}", levels.join("."));
                self.free(
                    "",
                    cut(&name, (usize::MAX, MAILDIR_OCTETS_MAX)).trim_end_matches('.'),
                    "",
                )
            }
        }
    }

    fn nested(&mut self, mailbox: &str, behind: &str) -> String {
        let (mut name, mut folder) = (String::new(), String::new());
        for level in mailbox.split('/') {
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(level);
            folder = if let Some(known) = self.folders.get(&name) {
                known.clone()
            } else {
                let given = self.free(&folder, &safe(level), behind);
                self.folders.insert(name.clone(), given.clone());
                given
            };
        }
        folder
    }

    fn free(&mut self, above: &str, name: &str, behind: &str) -> String {
        let above = if above.is_empty() { String::new() } else { format!("{above}/") };
        let mut number = 1_u64;
        loop {
            let end = if number == 1 { String::new() } else { format!("~{number}") };
            let path = format!("{above}{name}{end}");
            let both = [path.to_lowercase(), format!("{path}{behind}").to_lowercase()];
            if both.iter().all(|one| !self.taken.contains(one)) {
                self.taken.extend(both);
                return path;
            }
            number += 1;
        }
    }
}

/// The beginning of a name: so many characters and octets at most.
fn cut(name: &str, (characters, octets): (usize, usize)) -> &str {
    let ends = name.char_indices().map(|(at, one)| at + one.len_utf8());
    let end = ends.take(characters).take_while(|end| *end <= octets).last();
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Whether a character has no place in a name of a file: what Windows forbids, and what changes lines
/// or the direction of the text around it.
fn is_bad(one: char) -> bool {
    one.is_control()
        || matches!(one, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
        || matches!(one, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// One level as a name that every system can have.
fn safe(level: &str) -> String {
    let cut = cut(level, (LEVEL_CHARACTERS_MAX, LEVEL_OCTETS_MAX)).chars();
    let mut name: String = cut.map(|one| if is_bad(one) { '_' } else { one }).collect();
    if name.is_empty() || name.ends_with(['.', ' ']) || name.starts_with(' ') {
        name = format!("{}_", name.trim_matches(' ').trim_end_matches('.'));
    }
    let stem = name.split('.').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_port = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|digit| {
            digit.chars().count() == 1
                && digit.chars().all(|one| matches!(one, '0'..='9' | '¹' | '²' | '³'))
        })
    };
    if DEVICES.contains(&stem.as_str()) || is_port("com") || is_port("lpt") {
        name = format!("_{name}");
    }
    // Files of messages end so.
    let extension = Path::new(&name).extension().map(OsStr::to_ascii_lowercase);
    if extension.is_some_and(|extension| extension == "eml" || extension == "mbox") {
        name.push('_');
    }
    name
}

pub(super) fn joined(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}

/// `cur/<seconds>.M<mailbox>U<UID>.ceralacca,S=<octets>:2,<flags>`, flags in the order of ASCII.
pub(super) fn maildir_file(mailbox: MailboxId, row: &MessageRow) -> String {
    let flags = &row.flags;
    let is_forwarded =
        flags.keywords.iter().any(|one| one.as_str().eq_ignore_ascii_case("$Forwarded"));
    let letters = [
        (flags.draft, 'D'),
        (flags.flagged, 'F'),
        (is_forwarded, 'P'),
        (flags.answered, 'R'),
        (flags.seen, 'S'),
        (flags.deleted, 'T'),
    ];
    let letters: String =
        letters.into_iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
    let (seconds, uid, size) = (row.internal_date.seconds(), row.uid, row.size);
    format!("cur/{seconds}.M{mailbox}U{uid}.ceralacca,S={size}:2,{letters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_on_windows_and_never_the_same_twice() {
        let mut names = Names::new(Format::Zip);
        let folders: Vec<String> = [
            "INBOX",
            "a:b",
            "a?b",
            "A*B",
            "con",
            "Con.txt/x",
            "lpt1",
            "fine.",
            " x",
            "index.csv",
            "INBOX/0000000001.eml",
            "INBOX/sotto",
            "inbox2",
        ]
        .map(|name| names.folder(name))
        .into();
        let lower: BTreeSet<String> = folders.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(lower.len(), folders.len(), "{folders:?}");
        assert_eq!(
            folders,
            [
                "INBOX",
                "a_b",
                "a_b~2",
                "A_B~3",
                "_con",
                "_Con.txt/x",
                "_lpt1",
                "fine_",
                "x_",
                "index.csv~2",
                "INBOX/0000000001.eml_",
                "INBOX/sotto",
                "inbox2",
            ]
        );
        let mut names = Names::new(Format::Mbox);
        assert_eq!(names.folder("a"), "a.mbox");
        assert_eq!(names.folder("a/b"), "a/b.mbox");
        assert_eq!(names.folder("A"), "A~2.mbox");
        let mut names = Names::new(Format::Maildir);
        assert_eq!(names.folder("INBOX"), "");
        assert_eq!(names.folder("Archivio/2026.1"), ".Archivio.2026_1");
        assert_eq!(names.folder("Archivio/2026_1"), ".Archivio.2026_1~2");
    }

    #[test]
    fn no_name_is_too_long_leads_elsewhere_or_hides_what_it_is() {
        let long = "è".repeat(127);
        let wide = "𝄞".repeat(63);
        let deep = [long.as_str(); 4].join("/");
        let odd =
            ["..", "../..", "./x", ".", "-", "fattura\u{202e}fdp", "a\u{7f}b", "x/..", " ", "..."];
        for format in [Format::Zip, Format::Tar, Format::Mbox, Format::Maildir] {
            let mut names = Names::new(format);
            let mailboxes: Vec<&str> =
                odd.into_iter().chain([long.as_str(), wide.as_str(), deep.as_str()]).collect();
            let folders: Vec<String> = mailboxes.iter().map(|name| names.folder(name)).collect();
            for (mailbox, folder) in mailboxes.iter().zip(&folders) {
                for level in folder.split('/') {
                    let is_one = !level.is_empty() && level.len() <= 255 - ".mbox".len();
                    assert!(is_one && level != "." && level != "..", "{mailbox:?}: {folder:?}");
                }
                assert!(!folder.contains(is_hidden), "{mailbox:?}: {folder:?}");
            }
            let different: BTreeSet<&String> = folders.iter().collect();
            assert_eq!(different.len(), folders.len(), "{folders:?}");
        }
    }

    fn is_hidden(one: char) -> bool {
        one.is_control() || matches!(one, '\u{202e}' | '\\' | ':')
    }
}
