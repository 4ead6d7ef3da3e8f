//! Address lists (RFC 5322 §3.4, with the obsolete forms of §4.4).
//!
//! ```text
//! address-list = (address / empty) *("," (address / empty))
//! address      = addr-spec / [phrase] "<" [route ":"] addr-spec ">" / phrase ":" list ";"
//! ```
//!
//! Nothing is refused: what does not parse is kept as a local part with an empty host, so that a
//! client shows it. A comment stands in for a missing display name (`anna@example.test (Anna)`).

use crate::summary::Address;

/// Words, dots and comments of one address that are read; what stands behind is passed over.
const ELEMENT_TOKENS_MAX: usize = 1_000;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    /// An atom or a domain literal.
    Word,
    Quoted,
    Comment,
    Special(u8),
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: Vec<u8>,
    /// White space or a comment stood before it.
    spaced: bool,
}

/// Reads at most `addresses_max` addresses, group marks counted.
#[must_use]
pub fn parse(value: &[u8], addresses_max: usize) -> Vec<Address> {
    let mut reader =
        Reader { tokens: Tokens { octets: value, position: 0 }, addresses: Vec::new() };
    let mut element = Vec::new();
    let mut in_group = false;
    while reader.addresses.len() < addresses_max {
        let Some(token) = reader.tokens.next() else { break };
        match token.kind {
            Kind::Special(b',') => reader.bare(&mut element),
            Kind::Special(b':') if !in_group && !element.is_empty() => {
                in_group = true;
                let name = phrase(&element).unwrap_or_default();
                element.clear();
                reader.addresses.push(Address { mailbox: Some(name), ..Address::default() });
            }
            Kind::Special(b';') => {
                reader.bare(&mut element);
                if std::mem::take(&mut in_group) {
                    reader.addresses.push(Address::default());
                }
            }
            Kind::Special(b'<') => reader.angle(&mut element),
            _ if element.len() < ELEMENT_TOKENS_MAX => element.push(token),
            _ => {}
        }
    }
    reader.bare(&mut element);
    if in_group {
        reader.addresses.push(Address::default());
    }
    reader.addresses
}

struct Reader<'a> {
    tokens: Tokens<'a>,
    addresses: Vec<Address>,
}

impl Reader<'_> {
    /// Ends an element that had no angle brackets.
    fn bare(&mut self, element: &mut Vec<Token>) {
        let tokens = std::mem::take(element);
        let comment = tokens.iter().rev().find(|token| token.kind == Kind::Comment);
        let name = comment.map(|token| token.text.clone()).filter(|name| !name.is_empty());
        let words: Vec<Token> =
            tokens.iter().filter(|token| token.kind != Kind::Comment).cloned().collect();
        if words.is_empty() {
            return;
        }
        let (mailbox, host) = match words.iter().rposition(|token| is(token, b'@')) {
            Some(at) => (glued(&words[..at]), glued(&words[at + 1..])),
            None => (phrase(&words).unwrap_or_default(), Vec::new()),
        };
        let address = Address { name, route: None, mailbox: Some(mailbox), host: Some(host) };
        self.addresses.push(address);
    }

    /// Reads from behind `<` to `>`, a comma outside a route, or the end; then skips to the comma.
    fn angle(&mut self, element: &mut Vec<Token>) {
        let name = phrase(element);
        element.clear();
        let mut inside = Vec::new();
        let mut route = None;
        let mut ended = false;
        while let Some(token) = self.tokens.next() {
            match token.kind {
                Kind::Special(b'>') => break,
                Kind::Special(b':')
                    if route.is_none() && inside.first().is_some_and(|first| is(first, b'@')) =>
                {
                    route = Some(glued(&std::mem::take(&mut inside)));
                }
                Kind::Special(b',') if !inside.first().is_some_and(|first| is(first, b'@')) => {
                    ended = true;
                    break;
                }
                Kind::Comment => {}
                _ if inside.len() < ELEMENT_TOKENS_MAX => inside.push(token),
                _ => {}
            }
        }
        let (mailbox, host) = match inside.iter().rposition(|token| is(token, b'@')) {
            Some(at) => (glued(&inside[..at]), glued(&inside[at + 1..])),
            None => (glued(&inside), Vec::new()),
        };
        let mut address = Address { name, route, mailbox: Some(mailbox), host: Some(host) };
        if !ended {
            self.after_angle(&mut address);
        }
        self.addresses.push(address);
    }

    /// What stands between `>` and the next comma or semicolon: at most a comment, which names
    /// an address that has no name.
    fn after_angle(&mut self, address: &mut Address) {
        while let Some(token) = self.tokens.peek() {
            match token.kind {
                Kind::Special(b',' | b';') => return,
                Kind::Comment if address.name.is_none() && !token.text.is_empty() => {
                    address.name = Some(token.text);
                }
                _ => {}
            }
            self.tokens.next();
        }
    }
}

