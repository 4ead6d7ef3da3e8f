//! Declares settings and reads them, in one step.
//!
//! A section's `read` names each key once, with its default and its explanation; from that one
//! place come the value, the list of keys that a misspelt one is compared with, the environment
//! variable and the line in `config example`.
//!
//! Errors are collected: a wrong setting reads as its default until [`Reader::finish`] refuses.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{
    error::{ConfigError, ConfigErrors, Place},
    source::{Given, Raw, Source},
    value::Setting,
};
use crate::texts::{Language, Text};

/// How alike two names must be (0 to 1) for the one to be proposed for the other.
const SIMILARITY_MIN: f64 = 0.6;

struct Declared {
    section: String,
    /// `None`: the section's own explanation, or any key (a table of names).
    key: Option<String>,
    explanation: Text,
    /// The TOML line, and whether it is only an example.
    line: Option<(String, bool)>,
}

/// Reads one configuration.
pub(super) struct Reader<'a> {
    source: &'a Source,
    /// Relative paths of the file start here.
    folder: PathBuf,
    declared: Vec<Declared>,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source, file: Option<&Path>) -> Self {
        let folder = file.and_then(Path::parent).map_or_else(PathBuf::new, Path::to_path_buf);
        Self { source, folder, declared: Vec::new(), errors: Vec::new() }
    }

    /// Opens a section.
    pub(super) fn section(&mut self, name: &str, explanation: Text) -> Section<'_, 'a> {
        self.declared.push(Declared {
            section: name.to_owned(),
            key: None,
            explanation,
            line: None,
        });
        Section { reader: self, name: name.to_owned() }
    }

    /// Records that settings do not fit together.
    pub(super) fn refuse(&mut self, setting: &str, text: Text) {
        let place = setting
            .rsplit_once('.')
            .and_then(|(section, key)| self.given(section, key))
            .map_or_else(|| Place::Setting(setting.to_owned()), |given| given.place);
        self.errors.push(ConfigError::new(place, text));
    }

    /// Refuses what nobody declared, and every error so far.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        self.refuse_unknown_sections();
        self.refuse_unknown_keys();
        self.refuse_unknown_variables();
        if self.errors.is_empty() { Ok(()) } else { Err(ConfigErrors(self.errors)) }
    }

    /// Prints every setting with its explanation and default.
    pub(super) fn example(&self, language: Language) -> String {
        let mut text = String::new();
        for declared in &self.declared {
            if declared.key.is_none() && declared.line.is_none() {
                let _ = writeln!(text);
                comment(&mut text, declared.explanation.get(language));
                let _ = writeln!(text, "[{}]", declared.section);
                continue;
            }
            comment(&mut text, declared.explanation.get(language));
            if let Some((line, example_only)) = &declared.line {
                let _ = writeln!(text, "{}{line}", if *example_only { "# " } else { "" });
            }
        }
        text
    }

    fn given(&self, section: &str, key: &str) -> Option<Given> {
        let name = variable_name(section, Some(key));
        if let Some(text) = self.source.variables.get(&name) {
            return Some(Given { raw: Raw::Variable(text.clone()), place: Place::Variable(name) });
        }
        self.source.values.get(&(section.to_owned(), key.to_owned())).cloned()
    }

    fn wrong<T: Setting>(&mut self, key: &str, given: &Given) {
        let expected = T::expected();
        let text = Text::filled(
            format!("\"{key}\" non va bene: scrivere {}", expected.get(Language::Italian)),
            format!("\"{key}\" is wrong: write {}", expected.get(Language::English)),
        );
        self.errors.push(ConfigError::new(given.place.clone(), text));
    }

    fn refuse_unknown_sections(&mut self) {
        let known: Vec<&str> = self.declared.iter().map(|one| one.section.as_str()).collect();
        for (section, place) in &self.source.sections {
            let parent_of_known = known.iter().any(|name| {
                name.strip_prefix(section.as_str()).is_some_and(|rest| rest.starts_with('.'))
            });
            if known.contains(&section.as_str()) || parent_of_known {
                continue;
            }
            let text =
                unknown("sezione", "section", section, nearest(section, known.iter().copied()));
            self.errors.push(ConfigError::new(place.clone(), text));
        }
    }

    fn refuse_unknown_keys(&mut self) {
        for ((section, key), given) in &self.source.values {
            let in_section = || self.declared.iter().filter(|one| one.section == *section);
            let any_key = |one: &Declared| one.key.is_none() && one.line.is_some();
            let known = |one: &Declared| one.key.as_deref() == Some(key) || any_key(one);
            if in_section().next().is_none() || in_section().any(known) {
                continue;
            }
            let names = in_section().filter_map(|one| one.key.as_deref());
            let elsewhere = || {
                self.declared
                    .iter()
                    .find(|one| one.key.as_deref() == Some(key))
                    .map(|one| format!("[{}] {key}", one.section))
            };
            let proposal = elsewhere().or_else(|| nearest(key, names));
            let text = unknown("chiave", "key", key, proposal);
            self.errors.push(ConfigError::new(given.place.clone(), text));
        }
    }

    /// A variable that begins like those of a section must be one of them; others belong to
    /// somebody else.
    fn refuse_unknown_variables(&mut self) {
        let known: Vec<String> = self
            .declared
            .iter()
            .filter(|one| one.line.is_some())
            .map(|one| variable_name(&one.section, one.key.as_deref()))
            .collect();
        for name in self.source.variables.keys() {
            let ours = self
                .declared
                .iter()
                .any(|one| name.starts_with(&format!("{}_", variable_name(&one.section, None))));
            if !ours || known.contains(name) {
                continue;
            }
            let proposal = nearest(name, known.iter().map(String::as_str));
            let text = unknown("variabile", "variable", name, proposal);
            self.errors.push(ConfigError::new(Place::Variable(name.clone()), text));
        }
    }
}

