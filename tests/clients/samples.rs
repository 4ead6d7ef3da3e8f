//! Messages that are hard on mail programs, and an account as the server shows it to Python's imaplib.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    provider::{Provider, run},
    reading::python_script,
};

/// A message's octets; a failing comparison shows where they begin.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl fmt::Debug for Octets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = String::from_utf8_lossy(&self.0[..self.0.len().min(60)]);
        write!(formatter, "{} octets: {begin:?}", self.0.len())
    }
}

impl Octets {
    /// As programs on Unix keep them: lines that end in LF only.
    pub(crate) fn with_lf(&self) -> Self {
        Self(replaced(&self.0, b"\r\n", b"\n"))
    }
}

/// `octets` with every `from` turned into `to`.
pub(crate) fn replaced(octets: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}

/// The name of a sample, which its Message-ID holds; of anything else what stands there.
pub(crate) fn name_of(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: <")).unwrap_or_default();
    line.split('@').next().unwrap_or_default().to_owned()
}

/// A message in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Message {
    pub(crate) uid: u32,
    pub(crate) flags: BTreeSet<String>,
    pub(crate) octets: Octets,
}

/// A mailbox: its UIDVALIDITY, and its messages by the name of the sample.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mailbox {
    pub(crate) uid_validity: String,
    pub(crate) messages: BTreeMap<String, Message>,
}

/// All mailboxes of an account, by their names in UTF-8.
pub(crate) type View = BTreeMap<String, Mailbox>;

impl Provider {
    /// Writes the samples to where the environment of every script says they are; gives them back by name.
    pub(crate) fn samples(&self) -> BTreeMap<String, Octets> {
        let folder = self.folder.join("samples");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = python_script(self, "samples.py");
        command.arg(&folder);
        let written = run(command);
        assert_eq!(written.status, 0, "{}", written.complaint);
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                (name, Octets(std::fs::read(path).unwrap()))
            })
            .collect()
    }

    /// Makes `changes`, in the words of `view.py`, and says what is there then.
    pub(crate) fn view(&self, address: &str, changes: &[&str]) -> View {
        let mut command = python_script(self, "view.py");
        command.arg(address).args(changes);
        let viewed = run(command);
        assert_eq!(viewed.status, 0, "{}", viewed.complaint);
        let all: BTreeMap<String, Value> = serde_json::from_str(&viewed.text).unwrap();
        all.into_iter().map(|(name, mailbox)| (name, Mailbox::from_json(&mailbox))).collect()
    }

    /// Puts every sample into a mailbox, in the order of their names; says what is there then.
    pub(crate) fn put_samples(&self, address: &str, mailbox: &str, flags: &str) -> View {
        let put: Vec<String> = self
            .samples()
            .keys()
            .map(|name| format!("put {mailbox} {name} {flags}").trim_end().to_owned())
            .collect();
        self.view(address, &put.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl Mailbox {
    fn from_json(mailbox: &Value) -> Self {
        let uid_validity = mailbox["uidvalidity"].as_str().unwrap().to_owned();
        let messages = mailbox["messages"].as_object().unwrap();
        let mut by_name = BTreeMap::new();
        for (uid, message) in messages {
            let flags = message["flags"].as_array().unwrap();
            let flags = flags.iter().map(|flag| flag.as_str().unwrap().to_owned()).collect();
            let octets = STANDARD.decode(message["octets"].as_str().unwrap()).unwrap();
            let message = Message { uid: uid.parse().unwrap(), flags, octets: Octets(octets) };
            let name = name_of(&message.octets.0);
            assert!(by_name.insert(name.clone(), message).is_none(), "{name} twice");
        }
        Self { uid_validity, messages: by_name }
    }

    /// The octets of its messages, by name.
    pub(crate) fn octets(&self) -> BTreeMap<String, Octets> {
        self.messages.iter().map(|(name, one)| (name.clone(), one.octets.clone())).collect()
    }
}
