//! What the sealer of an ARC set says that it found: the payload of an ARC-Authentication-Results field
//! (RFC 8617 §4.1.1, RFC 8601 §2.2).
//!
//! * Only a result counts that stands where results stand: neither a comment nor a quoted reason nor a
//!   property is one, whatever it says. Of several DMARC results each must be `pass`.
//! * What cannot be read says nothing.
//!
//! Not here: whether the seal is valid, and whose it is ([`super::results`]).

/// How deep comments may nest.
const COMMENT_DEPTH_MAX: usize = 16;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    /// A word in lower case, or the inside of a quoted string.
    Word(String),
    Quoted(String),
    /// `;`, `=` or `/`.
    Special(u8),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }
}

/// Whether `value`, of the set number `instance`, says that the server `sealer`, or one below that
/// domain, saw the message pass DMARC.
///
/// ```text
/// arc-info = instance [CFWS] ";" authres-payload
/// authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS]
/// resinfo = [CFWS] ";" methodspec [ CFWS reasonspec ] [ CFWS 1*propspec ]
/// methodspec = [CFWS] method [CFWS] "=" [CFWS] result
/// method = Keyword [ [CFWS] "/" [CFWS] method-version ]
/// ```
pub(super) fn passed_dmarc(value: &[u8], instance: u32, sealer: &str) -> bool {
    let Some(tokens) = tokens(value) else { return false };
    let mut parts = tokens.split(|token| *token == Token::Special(b';'));
    let (Some([tag, Token::Special(b'='), number]), Some([server, ..])) =
        (parts.next(), parts.next())
    else {
        return false;
    };
    let (Token::Word(server) | Token::Quoted(server)) = server else { return false };
    if !tag.is("i") || !number.is(&instance.to_string()) || !is_within(server, sealer) {
        return false;
    }
    let mut results = parts.filter_map(dmarc_result).peekable();
    results.peek().is_some() && results.all(|result| result.is("pass"))
}

/// Whether `server` is `domain` or a name below it.
fn is_within(server: &str, domain: &str) -> bool {
    let (server, domain) = (server.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let prefix = server.strip_suffix(&domain);
    !domain.is_empty() && prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

/// The result of a resinfo about DMARC.
fn dmarc_result(part: &[Token]) -> Option<&Token> {
    match part {
        [method, Token::Special(b'='), result, ..] if method.is("dmarc") => Some(result),
        [method, Token::Special(b'/'), _, Token::Special(b'='), result, ..]
            if method.is("dmarc") =>
        {
            Some(result)
        }
        _ => None,
    }
}

/// The words of `value` without white space and comments; `None` when a comment or a quoted string has
/// no end.
fn tokens(value: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = value;
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b' ' | b'\t' | b'\r' | b'\n' => after,
            b'(' => behind_comment(after)?,
            b'"' => {
                let (text, after) = quoted(after)?;
                tokens.push(Token::Quoted(text));
                after
            }
            b';' | b'=' | b'/' => {
                tokens.push(Token::Special(*octet));
                after
            }
            _ => {
                let ends = |octet: &u8| b" \t\r\n(\";=/".contains(octet);
                let end = rest.iter().position(ends).unwrap_or(rest.len());
                let (word, after) = rest.split_at_checked(end)?;
                tokens.push(Token::Word(String::from_utf8_lossy(word).to_ascii_lowercase()));
                after
            }
        };
    }
    Some(tokens)
}

/// What follows the comment whose `(` has been read.
fn behind_comment(mut rest: &[u8]) -> Option<&[u8]> {
    let mut depth = 1;
    while depth > 0 {
        let (octet, after) = rest.split_first()?;
        rest = after;
        match octet {
            b'\\' => rest = rest.split_first()?.1,
            b'(' if depth == COMMENT_DEPTH_MAX => return None,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
    }
    Some(rest)
}

/// The inside of the quoted string whose first quote has been read, and what follows it.
fn quoted(mut rest: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    loop {
        let (octet, after) = rest.split_first()?;
        rest = after;
        match octet {
            b'"' => return Some((String::from_utf8_lossy(&text).into_owned(), rest)),
            b'\\' => {
                let (octet, after) = rest.split_first()?;
                text.push(*octet);
                rest = after;
            }
            _ => text.push(*octet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(value: &str) -> bool {
        passed_dmarc(value.as_bytes(), 2, "list.test")
    }

    #[test]
    fn a_result_counts_where_results_stand() {
        for value in [
            "i=2; list.test; dmarc=pass",
            " i=2; mx.List.TEST 1;\r\n\tspf=fail smtp.mailfrom=a@b.test;\r\n\tDMARC=Pass header.from=b.test",
            "i=2 (two); (us) \"list.test\"; dkim=none; dmarc (by (our) filter) / 1 = pass (p=reject)",
            "i=2; list.test; dmarc=pass reason=\"a ; dmarc=fail\"; dmarc=pass header.from=c.test",
        ] {
            assert!(passed(value), "{value}");
        }
        for value in [
            "i=2; list.test; dmarc=fail reason=\"dmarc=pass\"",
            "i=2; list.test; dmarc=fail reason=\"; dmarc=pass; \"",
            "i=2; list.test; dmarc=fail (dmarc=pass)",
            "i=2; list.test; dmarc=fail (; dmarc=pass;)",
            "i=2; list.test; dmarc=fail (\\); dmarc=pass)",
            "i=2; list.test; dmarc=fail; dmarc=pass",
            "i=2; list.test; dmarc=\"pass\"",
            "i=2; list.test; x-dmarc=pass",
            "i=2; list.test; dmarc=passed",
            "i=2; list.test; spf=pass smtp.helo=dmarc=pass",
            "i=2; list.test; spf=pass dmarc=pass",
            "i=2; dmarc=pass; spf=none",
            "i=2; dmarc=pass",
            "i=1; list.test; dmarc=pass",
            "i=\"2\"; list.test; dmarc=pass",
            "list.test; dmarc=pass",
            "i=2; evil.test; dmarc=pass",
            "i=2; evillist.test; dmarc=pass",
            "i=2; list.test; none",
            "i=2; list.test; dmarc=pass (",
            "i=2; list.test; dmarc=pass reason=\"",
            "",
        ] {
            assert!(!passed(value), "{value}");
        }
        assert!(!passed(&format!("i=2; list.test {}; dmarc=pass", "(".repeat(100_000))));
    }
}
