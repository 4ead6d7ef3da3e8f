//! Golden octets of one record, as a crate's tests hold them against the program of today.
//!
//! `records/v1/<package>.txt`, beside this file, has one line for each sample:
//!
//! ```text
//! <name> <struct> <key> <octets>
//! ```
//!
//! * The name is the catalog family, or what the layout is called; `/` and a word tell several samples
//!   of one from each other.
//! * The struct is `<file>::<name>` of the Protocol Buffers message in the octets, or `-`. It follows the
//!   code when that is moved or renamed; nothing else in a line ever changes, and no line goes.
//! * Key and octets are hexadecimal digits, `-` = none. What stands before the fields of a message
//!   (version, check octets) is parted from them by a full stop.
//!
//! A sample without its line is written once, and the test that found it missing fails. How formats
//! evolve stands in `docs/formats.md`.
//!
//! Not here: which records need a sample (`records`).

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write as _},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Tests of one package run at the same time.
static WRITING: Mutex<()> = Mutex::new(());

/// One line of the golden file of the package that is tested.
#[derive(Clone, Debug)]
pub(crate) struct Golden {
    name: String,
    structure: String,
    key: String,
    head: usize,
}

impl Golden {
    /// The line `name`.
    pub(crate) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), structure: "-".to_owned(), key: "-".to_owned(), head: 0 }
    }

    /// Another sample of the same.
    pub(crate) fn variant(mut self, variant: impl Debug) -> Self {
        write!(self.name, "/{variant:?}").expect("a text");
        self.name.retain(|c| c.is_ascii_alphanumeric() || "/_-.".contains(c));
        self
    }

    /// It stands under `key`.
    pub(crate) fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = text_of(key.as_ref());
        self
    }

    /// After `head` octets the message `structure` begins.
    pub(crate) fn fields(mut self, structure: &str, head: usize) -> Self {
        (self.structure, self.head) = (structure.to_owned(), head);
        self
    }

    /// The program of today writes `sample` as it was written, and reads what was written as `sample`.
    pub(crate) fn holds<T: Debug + PartialEq, O: AsRef<[u8]>>(
        self,
        sample: &T,
        write: impl FnOnce(&T) -> O,
        read: impl FnOnce(&[u8]) -> T,
    ) {
        let name = self.name.clone();
        let now = write(sample);
        let then = self.written(now.as_ref());
        assert_eq!(&read(&then), sample, "{name}: read from what was written");
        assert_eq!(text_of(now.as_ref()), text_of(&then), "{name}: written now and then");
    }

    /// The program of today writes these octets, which are read elsewhere, or by nobody.
    pub(crate) fn is(self, now: impl AsRef<[u8]>) {
        let name = self.name.clone();
        let then = self.written(now.as_ref());
        assert_eq!(text_of(now.as_ref()), text_of(&then), "{name}: written now and then");
    }

    /// What was written; `now` is written when nothing was. For octets that differ each time, or
    /// that no program writes any more.
    pub(crate) fn written(self, now: impl AsRef<[u8]>) -> Vec<u8> {
        let Self { name, structure, key, head } = self;
        let _one = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let file = file();
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(lines.len(), text.lines().count(), "{}: each name has one line", file.display());
        let Some(line) = lines.get(name.as_str()) else {
            let (head, fields) = now.as_ref().split_at(head);
            let octets = match head {
                [] => text_of(fields),
                head => format!("{}.{}", text_of(head), text_of(fields)),
            };
            fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
            let opened = fs::OpenOptions::new().create(true).append(true).open(&file);
            writeln!(opened.expect("opened"), "{name} {structure} {key} {octets}")
                .expect("written");
            panic!("{name} was missing in {}: look at it, and run the test again", file.display());
        };
        let parts: Vec<&str> = line.split(' ').collect();
        let [of, under, octets] = parts[..] else { panic!("{name}: a line has four parts") };
        assert_eq!((of, under), (structure.as_str(), key.as_str()), "{name}: struct and key");
        octets.split('.').flat_map(octets_of).collect()
    }
}

/// The golden file of the package that is tested.
fn file() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let below = Path::new("tests/formats/records");
    let here = package.join(below);
    let folder = if here.exists() { here } else { package.join("..").join(below) };
    folder.join("v1").join(concat!(env!("CARGO_PKG_NAME"), ".txt"))
}

fn text_of(octets: &[u8]) -> String {
    let mut text = String::new();
    for octet in octets {
        write!(text, "{octet:02x}").expect("a text");
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

fn octets_of(text: &str) -> Vec<u8> {
    let digits = text.trim_start_matches('-').as_bytes();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(|pair| octet(pair).expect("hexadecimal digits")).collect()
}
