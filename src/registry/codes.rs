//! Codice fiscale and partita IVA, validated.
//!
//! A code is checked for form and check character, never used to derive who somebody is. Codes are
//! kept in upper case without spaces. The rules: DM 23 December 1976 (codice fiscale, with the
//! letters that replace digits when two people would have the same code), DPR 633/1972 art. 35
//! (partita IVA).

use std::{fmt, str::FromStr};

use crate::texts::{Language, Text};

/// The codice fiscale of a person (16 characters) or of a body (11 digits).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CodiceFiscale(String);

/// A partita IVA: 11 digits, without the prefix `IT`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PartitaIva(String);

/// Why a text is no such code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CodeError {
    /// Not the form of a codice fiscale.
    CodiceFiscaleForm,
    /// The last character of the codice fiscale does not fit the others.
    CodiceFiscaleCheck,
    /// Not 11 digits of a known office.
    PartitaIvaForm,
    /// The last digit of the partita IVA does not fit the others.
    PartitaIvaCheck,
}

impl CodeError {
    /// What is wrong and what to do.
    #[must_use]
    pub fn text(self) -> Text {
        match self {
            Self::CodiceFiscaleForm => Text::fixed(
                "il codice fiscale ha 16 caratteri come RSSMRA79B11C566R, oppure 11 cifre per una persona giuridica: ricopiarlo dalla tessera",
                "a codice fiscale has 16 characters such as RSSMRA79B11C566R, or 11 digits for a body: copy it from the card",
            ),
            Self::CodiceFiscaleCheck => Text::fixed(
                "il codice fiscale contiene un errore di battitura (il carattere di controllo non torna): ricopiarlo dalla tessera",
                "the codice fiscale is mistyped (its check character does not fit): copy it from the card",
            ),
            Self::PartitaIvaForm => Text::fixed(
                "la partita IVA ha 11 cifre, come 02046570426",
                "a partita IVA has 11 digits, such as 02046570426",
            ),
            Self::PartitaIvaCheck => Text::fixed(
                "la partita IVA contiene un errore di battitura (la cifra di controllo non torna)",
                "the partita IVA is mistyped (its check digit does not fit)",
            ),
        }
    }
}

impl fmt::Display for CodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text().get(Language::English))
    }
}

impl std::error::Error for CodeError {}

impl CodiceFiscale {
    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the 16-character code of a person.
    #[must_use]
    pub fn is_of_a_person(&self) -> bool {
        self.0.len() == 16
    }
}

impl PartitaIva {
    /// The 11 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CodiceFiscale {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let code = tidy(text);
        if code.len() == 11 && code.bytes().all(|octet| octet.is_ascii_digit()) {
            return if check_digit_fits(&code) {
                Ok(Self(code))
            } else {
                Err(CodeError::CodiceFiscaleCheck)
            };
        }
        if !has_the_form_of_a_person(code.as_bytes()) {
            return Err(CodeError::CodiceFiscaleForm);
        }
        if check_character(code.as_bytes()) != code.as_bytes().last().copied() {
            return Err(CodeError::CodiceFiscaleCheck);
        }
        Ok(Self(code))
    }
}

impl FromStr for PartitaIva {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let code = tidy(text);
        let code = code.strip_prefix("IT").unwrap_or(&code);
        if code.len() != 11 || !code.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(CodeError::PartitaIvaForm);
        }
        let office: u16 = code.get(7..10).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        if !matches!(office, 1..=100 | 120 | 121 | 888 | 999) {
            return Err(CodeError::PartitaIvaForm);
        }
        if check_digit_fits(code) {
            Ok(Self(code.to_owned()))
        } else {
            Err(CodeError::PartitaIvaCheck)
        }
    }
}

fn tidy(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_whitespace())
        .collect::<String>()
        .to_ascii_uppercase()
}

/// `LLLLLL DD M DD L DDD L`, where a digit may be one of the letters that stand for digits
/// (omocodia), the month is one of twelve letters, and the day is 1 to 31, or 41 to 71 for women.
fn has_the_form_of_a_person(code: &[u8]) -> bool {
    const FORM: &[u8; 16] = b"LLLLLLDDMDDLDDDL";
    if code.len() != FORM.len() {
        return false;
    }
    let fits = code.iter().zip(FORM).all(|(octet, form)| match form {
        b'D' => digit_of(*octet).is_some(),
        b'M' => b"ABCDEHLMPRST".contains(octet),
        _ => octet.is_ascii_uppercase(),
    });
    let day =
        match (code.get(9).copied().and_then(digit_of), code.get(10).copied().and_then(digit_of)) {
            (Some(tens), Some(units)) => tens * 10 + units,
            _ => 0,
        };
    fits && matches!(day, 1..=31 | 41..=71)
}

