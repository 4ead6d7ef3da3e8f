//! Where settings come from: one TOML file, overlaid by the environment.
//!
//! [`Source`] is the flat list of what was given, each with its place. It does not know which
//! settings exist; [`super::reader`] does.

use std::{collections::BTreeMap, fs, path::Path};

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use crate::texts::Text;

/// The largest file read. A real one has some 10 KB; a larger one is a mistaken path.
const FILE_OCTETS_MAX: u64 = 1 << 20;

/// A value before it is known what it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Raw {
    /// A quoted text of the file.
    Text(String),
    /// A whole number of the file.
    Integer(i64),
    /// `true` or `false` in the file.
    Boolean(bool),
    /// An array of the file.
    List(Vec<Raw>),
    /// The text of an environment variable, whatever it should be.
    Variable(String),
    /// Something no setting is: a fraction, a date.
    Other(&'static str),
}

/// A value and where it was given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// Everything that was given, by section and key. Sections within sections have dotted names.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) sections: BTreeMap<String, Place>,
    pub(super) values: BTreeMap<(String, String), Given>,
    pub(super) variables: BTreeMap<String, String>,
}

impl Source {
    /// Reads `file`, when there is one, and keeps the variables that begin with `CERALACCA_`.
    pub(super) fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut source = Self::default();
        source
            .variables
            .extend(variables.into_iter().filter(|(name, _)| name.starts_with("CERALACCA_")));
        if let Some(file) = file {
            let text = read_file(file)?;
            source.take_document(file, &text)?;
        }
        Ok(source)
    }

    fn take_document(&mut self, file: &Path, text: &str) -> Result<(), ConfigError> {
        let at =
            |offset: usize| Place::Line { file: file.to_path_buf(), line: line_of(text, offset) };
        let document = DeTable::parse(text).map_err(|error| {
            let place = error.span().map_or(Place::File(file.to_path_buf()), |span| at(span.start));
            ConfigError::new(
                place,
                Text::filled(
                    format!("non è TOML valido ({}): correggere la riga", error.message()),
                    format!("not valid TOML ({}): correct the line", error.message()),
                ),
            )
        })?;
        for (key, value) in document.get_ref() {
            let section = key.get_ref().to_string();
            let place = at(key.span().start);
            if let DeValue::Table(table) = value.get_ref() {
                self.take_table(&section, place, table, &at);
            } else {
                return Err(ConfigError::new(
                    place,
                    Text::filled(
                        format!(
                            "\"{section}\" sta fuori da ogni sezione: spostarla sotto la sua [sezione]"
                        ),
                        format!(
                            "\"{section}\" stands outside every section: move it below its [section]"
                        ),
                    ),
                ));
            }
        }
        Ok(())
    }

    fn take_table(
        &mut self,
        section: &str,
        place: Place,
        table: &DeTable<'_>,
        at: &dyn Fn(usize) -> Place,
    ) {
        self.sections.insert(section.to_owned(), place);
        for (key, value) in table {
            let place = at(key.span().start);
            if let DeValue::Table(inner) = value.get_ref() {
                self.take_table(&format!("{section}.{}", key.get_ref()), place, inner, at);
            } else {
                let given = Given { raw: raw(value.get_ref()), place };
                self.values.insert((section.to_owned(), key.get_ref().to_string()), given);
            }
        }
    }
}

fn read_file(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| {
        ConfigError::new(
            Place::File(file.to_path_buf()),
            Text::filled(
                format!(
                    "il file non si può leggere ({reason}): controllare percorso e permessi, oppure crearlo con `ceralacca config example`"
                ),
                format!(
                    "the file cannot be read ({reason}): check path and permissions, or make one with `ceralacca config example`"
                ),
            ),
        )
    };
    let size = fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_OCTETS_MAX {
        return Err(unreadable(format!("{size} > {FILE_OCTETS_MAX} octets")));
    }
    fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|octet| *octet == b'\n').count()
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("integer"), Raw::Integer),
        DeValue::Boolean(truth) => Raw::Boolean(*truth),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        other => Raw::Other(other.type_str()),
    }
}
