//! Lists of addresses in header fields (RFC 5322 §3.4).
//!
//! Takes mailboxes with or without display name, groups, quoted strings, nested comments, folds
//! and old source routes; every addr-spec must be an [`Address`]. Strict, because the formal
//! checks rest on it (RFC 6109 §3.1.1), and safe on hostile input: one pass, comments nested to a
//! fixed depth, a bounded number of addresses.
//!
//! Not here: display names, which nothing here needs decoded.

use super::address::{Address, AddressFault, is_atom_octet, is_dot_string, quoted};

/// Addresses one field may hold.
pub const HEADER_ADDRESSES_MAX: usize = 10_000;
/// How deep comments may nest.
const COMMENT_DEPTH_MAX: usize = 16;

/// Why a value is not a list of addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressListFault {
    /// The punctuation is wrong: a quote, bracket, comment or group that does not end, or text
    /// between addresses.
    #[error("the list of addresses is not well formed")]
    Syntax,
    /// One of the addresses is not valid.
    #[error("`{text}` is not a valid address: {fault}")]
    Address {
        /// What was written.
        text: String,
        /// What is wrong with it.
        fault: AddressFault,
    },
    /// More than [`HEADER_ADDRESSES_MAX`] addresses.
    #[error("a field holds more than {HEADER_ADDRESSES_MAX} addresses")]
    TooMany,
}

/// Reads the unfolded `value` of a From, To, Cc, Bcc or Reply-To field. An empty value, and a
/// group without members, hold no addresses.
pub fn parse_addresses(value: &[u8]) -> Result<Vec<Address>, AddressListFault> {
    let tokens = tokens(value)?;
    let mut addresses = Vec::new();
    let mut in_group = false;
    let mut entry: &[Token] = &tokens;
    loop {
        let end =
            entry.iter().position(|token| matches!(token, Token::Special(b',' | b';' | b':')));
        let (words, separator) = match end {
            Some(end) => (entry.get(..end).unwrap_or_default(), entry.get(end)),
            None => (entry, None),
        };
        match separator {
            Some(Token::Special(b':')) if !in_group && !words.is_empty() => in_group = true,
            Some(Token::Special(b':')) => return Err(AddressListFault::Syntax),
            _ => {
                if !words.is_empty() {
                    addresses.push(mailbox(words)?);
                }
                if matches!(separator, Some(Token::Special(b';'))) {
                    in_group = in_group.then_some(false).ok_or(AddressListFault::Syntax)?;
                }
            }
        }
        if addresses.len() > HEADER_ADDRESSES_MAX {
            return Err(AddressListFault::TooMany);
        }
        let Some(end) = end else { break };
        entry = entry.get(end + 1..).unwrap_or_default();
    }
    if in_group { Err(AddressListFault::Syntax) } else { Ok(addresses) }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    /// A run of atom octets, dots and octets above 127.
    Atom(Vec<u8>),
    /// The content of a quoted string, quotes undone.
    Quoted(Vec<u8>),
    /// The content of `<…>`.
    Angle(Vec<u8>),
    /// A domain literal with its brackets.
    Literal(Vec<u8>),
    /// One of `@ , : ;`.
    Special(u8),
}

fn tokens(value: &[u8]) -> Result<Vec<Token>, AddressListFault> {
    let mut tokens = Vec::new();
    let mut rest = value;
    while let Some((&octet, after)) = rest.split_first() {
        match octet {
            b' ' | b'\t' | b'\r' | b'\n' => rest = after,
            b'(' => rest = skip_comment(after)?,
            b'"' => {
                let (content, behind) = quoted_content(after)?;
                tokens.push(Token::Quoted(content));
                rest = behind;
            }
            b'<' => {
                let (content, behind) = angle_content(after)?;
                tokens.push(Token::Angle(content));
                rest = behind;
            }
            b'[' => {
                let end = rest.iter().position(|octet| *octet == b']');
                let end = end.ok_or(AddressListFault::Syntax)?;
                let (literal, behind) = rest.split_at(end + 1);
                tokens.push(Token::Literal(literal.to_vec()));
                rest = behind;
            }
            b'@' | b',' | b':' | b';' => {
                tokens.push(Token::Special(octet));
                rest = after;
            }
            _ if is_atom_octet(octet) || octet == b'.' || octet >= 0x80 => {
                let end = rest
                    .iter()
                    .position(|o| !(is_atom_octet(*o) || *o == b'.' || *o >= 0x80))
                    .unwrap_or(rest.len());
                let (atom, behind) = rest.split_at(end);
                tokens.push(Token::Atom(atom.to_vec()));
                rest = behind;
            }
            _ => return Err(AddressListFault::Syntax),
        }
    }
    Ok(tokens)
}

/// Returns what follows the comment whose opening parenthesis was taken.
fn skip_comment(mut rest: &[u8]) -> Result<&[u8], AddressListFault> {
    let mut depth = 1;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'\\' => rest = after.get(1..).ok_or(AddressListFault::Syntax)?,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(rest);
        }
        if depth > COMMENT_DEPTH_MAX {
            break;
        }
    }
    Err(AddressListFault::Syntax)
}

/// The content of the quoted string whose opening quote was taken, and what follows it.
fn quoted_content(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), AddressListFault> {
    let mut content = Vec::new();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'"' => return Ok((content, rest)),
            b'\\' => {
                let (&next, after) = after.split_first().ok_or(AddressListFault::Syntax)?;
                content.push(next);
                rest = after;
            }
            b'\r' | b'\n' => {}
            _ => content.push(octet),
        }
    }
    Err(AddressListFault::Syntax)
}

