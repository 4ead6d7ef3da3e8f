//! Which passwords are taken, and how one is made.
//!
//! Length counts, not the mixture of characters; what everybody tries first is refused. A
//! password is compared in its prepared form (SASLprep, RFC 4013), so that the same characters
//! typed on another keyboard are the same password.

use std::fmt;

use trust::random::RandomSource;

use super::address::AccountAddress;
use crate::texts::{Language, Text};

/// A longer one is a mistake, and hashing it costs.
pub const PASSWORD_OCTETS_MAX: usize = 1024;

/// Parts that everybody tries first, in lower case.
const COMMON: [&str; 16] = [
    "password",
    "passw0rd",
    "12345678",
    "qwertyui",
    "qwerty123",
    "abcdefgh",
    "11111111",
    "iloveyou",
    "letmein",
    "benvenut",
    "cambiami",
    "ceralacca",
    "segreta1",
    "italia20",
    "postacert",
    "00000000",
];

/// Why a password is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PasswordError {
    /// Fewer characters than asked for.
    TooShort {
        /// What is asked for.
        characters_min: usize,
    },
    /// More than [`PASSWORD_OCTETS_MAX`].
    TooLong,
    /// A control or unassigned character (RFC 4013 §2.3).
    Character,
    /// It contains the name of the account, or what everybody tries first, or too few different
    /// characters.
    Guessable,
}

impl PasswordError {
    /// What is wrong and what to do.
    #[must_use]
    pub fn text(self) -> Text {
        match self {
            Self::TooShort { characters_min } => Text::filled(
                format!(
                    "la password deve avere almeno {characters_min} caratteri: quattro parole a caso vanno bene"
                ),
                format!(
                    "the password needs {characters_min} characters at least: four random words are fine"
                ),
            ),
            Self::TooLong => Text::filled(
                format!("la password supera {PASSWORD_OCTETS_MAX} ottetti: accorciarla"),
                format!("the password exceeds {PASSWORD_OCTETS_MAX} octets: shorten it"),
            ),
            Self::Character => Text::fixed(
                "la password contiene un carattere di controllo o non assegnato: usare lettere, cifre, spazi e segni",
                "the password has a control or unassigned character: use letters, digits, spaces and signs",
            ),
            Self::Guessable => Text::fixed(
                "la password si indovina facilmente (contiene il nome della casella, una parola comune o pochi caratteri diversi): sceglierne un'altra, o usare --generate",
                "the password is easily guessed (it has the account's name, a common word or few different characters): choose another, or use --generate",
            ),
        }
    }
}

impl fmt::Display for PasswordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text().get(Language::English))
    }
}

impl std::error::Error for PasswordError {}

/// A password in the form it is compared in. Its `Debug` shows nothing.
#[derive(Clone, Eq, PartialEq)]
pub struct PreparedPassword(String);

impl fmt::Debug for PreparedPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PreparedPassword(…)")
    }
}

impl PreparedPassword {
    /// Prepares what somebody typed to log in.
    pub fn new(password: &str) -> Result<Self, PasswordError> {
        if password.len() > PASSWORD_OCTETS_MAX {
            return Err(PasswordError::TooLong);
        }
        let prepared = stringprep::saslprep(password).map_err(|_| PasswordError::Character)?;
        Ok(Self(prepared.into_owned()))
    }

    /// Prepares what somebody wants as the password of `address`, and refuses what is weak.
    pub fn chosen(
        password: &str,
        address: &AccountAddress,
        characters_min: usize,
    ) -> Result<Self, PasswordError> {
        let prepared = Self::new(password)?;
        if prepared.0.chars().count() < characters_min {
            return Err(PasswordError::TooShort { characters_min });
        }
        let lower = prepared.0.to_lowercase();
        let own_name = address.local_part().len() >= 4 && lower.contains(address.local_part());
        let mut different: Vec<char> = lower.chars().collect();
        different.sort_unstable();
        different.dedup();
        if own_name || different.len() < 5 || COMMON.iter().any(|common| lower.contains(common)) {
            return Err(PasswordError::Guessable);
        }
        Ok(prepared)
    }

    /// The octets that are hashed.
    #[must_use]
    pub fn as_octets(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Makes a password of 24 characters in groups of four, some 110 bits, without characters that
/// look alike.
#[must_use]
pub fn generate(random: &dyn RandomSource) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789A";
    let mut octets = [0; 24];
    random.fill(&mut octets);
    let mut password = String::with_capacity(29);
    for (index, octet) in octets.iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            password.push('-');
        }
        // 32 divides 256: every character is equally likely.
        password.push(char::from(ALPHABET[usize::from(octet % 32)]));
    }
    password
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;

    fn choose(password: &str) -> Result<PreparedPassword, PasswordError> {
        let address = "anna.rossi@pec.example".parse().expect("an address");
        PreparedPassword::chosen(password, &address, 12)
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        assert_eq!(choose("corto"), Err(PasswordError::TooShort { characters_min: 12 }));
        assert_eq!(choose("Password2026!"), Err(PasswordError::Guessable));
        assert_eq!(choose("xx-Anna.Rossi-xx"), Err(PasswordError::Guessable));
        assert_eq!(choose("abababababab"), Err(PasswordError::Guessable));
        assert_eq!(choose("tavolo\u{7}lampada fiume"), Err(PasswordError::Character));
        assert_eq!(choose(&"aàbc1".repeat(300)), Err(PasswordError::TooLong));
        assert!(choose("tavolo lampada fiume").is_ok());
        assert!(choose("perché così è più").is_ok());
    }

    /// RFC 4013 §3: the soft hyphen vanishes, the no-break space is a space, NFKC unites forms.
    #[test]
    fn the_same_characters_typed_otherwise_are_the_same_password() {
        let prepared = |text| PreparedPassword::new(text).map(|prepared| prepared.0);
        assert_eq!(prepared("I\u{ad}X"), Ok("IX".into()));
        assert_eq!(prepared("\u{aa}"), Ok("a".into()));
        assert_eq!(prepared("\u{2168}"), Ok("IX".into()));
        assert_eq!(prepared("perche\u{300}"), prepared("perch\u{e8}"));
        assert_eq!(prepared("\u{7}"), Err(PasswordError::Character));
    }

    #[test]
    fn a_generated_password_is_taken_and_never_repeats() {
        let random = SeededRandom::new(7);
        let first = generate(&random);
        assert_eq!(first.len(), 29);
        assert!(choose(&first).is_ok(), "{first}");
        assert_ne!(first, generate(&random));
    }

    #[test]
    fn a_password_is_not_printed() {
        let prepared = PreparedPassword::new("tavolo").expect("fine");
        assert!(!format!("{prepared:?}").contains("tavolo"));
    }
}
