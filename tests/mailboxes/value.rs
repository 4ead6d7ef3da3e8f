//! Responses as values: atoms, strings and lists (RFC 3501 §9), whoever wrote them.

use std::fmt;

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Value {
    /// An atom, number, flag or NIL; a section with its brackets is part of its atom.
    Atom(String),
    /// A quoted string or a literal: which of them is left to the server.
    Text(Vec<u8>),
    List(Vec<Value>),
}

impl Value {
    pub(crate) fn atom(&self) -> &str {
        match self {
            Self::Atom(atom) => atom,
            _ => "",
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.atom().parse().unwrap_or_else(|_| panic!("{self} is no number"))
    }

    pub(crate) fn list(&self) -> &[Value] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// An atom or a string as text: names of mailboxes are either.
    pub(crate) fn string(&self) -> String {
        match self {
            Self::Atom(atom) => atom.clone(),
            Self::Text(octets) => String::from_utf8_lossy(octets).into_owned(),
            Self::List(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Atom(atom) => formatter.write_str(atom),
            Self::Text(octets) => write!(formatter, "\"{}\"", octets.escape_ascii()),
            Self::List(items) => write!(formatter, "({})", joined(items)),
        }
    }
}

/// Values with a space between them.
pub(crate) fn joined(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

/// One response.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    Continuation,
    /// OK, NO, BAD, BYE, PREAUTH: who is answered, and the code in brackets. Its text is free.
    Status {
        tag: Option<String>,
        condition: String,
        code: Vec<Value>,
    },
    Data(Vec<Value>),
}

/// Reads a response with its literals.
pub(crate) fn response(octets: &[u8]) -> Response {
    let mut reader = Reader { octets, at: 0 };
    if octets.starts_with(b"+") {
        return Response::Continuation;
    }
    let tag = reader.atom();
    reader.space();
    let begin = reader.at;
    let word = reader.atom().to_ascii_uppercase();
    if !["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&word.as_str()) {
        reader.at = begin;
        return Response::Data(reader.values());
    }
    reader.space();
    let code = if reader.peek() == Some(b'[') {
        reader.at += 1;
        let values = reader.values();
        assert_eq!(reader.peek(), Some(b']'), "{}", octets.escape_ascii());
        values
    } else {
        Vec::new()
    };
    Response::Status { tag: Some(tag).filter(|tag| tag != "*"), condition: word, code }
}

struct Reader<'o> {
    octets: &'o [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied().filter(|octet| !b"\r\n".contains(octet))
    }

    fn space(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Values to the end of the line, or to what closes the list.
    fn values(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        loop {
            self.space();
            match self.peek() {
                None | Some(b')' | b']') => return values,
                Some(b'(') => {
                    self.at += 1;
                    values.push(Value::List(self.values()));
                    assert_eq!(self.peek(), Some(b')'), "{}", self.octets.escape_ascii());
                    self.at += 1;
                }
                Some(b'"') => values.push(Value::Text(self.quoted())),
                Some(b'{') => values.push(Value::Text(self.literal())),
                Some(b'~') if self.octets.get(self.at + 1) == Some(&b'{') => {
                    self.at += 1;
                    values.push(Value::Text(self.literal()));
                }
                Some(_) => values.push(Value::Atom(self.atom())),
            }
        }
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            let octet = self.octets[self.at];
            self.at += 1;
            match octet {
                b'"' => return text,
                b'\\' => {
                    text.push(self.octets[self.at]);
                    self.at += 1;
                }
                octet => text.push(octet),
            }
        }
    }

    fn literal(&mut self) -> Vec<u8> {
        let rest = &self.octets[self.at..];
        let end = rest.iter().position(|&octet| octet == b'\n').expect("a literal's line") + 1;
        let length = literal_length(&rest[..end]).expect("a literal's length");
        let begin = self.at + end;
        self.at = begin + length;
        self.octets[begin..self.at].to_vec()
    }

    /// An atom; brackets in it hold anything (`BODY[HEADER.FIELDS ("To")]<0>`).
    fn atom(&mut self) -> String {
        let begin = self.at;
        let mut depth = 0_u32;
        while let Some(octet) = self.peek() {
            match octet {
                b'[' => depth += 1,
                b' ' | b'(' | b')' | b']' if depth == 0 => break,
                b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        String::from_utf8_lossy(&self.octets[begin..self.at]).into_owned()
    }
}

/// The length that the end of a line announces.
pub(crate) fn literal_length(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let begin = line.iter().rposition(|&octet| octet == b'{')?;
    std::str::from_utf8(&line[begin + 1..]).ok()?.parse().ok()
}

/// The numbers of a sequence set without `*`, ascending.
pub(crate) fn numbers(set: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for range in set.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        numbers.extend(first.min(last)..=first.max(last));
    }
    numbers.sort_unstable();
    numbers
}
