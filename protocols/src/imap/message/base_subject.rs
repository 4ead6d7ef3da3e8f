//! What a subject says without marks of replies, forwards and lists (RFC 5256 §2.1).

/// A base subject, and whether a mark of a reply or forward was taken away.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct BaseSubject {
    pub(crate) text: String,
    pub(crate) is_reply: bool,
}

impl BaseSubject {
    /// Takes the base out of a decoded subject, in any case. The steps are numbered as in the RFC.
    pub(crate) fn of(subject: &str) -> Self {
        let whole = one_space(subject); // 1
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
                } else if let Some(after) = leader(rest) {
                    rest = after; // 3
                    is_reply = true;
                } else if let Some(after) = blob(rest).filter(|after| !after.is_empty()) {
                    rest = after; // 4
                } else {
                    break; // 5
                }
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

/// What follows `*subj-blob subj-refwd`.
fn leader(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(after) = blob(rest) {
        rest = after;
    }
    let rest = strip_prefix(rest, "re").or_else(|| {
        let after = strip_prefix(rest, "fw")?;
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

    proptest! {
        #[test]
        fn a_base_has_no_mark_left(subject in "(Re|FW|fwd| |:|\\[|\\]|\\[fwd:|\\(fwd\\)|x|\t){0,12}") {
            let base = BaseSubject::of(&subject);
            let again = BaseSubject::of(&base.text);
            prop_assert_eq!(again, BaseSubject { text: base.text, is_reply: false });
        }
    }
}