/// The digit that a character at a digit's place stands for.
fn digit_of(octet: u8) -> Option<u32> {
    match octet {
        b'0'..=b'9' => Some(u32::from(octet - b'0')),
        _ => (0u32..)
            .zip(b"LMNPQRSTUV")
            .find(|(_, letter)| **letter == octet)
            .map(|(digit, _)| digit),
    }
}

/// The sixteenth character, from the first fifteen.
fn check_character(code: &[u8]) -> Option<u8> {
    /// Values at odd places (the 1st, 3rd, …) of A to Z; a digit counts as the letter of its rank.
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let mut sum = 0;
    for (index, octet) in code.iter().take(15).enumerate() {
        let rank = match octet {
            b'0'..=b'9' => octet - b'0',
            b'A'..=b'Z' => octet - b'A',
            _ => return None,
        };
        let odd_place = index % 2 == 0;
        sum += if odd_place { *ODD.get(usize::from(rank))? } else { u32::from(rank) };
    }
    u8::try_from(sum % 26).ok().map(|rank| b'A' + rank)
}

/// The last of 11 digits makes the sum a multiple of ten, where digits at even places count
/// double, less nine when that is above nine.
fn check_digit_fits(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .enumerate()
        .map(|(index, octet)| {
            let digit = u32::from(octet.wrapping_sub(b'0'));
            match (index % 2 == 1, digit * 2) {
                (false, _) => digit,
                (true, double) if double > 9 => double - 9,
                (true, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_codes_are_accepted_and_mistyped_ones_are_not() {
        let fiscal = |text: &str| text.parse::<CodiceFiscale>().map(|code| code.0);
        assert_eq!(fiscal("rssmra79b11c566r"), Ok("RSSMRA79B11C566R".into()));
        assert_eq!(fiscal("RSS MRA 79B11 C566R"), Ok("RSSMRA79B11C566R".into()));
        assert_eq!(fiscal("RSSMRA79B11C566S"), Err(CodeError::CodiceFiscaleCheck));
        assert_eq!(fiscal("RSSMRA79B32C566R"), Err(CodeError::CodiceFiscaleForm));
        assert_eq!(fiscal("RSSMRA79F11C566R"), Err(CodeError::CodiceFiscaleForm));
        assert_eq!(fiscal("RSSMRA79B11C566"), Err(CodeError::CodiceFiscaleForm));
        assert_eq!(fiscal("RSSMRA79B11C566È"), Err(CodeError::CodiceFiscaleForm));
        assert_eq!(fiscal("02046570426"), Ok("02046570426".into()));
        assert_eq!(fiscal("02046570427"), Err(CodeError::CodiceFiscaleCheck));

        let vat = |text: &str| text.parse::<PartitaIva>().map(|code| code.0);
        assert_eq!(vat("IT 02046570426"), Ok("02046570426".into()));
        assert_eq!(vat("02046570427"), Err(CodeError::PartitaIvaCheck));
        assert_eq!(vat("0204657042"), Err(CodeError::PartitaIvaForm));
        assert_eq!(vat("00000000000"), Err(CodeError::PartitaIvaForm));
    }

    proptest! {
        /// Omocodia: any of the seven digits may be a letter, with the check character of the new
        /// code.
        #[test]
        fn every_omocodia_variant_is_accepted(which in 0u8..128) {
            let mut code = *b"RSSMRA79B11C566R";
            for (bit, place) in [6, 7, 9, 10, 12, 13, 14].into_iter().enumerate() {
                if which & (1 << bit) != 0 {
                    code[place] = b"LMNPQRSTUV"[usize::from(code[place] - b'0')];
                }
            }
            code[15] = check_character(&code).expect("letters and digits");
            let text = String::from_utf8(code.to_vec()).expect("ASCII");
            prop_assert!(text.parse::<CodiceFiscale>().is_ok(), "{}", text);
        }

        #[test]
        fn one_wrong_digit_never_passes(place in 0usize..11, other in 0u8..10) {
            let mut code = *b"02046570426";
            prop_assume!(code[place] != b'0' + other);
            code[place] = b'0' + other;
            let text = String::from_utf8(code.to_vec()).expect("ASCII");
            prop_assert!(text.parse::<PartitaIva>().is_err());
        }

        #[test]
        fn no_text_makes_the_check_panic(text in ".{0,20}") {
            let _ = text.parse::<CodiceFiscale>();
            let _ = text.parse::<PartitaIva>();
        }
    }
}