/// The octets up to the `>` that closes, which may stand inside quotes before it closes.
fn angle_content(rest: &[u8]) -> Result<(Vec<u8>, &[u8]), AddressListFault> {
    let mut in_quotes = false;
    let mut escaped = false;
    for (index, octet) in rest.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if in_quotes => escaped = true,
            b'"' => in_quotes = !in_quotes,
            b'>' if !in_quotes => {
                let (content, behind) = rest.split_at(index);
                return Ok((content.to_vec(), behind.get(1..).unwrap_or_default()));
            }
            b'<' if !in_quotes => break,
            _ => {}
        }
    }
    Err(AddressListFault::Syntax)
}

/// One mailbox: `[display name] <addr-spec>` or a bare addr-spec.
fn mailbox(words: &[Token]) -> Result<Address, AddressListFault> {
    let (last, name) = words.split_last().ok_or(AddressListFault::Syntax)?;
    let Token::Angle(content) = last else { return addr_spec(words) };
    if name.iter().any(|token| !matches!(token, Token::Atom(_) | Token::Quoted(_))) {
        return Err(AddressListFault::Syntax);
    }
    let inside = tokens(content)?;
    addr_spec(without_route(&inside))
}

/// Drops `@one,@two:` before an addr-spec (RFC 5322 §4.4).
fn without_route(tokens: &[Token]) -> &[Token] {
    let colon = tokens.iter().position(|token| *token == Token::Special(b':'));
    match (tokens.first(), colon) {
        (Some(Token::Special(b'@')), Some(colon)) => tokens.get(colon + 1..).unwrap_or_default(),
        _ => tokens,
    }
}

fn addr_spec(words: &[Token]) -> Result<Address, AddressListFault> {
    let at = words.iter().rposition(|token| *token == Token::Special(b'@'));
    let (local_part, domain) = match at {
        Some(at) => words.split_at(at),
        None => (words, &[][..]),
    };
    let mut text = match local_part {
        [Token::Quoted(content)] => {
            let content = String::from_utf8_lossy(content);
            if is_dot_string(&content) { content.into_owned() } else { quoted(&content) }
        }
        other => joined(other)?,
    };
    if let Some((_, domain)) = domain.split_first() {
        text.push('@');
        text.push_str(&joined(domain)?);
    }
    Address::parse(&text).map_err(|fault| AddressListFault::Address { text, fault })
}

/// Atoms and literals without the white space that may stand around their dots.
fn joined(words: &[Token]) -> Result<String, AddressListFault> {
    let mut text = String::new();
    for word in words {
        let (Token::Atom(octets) | Token::Literal(octets)) = word else {
            return Err(AddressListFault::Syntax);
        };
        let piece = String::from_utf8_lossy(octets);
        if !text.is_empty() && !text.ends_with('.') && !piece.starts_with('.') {
            return Err(AddressListFault::Syntax);
        }
        text.push_str(&piece);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> Result<Vec<String>, AddressListFault> {
        Ok(parse_addresses(value.as_bytes())?.iter().map(ToString::to_string).collect())
    }

    /// RFC 5322 §A.1.2, §A.1.3, §A.5, §A.6.1 and names seen in Italian mail.
    #[test]
    fn lists_of_the_standard_are_read() {
        for (value, addresses) in [
            ("John Doe <jdoe@machine.example>", &["jdoe@machine.example"][..]),
            (
                "\"Joe Q. Public\" <john.q.public@x.example>, Mary Smith <mary@x.test>, who@y.test",
                &["john.q.public@x.example", "mary@x.test", "who@y.test"],
            ),
            (
                "A Group:Ed Jones <joe@a.test>,joe@where.test,John <jdoe@one.test>;",
                &["joe@a.test", "joe@where.test", "jdoe@one.test"],
            ),
            ("Undisclosed recipients:;", &[]),
            (
                "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                &["pete@silly.test"],
            ),
            (
                "Mary Smith <@node.test,@b.test:mary@example.test>, , jdoe@test  . example",
                &["mary@example.test", "jdoe@test.example"],
            ),
            ("\"Bianchi, Anna <a@b>\" <anna@alfa.example>", &["anna@alfa.example"]),
            ("=?utf-8?Q?Citt=C3=A0?= <citta@alfa.example>", &["citta@alfa.example"]),
            ("\"anna bianchi\"@alfa.example", &["\"anna bianchi\"@alfa.example"]),
            ("<\"a>b\"@alfa.example>", &["\"a>b\"@alfa.example"]),
            ("x@[192.0.2.1]", &["x@[192.0.2.1]"]),
            ("", &[]),
        ] {
            assert_eq!(
                parsed(value).as_deref(),
                Ok(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
                "{value}"
            );
        }
    }

    #[test]
    fn broken_lists_are_refused() {
        for value in [
            "anna",
            "Anna Bianchi",
            "anna@",
            "<>",
            "Anna <anna@alfa.example",
            "\"Anna <anna@alfa.example>",
            "(Anna anna@alfa.example",
            "a@b.test c@d.test",
            "<a@b.test> c",
            "Group: a@b.test",
            "a@b.test;",
            "A: B: c@d.test;;",
            "a@b@c.test",
            "anna@caffè.test",
            "a\0@b.test",
        ] {
            assert!(parsed(value).is_err(), "{value}: {:?}", parsed(value));
        }
        assert!(parsed(&"(".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn hostile_values_never_fail_hard(value in "[a<>\"@,;:()\\\\. \\[\\]é\\x00]{0,60}") {
            let _ = parsed(&value);
        }
    }
}