/// One section while it is read.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    name: String,
}

impl Section<'_, '_> {
    /// A setting with a default.
    pub(super) fn key<T: Setting>(&mut self, key: &str, default: T, explanation: Text) -> T {
        self.declare(key, format!("{key} = {}", default.render()), false, explanation);
        self.value(key).unwrap_or(default)
    }

    /// A setting with a default, from `least` to `most`.
    pub(super) fn within<T: Setting + PartialOrd>(
        &mut self,
        key: &str,
        default: T,
        (least, most): (T, T),
        explanation: Text,
    ) -> T {
        self.declare(key, format!("{key} = {}", default.render()), false, explanation);
        self.bounded(key, default, (least, most))
    }

    /// A setting from `least` to `most` that is as somewhere else, `otherwise`, when it is absent.
    pub(super) fn optional_within<T: Setting + PartialOrd>(
        &mut self,
        key: &str,
        otherwise: T,
        (least, most): (T, T),
        explanation: Text,
    ) -> T {
        self.declare(key, format!("{key} = {}", otherwise.render()), true, explanation);
        self.bounded(key, otherwise, (least, most))
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        key: &str,
        default: T,
        (least, most): (T, T),
    ) -> T {
        let Some(value) = self.value::<T>(key) else { return default };
        if value < least || value > most {
            let text = Text::filled(
                format!("\"{key}\" deve stare tra {} e {}", least.render(), most.render()),
                format!("\"{key}\" must be from {} to {}", least.render(), most.render()),
            );
            self.reader.refuse(&format!("{}.{key}", self.name), text);
            return default;
        }
        value
    }

    /// A setting that may be absent; `example` shows what it looks like.
    pub(super) fn optional<T: Setting>(
        &mut self,
        key: &str,
        example: &T,
        explanation: Text,
    ) -> Option<T> {
        self.declare(key, format!("{key} = {}", example.render()), true, explanation);
        self.value(key)
    }

    /// A path with a default. Relative ones start at the folder of the configuration file.
    pub(super) fn path(&mut self, key: &str, default: &str, explanation: Text) -> PathBuf {
        let path = self.key(key, PathBuf::from(default), explanation);
        self.resolved(key, path)
    }

