//! Recognises base64 that can be encoded again exactly as it stands.
//!
//! A text qualifies from its start up to its first irregularity: groups of the alphabet of
//! RFC 4648 §4 in lines of one length with one line ending, the last line shorter or as long,
//! padded or not. Unused bits of the last group must be zero. Line ends behind the last
//! character, junk, a second text: from there on the octets are not covered, and the caller keeps
//! them raw.
//!
//! Memory: what stands since the last whole group, that is three characters and their line ends.

use base64::{Engine as _, alphabet, engine::GeneralPurpose, engine::general_purpose::NO_PAD};

use super::recipe::{Base64Form, LineEnding};

/// Longer lines are decoded character by character.
const FAST_LINE_MAX: usize = 1_024;
const STRICT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD);

/// The value of a character of the alphabet.
fn value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LineEnd {
    /// Inside a line.
    None,
    /// Behind a CR.
    Cr,
    /// Behind a line ending; nothing of the next line has been seen.
    Complete(LineEnding),
}

/// Reads one text.
#[derive(Debug)]
pub struct Base64Reader {
    line_length: Option<u32>,
    line_ending: LineEnding,
    padded: bool,
    column: u32,
    line_end: LineEnd,
    /// Values of the characters of the open group.
    group: [u8; 4],
    grouped: usize,
    paddings: usize,
    /// The octets since the last whole group.
    held: Vec<u8>,
    /// Those of `held` up to the last character of the open group.
    held_group: usize,
    finished: bool,
    plain_octets: u64,
}

impl Default for Base64Reader {
    fn default() -> Self {
        Self {
            line_length: None,
            line_ending: LineEnding::CrLf,
            padded: true,
            column: 0,
            line_end: LineEnd::None,
            group: [0; 4],
            grouped: 0,
            paddings: 0,
            held: Vec::new(),
            held_group: 0,
            finished: false,
            plain_octets: 0,
        }
    }
}

impl Base64Reader {
    /// Takes in octets and appends what they decode to. Returns how many of them were taken: fewer
    /// than given means that the text has ended; the caller then calls [`Base64Reader::finish`].
    pub fn push(&mut self, octets: &[u8], plain: &mut Vec<u8>) -> usize {
        let before = plain.len();
        let mut position = 0;
        while let Some(&octet) = octets.get(position) {
            if let Some(taken) = self.whole_line(&octets[position..], plain) {
                position += taken;
                continue;
            }
            if self.finished || !self.take(octet, plain) {
                break;
            }
            position += 1;
        }
        self.plain_octets += (plain.len() - before) as u64;
        position
    }

    /// Ends the text: its form, how many octets it decodes to, and the octets at its end that were
    /// taken but are not covered. A last incomplete group is appended to `plain`.
    pub fn finish(mut self, plain: &mut Vec<u8>) -> (Base64Form, u64, Vec<u8>) {
        let before = plain.len();
        if self.open_group_is_exact() {
            self.write_group(plain);
            self.padded = false;
            self.held.drain(..self.held_group);
        }
        let form = Base64Form {
            line_length: self.line_length.unwrap_or(0),
            line_ending: self.line_ending,
            padded: self.padded,
        };
        (form, self.plain_octets + (plain.len() - before) as u64, self.held)
    }

    /// A whole line with its line ending, where it is certain that it is regular.
    fn whole_line(&mut self, octets: &[u8], plain: &mut Vec<u8>) -> Option<usize> {
        let length = self.line_length?;
        let at_start =
            self.line_end == LineEnd::Complete(self.line_ending) && self.column == length;
        let length = length as usize;
        if !at_start
            || self.grouped > 0
            || self.finished
            || length > FAST_LINE_MAX
            || !length.is_multiple_of(4)
        {
            return None;
        }
        let ending = self.line_ending.octets();
        let (line, rest) = octets.split_at_checked(length)?;
        if !rest.starts_with(ending) {
            return None;
        }
        let start = plain.len();
        plain.resize(start + length / 4 * 3, 0);
        let decoded = STRICT.decode_slice(line, &mut plain[start..]);
        if decoded != Ok(length / 4 * 3) {
            plain.truncate(start);
            return None;
        }
        self.held.clear();
        self.held.extend_from_slice(ending);
        Some(length + ending.len())
    }

    /// Takes one octet; `false` when it is irregular.
    fn take(&mut self, octet: u8, plain: &mut Vec<u8>) -> bool {
        match octet {
            b'\r' if self.line_end == LineEnd::None => self.line_end = LineEnd::Cr,
            b'\n' => match self.line_end {
                LineEnd::None => self.line_end = LineEnd::Complete(LineEnding::Lf),
                LineEnd::Cr => self.line_end = LineEnd::Complete(LineEnding::CrLf),
                LineEnd::Complete(_) => return false,
            },
            b'=' => return self.grouped >= 2 && self.next_column() && self.padding(plain),
            _ => {
                let Some(value) = value(octet).filter(|_| self.paddings == 0) else { return false };
                return self.next_column() && self.character(octet, value, plain);
            }
        }
        self.held.push(octet);
        true
    }

    /// Moves on by one character of the text; `false` when no character may stand there.
    fn next_column(&mut self) -> bool {
        match self.line_end {
            LineEnd::Cr => return false,
            LineEnd::Complete(ending) => {
                match self.line_length {
                    None if self.column > 0 => {
                        self.line_length = Some(self.column);
                        self.line_ending = ending;
                    }
                    Some(length) if length == self.column && ending == self.line_ending => {}
                    _ => return false,
                }
                self.column = 0;
                self.line_end = LineEnd::None;
            }
            LineEnd::None => {}
        }
        if self.line_length == Some(self.column) || self.column == u32::MAX {
            return false;
        }
        self.column += 1;
        true
    }

