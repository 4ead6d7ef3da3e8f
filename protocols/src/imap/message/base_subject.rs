//! What a subject says without marks of replies, forwards and lists (RFC 5256 §2.1).

/// Letters of a subject that are looked at: more are in no honest one.
const LETTERS_MAX: usize = 1_000;

/// A base subject, and whether a mark of a reply or forward was taken away.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct BaseSubject {
    pub(crate) text: String,
    pub(crate) is_reply: bool,
}

impl BaseSubject {
    /// Takes the base out of a decoded subject, in any case: of its first [`LETTERS_MAX`] letters, in
    /// time that grows no faster than they. The steps are numbered as in the RFC.
    pub(crate) fn of(subject: &str) -> Self {
        let end = subject.char_indices().nth(LETTERS_MAX).map_or(subject.len(), |(end, _)| end);
        let whole = one_space(&subject[..end]); // 1
        let mut rest = whole.as_str();
        let mut is_reply = false;
        loop {
            rest = rest.trim_end_matches(' '); // 2
            while let Some(before) = strip_suffix(rest, "(fwd)") {
                rest = before.trim_end_matches(' ');
                is_reply = true;
            }
            loop {
                if let Some(after) = rest.strip_prefix(' ') {
                    rest = after; // 3, a space
                    continue;
                }
                let (last, behind) = blobs(rest);
                if let Some(after) = leader(behind) {
                    rest = after; // 3
                    is_reply = true;
                    continue;
                }
                // No leader behind one of these blobs, so none behind those that follow it.
                let base = if behind.is_empty() { last } else { behind };
                if base.len() == rest.len() {
                    break; // 5
                }
                rest = base; // 4
            }
            match strip_prefix(rest, "[fwd:").and_then(|inside| inside.strip_suffix(']')) {
                Some(inside) => rest = inside, // 6
                None => return Self { text: rest.to_owned(), is_reply },
            }
            is_reply = true;
        }
    }
}

/// Runs of spaces and tabs as one space.
fn one_space(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            ' ' | '\t' | '\r' | '\n' if out.ends_with(' ') => {}
            ' ' | '\t' | '\r' | '\n' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

/// The last of the blobs that `text` begins with and what follows it, and what follows them all.
fn blobs(text: &str) -> (&str, &str) {
    let (mut last, mut rest) = (text, text);
    while let Some(after) = blob(rest) {
        (last, rest) = (rest, after);
    }
    (last, rest)
}

/// What follows `subj-refwd`.
fn leader(text: &str) -> Option<&str> {
    let rest = strip_prefix(text, "re").or_else(|| {
        let after = strip_prefix(text, "fw")?;
        Some(strip_prefix(after, "d").unwrap_or(after))
    })?;
    let rest = rest.trim_start_matches(' ');
    blob(rest).unwrap_or(rest).strip_prefix(':')
}

/// What follows `"[" *BLOBCHAR "]" *WSP`.
fn blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    inside[end..].strip_prefix(']').map(|after| after.trim_start_matches(' '))
}

fn strip_prefix<'a>(text: &'a str, ascii: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(ascii.len())?;
    start.eq_ignore_ascii_case(ascii).then_some(rest)
}

fn strip_suffix<'a>(text: &'a str, ascii: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(ascii.len())?)?;
    end.eq_ignore_ascii_case(ascii).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_are_taken_away() {
        for (subject, base, is_reply) in [
            ("offerta", "offerta", false),
            ("Re: offerta", "offerta", true),
            ("RE:  FW : Fwd:offerta (fwd) (FWD) ", "offerta", true),
            ("[lista] offerta", "offerta", false),
            ("[lista] Re: [altra] offerta", "offerta", true),
            ("Re[2]: offerta", "offerta", true),
            ("re [x] : offerta", "offerta", true),
            ("[lista]", "[lista]", false),
            ("Re: [lista]", "[lista]", true),
            ("[a] [b]", "[b]", false),
            ("[Fwd: Re: offerta]", "offerta", true),
            ("[fwd: [fwd: x] (fwd)]", "x", true),
            ("[fwd: a] b", "b", false),
            ("R: offerta", "R: offerta", false),
            ("reale: offerta", "reale: offerta", false),
            ("a\t \r\n  b", "a b", false),
            ("Re: (fwd)", "", true),
            ("", "", false),
            ("[a[b] c", "[a[b] c", false),
            ("Re: perche\u{301}", "perche\u{301}", true),
            ("è(fwd)", "è", true),
        ] {
            let expected = BaseSubject { text: base.to_owned(), is_reply };
            assert_eq!(BaseSubject::of(subject), expected, "{subject}");
        }
    }

    #[test]
    fn the_longest_subject_is_looked_at_once() {
        let marks = "[a]".repeat(350_000);
        assert_eq!(BaseSubject::of(&marks).text.chars().next(), Some('['));
        let long = "è".repeat(LETTERS_MAX + 1);
        assert_eq!(BaseSubject::of(&long).text, "è".repeat(LETTERS_MAX));
    }

    proptest! {
        #[test]
        fn a_base_has_no_mark_left(subject in "(Re|FW|fwd| |:|\\[|\\]|\\[fwd:|\\(fwd\\)|x|\t){0,12}") {
            let base = BaseSubject::of(&subject);
            let again = BaseSubject::of(&base.text);
            prop_assert_eq!(again, BaseSubject { text: base.text, is_reply: false });
        }
    }
}