fn is(token: &Token, special: u8) -> bool {
    token.kind == Kind::Special(special)
}

/// The text of a display name; comments do not belong to it. `None` when nothing is left.
fn phrase(tokens: &[Token]) -> Option<Vec<u8>> {
    let mut text: Option<Vec<u8>> = None;
    for token in tokens.iter().filter(|token| token.kind != Kind::Comment) {
        let text = text.get_or_insert_default();
        if token.spaced && !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(&token.text);
    }
    text
}

/// Tokens without the white space between them.
fn glued(tokens: &[Token]) -> Vec<u8> {
    tokens
        .iter()
        .filter(|token| token.kind != Kind::Comment)
        .flat_map(|token| token.text.iter().copied())
        .collect()
}

#[derive(Clone)]
struct Tokens<'a> {
    octets: &'a [u8],
    position: usize,
}

impl Tokens<'_> {
    fn peek(&self) -> Option<Token> {
        self.clone().next()
    }

    fn next(&mut self) -> Option<Token> {
        let start = self.position;
        while self.octets.get(self.position).is_some_and(|octet| is_space(*octet)) {
            self.position += 1;
        }
        let spaced = self.position > start;
        let first = *self.octets.get(self.position)?;
        let (kind, text) = match first {
            b'"' => (Kind::Quoted, self.delimited(b'"')),
            b'(' => (Kind::Comment, self.comment()),
            b'[' => (Kind::Word, self.domain_literal()),
            b'<' | b'>' | b'@' | b',' | b':' | b';' | b'.' => {
                self.position += 1;
                (Kind::Special(first), vec![first])
            }
            _ => (Kind::Word, self.atom()),
        };
        Some(Token { kind, text, spaced })
    }

    fn atom(&mut self) -> Vec<u8> {
        let rest = &self.octets[self.position..];
        let end = rest
            .iter()
            .position(|octet| is_space(*octet) || b"\"([<>@,:;.".contains(octet))
            .unwrap_or(rest.len());
        self.position += end;
        rest[..end].to_vec()
    }

    /// Text up to `end`, which is not part of it; a backslash quotes the next octet.
    fn delimited(&mut self, end: u8) -> Vec<u8> {
        let mut text = Vec::new();
        self.position += 1;
        while let Some(&octet) = self.octets.get(self.position) {
            self.position += 1;
            match octet {
                b'\\' => {
                    if let Some(&escaped) = self.octets.get(self.position) {
                        self.position += 1;
                        text.push(escaped);
                    }
                }
                _ if octet == end => break,
                _ => text.push(octet),
            }
        }
        text
    }

    fn domain_literal(&mut self) -> Vec<u8> {
        let mut text = vec![b'['];
        text.extend(self.delimited(b']'));
        text.push(b']');
        text
    }

    /// A comment with the comments inside it (RFC 5322 §3.2.2); depth is only counted.
    fn comment(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 1_usize;
        self.position += 1;
        while let Some(&octet) = self.octets.get(self.position) {
            self.position += 1;
            match octet {
                b'\\' => {
                    if let Some(&escaped) = self.octets.get(self.position) {
                        self.position += 1;
                        text.push(escaped);
                    }
                    continue;
                }
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            text.push(octet);
        }
        text.trim_ascii().to_vec()
    }
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, route, mailbox, host; `-` stands for absent.
    fn shown(value: &str) -> Vec<String> {
        let text = |octets: &Option<Vec<u8>>| {
            octets.as_ref().map_or("-".to_owned(), |octets| String::from_utf8_lossy(octets).into())
        };
        let show = |address: &Address| {
            let Address { name, route, mailbox, host } = address;
            [name, route, mailbox, host].map(text).join("|")
        };
        parse(value.as_bytes(), 100).iter().map(show).collect()
    }

    #[test]
    fn address_lists_of_the_standards_examples() {
        let cases: [(&str, &[&str]); 21] = [
            // RFC 5322 appendix A.1.
            ("John Doe <jdoe@machine.example>", &["John Doe|-|jdoe|machine.example"]),
            (
                "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
                &["Mary Smith|-|mary|x.test", "-|-|jdoe|example.org", "Who?|-|one|y.test"],
            ),
            (
                "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
                &["-|-|boss|nil.test", "Giant; \"Big\" Box|-|sysservices|example.net"],
            ),
            (
                "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
                &[
                    "-|-|A Group|-",
                    "Ed Jones|-|c|a.test",
                    "-|-|joe|where.test",
                    "John|-|jdoe|one.test",
                    "-|-|-|-",
                ],
            ),
            ("Undisclosed recipients:;", &["-|-|Undisclosed recipients|-", "-|-|-|-"]),
            // RFC 5322 appendix A.5.
            (
                "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                &["Pete|-|pete|silly.test"],
            ),
            (
                "A Group(Some people)\r\n :Chris Jones <c@(Chris's host.)public.example>,\r\n joe@example.org;",
                &[
                    "-|-|A Group|-",
                    "Chris Jones|-|c|public.example",
                    "-|-|joe|example.org",
                    "-|-|-|-",
                ],
            ),
            // RFC 5322 appendix A.6.1 and A.6.3.
            (
                "Joe Q. Public <john.q.public@example.com>",
                &["Joe Q. Public|-|john.q.public|example.com"],
            ),
            (
                "Mary Smith <@node.test,@other.test:mary@example.net>, , jdoe@test  . example",
                &["Mary Smith|@node.test,@other.test|mary|example.net", "-|-|jdoe|test.example"],
            ),
            ("John Doe <jdoe@machine(comment).  example>", &["John Doe|-|jdoe|machine.example"]),
            // RFC 3501 §7.4.2: the name of an obsolete address is its comment.
            ("gray@cac.washington.edu (Terry Gray)", &["Terry Gray|-|gray|cac.washington.edu"]),
            ("<a@b.test> (Anna)", &["Anna|-|a|b.test"]),
            // Quoted local parts, domain literals, raw eight-bit names.
            ("\"anna maria\"@example.test", &["-|-|anna maria|example.test"]),
            ("anna@[192.0.2.1]", &["-|-|anna|[192.0.2.1]"]),
            (
                "\"per conto di: anna@x.test\" <pec@y.test>",
                &["per conto di: anna@x.test|-|pec|y.test"],
            ),
            // Broken, but shown.
            ("anna", &["-|-|anna|"]),
            ("Anna <anna", &["Anna|-|anna|"]),
            ("<a@b.test, c@d.test", &["-|-|a|b.test", "-|-|c|d.test"]),
            ("group: a@b.test", &["-|-|group|-", "-|-|a|b.test", "-|-|-|-"]),
            ("a@b@c.test", &["-|-|a@b|c.test"]),
            (" ,;, ", &[]),
        ];
        for (value, addresses) in cases {
            assert_eq!(shown(value), addresses, "{value}");
        }
    }

    #[test]
    fn an_endless_name_is_cut() {
        let long = format!("{} <a@b.test>, c@d.test", "x ".repeat(100_000));
        let addresses = parse(long.as_bytes(), 10);
        assert_eq!(addresses.len(), 2);
        assert!(addresses[0].name.as_ref().unwrap().len() < 2 * ELEMENT_TOKENS_MAX);
        assert_eq!(addresses[0].host.as_deref(), Some(b"b.test".as_slice()));
    }

    #[test]
    fn no_more_addresses_are_read_than_asked_for() {
        let many = "a@b.test,".repeat(1_000);
        assert_eq!(parse(many.as_bytes(), 10).len(), 10);
    }
}