    /// A path that may be absent.
    pub(super) fn optional_path(
        &mut self,
        key: &str,
        example: &str,
        explanation: Text,
    ) -> Option<PathBuf> {
        let path = self.optional(key, &PathBuf::from(example), explanation)?;
        Some(self.resolved(key, path))
    }

    /// A list of paths, empty by default.
    pub(super) fn paths(&mut self, key: &str, explanation: Text) -> Vec<PathBuf> {
        let paths = self.key(key, Vec::<PathBuf>::new(), explanation);
        paths.into_iter().map(|path| self.resolved(key, path)).collect()
    }

    /// The section is a table from names to values. As a variable: `name=value,name=value`.
    pub(super) fn table<K: Setting + Ord, V: Setting>(
        &mut self,
        example: &str,
        explanation: Text,
    ) -> BTreeMap<K, V> {
        self.reader.declared.push(Declared {
            section: self.name.clone(),
            key: None,
            explanation,
            line: Some((example.to_owned(), true)),
        });
        let mut given: Vec<(String, Given)> = self
            .reader
            .source
            .values
            .iter()
            .filter(|((section, _), _)| *section == self.name)
            .map(|((_, key), given)| (key.clone(), given.clone()))
            .collect();
        let variable = variable_name(&self.name, None);
        if let Some(text) = self.reader.source.variables.get(&variable) {
            given = text
                .split(',')
                .filter(|entry| !entry.trim().is_empty())
                .map(|entry| {
                    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                    let raw = Raw::Variable(value.trim().to_owned());
                    let place = Place::Variable(variable.clone());
                    (name.trim().to_owned(), Given { raw, place })
                })
                .collect();
        }
        let mut table = BTreeMap::new();
        for (name, given) in given {
            let Some(key) = K::from_raw(&Raw::Text(name.clone())) else {
                self.reader.wrong::<K>(&name, &given);
                continue;
            };
            match V::from_raw(&given.raw) {
                Some(value) => drop(table.insert(key, value)),
                None => self.reader.wrong::<V>(&name, &given),
            }
        }
        table
    }

    /// Records that settings of this section do not fit together.
    pub(super) fn refuse(&mut self, key: &str, text: Text) {
        self.reader.refuse(&format!("{}.{key}", self.name), text);
    }

    fn declare(&mut self, key: &str, line: String, example_only: bool, explanation: Text) {
        self.reader.declared.push(Declared {
            section: self.name.clone(),
            key: Some(key.to_owned()),
            explanation,
            line: Some((line, example_only)),
        });
    }

    fn value<T: Setting>(&mut self, key: &str) -> Option<T> {
        let given = self.reader.given(&self.name, key)?;
        let value = T::from_raw(&given.raw);
        if value.is_none() {
            self.reader.wrong::<T>(key, &given);
        }
        value
    }

    /// A relative path of the file starts at the file's folder.
    pub(super) fn resolved(&self, key: &str, path: PathBuf) -> PathBuf {
        let from_file = matches!(
            self.reader.given(&self.name, key),
            Some(Given { place: Place::Line { .. }, .. })
        );
        if from_file { self.reader.folder.join(path) } else { path }
    }
}

fn variable_name(section: &str, key: Option<&str>) -> String {
    let path = key.map_or_else(|| section.to_owned(), |key| format!("{section}.{key}"));
    format!("CERALACCA_{}", path.to_ascii_uppercase().replace(['.', '-'], "_"))
}

fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate.to_owned())
}

fn unknown(italian: &str, english: &str, name: &str, proposal: Option<String>) -> Text {
    match proposal {
        Some(known) => Text::filled(
            format!("{italian} \"{name}\" sconosciuta: forse si intendeva \"{known}\""),
            format!("unknown {english} \"{name}\": did you mean \"{known}\"?"),
        ),
        None => Text::filled(
            format!(
                "{italian} \"{name}\" sconosciuta: `ceralacca config example` mostra quelle ammesse"
            ),
            format!(
                "unknown {english} \"{name}\": `ceralacca config example` shows those there are"
            ),
        ),
    }
}

/// Wraps an explanation at 96 columns, each line behind `# `.
fn comment(text: &mut String, explanation: &str) {
    let mut line = String::from("#");
    for word in explanation.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 96 {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}
