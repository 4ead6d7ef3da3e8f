//! What is wrong with a configuration, where, and what to do about it.

use std::{fmt, path::PathBuf};

use crate::texts::{Language, Text};

/// Where a setting was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// The file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// Nowhere: the setting is absent, or two settings do not fit together.
    Setting(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(formatter, "{}:{line}", file.display()),
            Self::File(file) => write!(formatter, "{}", file.display()),
            Self::Variable(name) | Self::Setting(name) => formatter.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    place: Place,
    text: Text,
}

impl ConfigError {
    pub(super) fn new(place: Place, text: Text) -> Self {
        Self { place, text }
    }

    /// Where.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong, and the remedy.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The whole line: place, then text in `language`.
    #[must_use]
    pub fn line(&self, language: Language) -> String {
        format!("{}: {}", self.place, self.text.get(language))
    }
}

/// Everything that is wrong with a configuration: all of it at once, so that one round of
/// corrections is enough. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors in the order of the sections.
    #[must_use]
    pub fn list(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(&error.line(Language::English))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