    fn character(&mut self, octet: u8, value: u8, plain: &mut Vec<u8>) -> bool {
        self.group[self.grouped] = value;
        self.grouped += 1;
        self.held.push(octet);
        self.held_group = self.held.len();
        if self.grouped == 4 {
            self.write_group(plain);
            self.held.clear();
            self.held_group = 0;
        }
        true
    }

    fn padding(&mut self, plain: &mut Vec<u8>) -> bool {
        if !self.open_group_is_exact() {
            return false;
        }
        self.paddings += 1;
        self.held.push(b'=');
        if self.grouped + self.paddings == 4 {
            self.write_group(plain);
            self.held.clear();
            self.held_group = 0;
            self.finished = true;
        }
        true
    }

    /// Says whether the open group can end here: it has octets, and no bit is lost.
    fn open_group_is_exact(&self) -> bool {
        match self.grouped {
            2 => self.group[1].trailing_zeros() >= 4,
            3 => self.group[2].trailing_zeros() >= 2,
            _ => false,
        }
    }

    /// Appends the octets of the open group, of two to four characters, and empties it.
    fn write_group(&mut self, plain: &mut Vec<u8>) {
        let [first, second, third, fourth] = self.group;
        let octets = [first << 2 | second >> 4, second << 4 | third >> 2, third << 6 | fourth];
        plain.extend_from_slice(&octets[..self.grouped.saturating_sub(1).min(3)]);
        self.grouped = 0;
        self.group = [0; 4];
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Line length, ending in LF, padded, decoded text, octets not covered.
    fn read(text: &[u8], step: usize) -> (u32, bool, bool, String, Vec<u8>) {
        let mut reader = Base64Reader::default();
        let mut plain = Vec::new();
        let mut taken = 0;
        for part in text.chunks(step) {
            let now = reader.push(part, &mut plain);
            taken += now;
            if now < part.len() {
                break;
            }
        }
        let (form, plain_octets, mut rest) = reader.finish(&mut plain);
        assert_eq!(plain_octets, plain.len() as u64);
        rest.extend_from_slice(&text[taken..]);
        let covered = form.encoded_octets(plain_octets);
        assert_eq!(covered + rest.len() as u64, text.len() as u64);
        let Base64Form { line_length, line_ending, padded } = form;
        (
            line_length,
            line_ending == LineEnding::Lf,
            padded,
            String::from_utf8_lossy(&plain).into(),
            rest,
        )
    }

    #[test]
    fn texts_are_covered_up_to_the_first_irregularity() {
        type Case<'a> = (&'a str, u32, bool, bool, &'a str, &'a str);
        let cases: [Case<'_>; 20] = [
            ("", 0, false, true, "", ""),
            ("Zm9vYmFy", 0, false, true, "foobar", ""),
            ("Zm9v\r\nYmFy\r\n", 4, false, true, "foobar", "\r\n"),
            ("Zm9v\nYmE=\n", 4, true, true, "fooba", "\n"),
            ("Zm9vYg==", 0, false, true, "foob", ""),
            // Missing padding, half a padding, padding on a line of its own.
            ("Zm9vYg\n", 0, false, false, "foob", "\n"),
            ("Zm9vYg=\n", 0, false, false, "foob", "=\n"),
            ("Zm9vYg\r\n==", 6, false, true, "foob", ""),
            // Groups that cross lines.
            ("Zm9\nvYm\nFy", 3, true, true, "foobar", ""),
            // Bits that would be lost, a single character.
            ("Zm9vYh==", 0, false, true, "foo", "Yh=="),
            ("Zm9vY", 0, false, true, "foo", "Y"),
            // A short line in the middle, a long line, a blank line, another line ending.
            ("Zm9vYmFy\nZm9v\nZm9v", 8, true, true, "foobarfoo", "\nZm9v"),
            ("Zm9v\nZm9vYmFy", 4, true, true, "foofoo", "YmFy"),
            ("Zm9v\n\nZm9v", 0, false, true, "foo", "\n\nZm9v"),
            ("Zm9v\nZm9v\r\nZm9v", 4, true, true, "foofoo", "\r\nZm9v"),
            ("Zm9v\r\rZm9v", 0, false, true, "foo", "\r\rZm9v"),
            // Junk, white space, a second text.
            ("Zm9v!", 0, false, true, "foo", "!"),
            ("Zm9v \r\nZm9v", 0, false, true, "foo", " \r\nZm9v"),
            ("Zg==Zg==", 0, false, true, "f", "Zg=="),
            ("=Zg=", 0, false, true, "", "=Zg="),
        ];
        for (text, length, lf_only, padded, plain, rest) in cases {
            for step in [1, 2, 5, 100] {
                let expected =
                    (length, lf_only, padded, plain.to_owned(), rest.as_bytes().to_vec());
                assert_eq!(read(text.as_bytes(), step), expected, "{text:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn long_texts_are_read_by_lines_with_the_same_result() {
        let plain: String = ('a'..='z').cycle().take(10_000).collect();
        let text: Vec<u8> = STANDARD
            .encode(&plain)
            .into_bytes()
            .chunks(76)
            .flat_map(|line| [line, b"\r\n"].concat())
            .collect();
        for step in [1, 77, 1_000, 100_000] {
            let (length, _, _, decoded, rest) = read(&text, step);
            assert_eq!(
                (length, decoded.as_str(), rest.as_slice()),
                (76, plain.as_str(), &b"\r\n"[..])
            );
        }
    }
}
