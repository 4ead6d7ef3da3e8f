//! The one catalogue of what people read, Italian first and English second.
//!
//! A [`Text`] always carries both languages, so that no sentence can exist in one only; who shows
//! it picks the [`Language`]. Functions return texts instead of looking them up by name: a missing
//! or misspelt one does not compile. Rooms whose sentences need their own values make their
//! texts beside these values ([`crate::config::ConfigError::text`]).
//!
//! Not here: log lines (English, `tracing`), texts of receipts and notices (`pec`).

pub mod below;
pub mod export;
pub mod faults;
pub mod snapshots;
pub mod store;

use std::borrow::Cow;

/// A language that people are spoken to in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Language {
    /// Italian, unless somebody asks otherwise.
    #[default]
    Italian,
    /// English.
    English,
}

impl Language {
    /// Picks the language from `CERALACCA_LANG`, `LC_ALL`, `LC_MESSAGES` and `LANG`, the first one
    /// set: English where the value begins with `en`, Italian otherwise.
    #[must_use]
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let value = ["CERALACCA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| variable(name).filter(|value| !value.is_empty()));
        match value {
            Some(value) if value.to_ascii_lowercase().starts_with("en") => Self::English,
            _ => Self::Italian,
        }
    }

    /// Picks the language from this process's environment.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_environment(|name| std::env::var(name).ok())
    }
}

/// One sentence in both languages.
#[derive(Clone, Debug, serde::Deserialize, Eq, PartialEq, serde::Serialize)]
pub struct Text {
    italian: Cow<'static, str>,
    english: Cow<'static, str>,
}

impl Text {
    /// A sentence known when the program is built.
    #[must_use]
    pub const fn fixed(italian: &'static str, english: &'static str) -> Self {
        Self { italian: Cow::Borrowed(italian), english: Cow::Borrowed(english) }
    }

    /// A sentence with values in it.
    #[must_use]
    pub fn filled(italian: String, english: String) -> Self {
        Self { italian: Cow::Owned(italian), english: Cow::Owned(english) }
    }

    /// The sentence in `language`.
    #[must_use]
    pub fn get(&self, language: Language) -> &str {
        match language {
            Language::Italian => &self.italian,
            Language::English => &self.english,
        }
    }

    /// Both, Italian first, on one line: for a peer whose language nobody knows.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{} / {}", self.italian, self.english)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn italian_is_spoken_unless_the_environment_says_english() {
        let with = |name: &'static str, value: &'static str| {
            Language::from_environment(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(with("LANG", "C.UTF-8"), Language::Italian);
        assert_eq!(with("LANG", "it_IT.UTF-8"), Language::Italian);
        assert_eq!(with("LANG", "en_GB.UTF-8"), Language::English);
        assert_eq!(with("LC_ALL", "en"), Language::English);
        assert_eq!(with("CERALACCA_LANG", "EN"), Language::English);
        assert_eq!(with("UNRELATED", "en"), Language::Italian);
    }

    #[test]
    fn a_text_for_an_unknown_peer_has_both_languages_italian_first() {
        assert_eq!(Text::fixed("Sì", "Yes").both(), "Sì / Yes");
    }
}
