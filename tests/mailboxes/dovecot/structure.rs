//! ENVELOPE and BODYSTRUCTURE, leaf by leaf.
//!
//! Types, encodings and names of parameters are compared in capitals: they have no case
//! (RFC 2045 §5.1, §6.1). Extension data may end anywhere (RFC 3501 §7.4.2): what is left out is NIL.

use super::canonical::Facts;
use crate::value::{Value, joined};

const ENVELOPE: [&str; 10] = [
    "date",
    "subject",
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "in-reply-to",
    "message-id",
];

/// Notes an envelope field by field.
pub(crate) fn envelope(at: &str, value: &Value, facts: &mut Facts) {
    let fields = value.list();
    note(facts, at, "fields", &fields.len().to_string());
    for (name, field) in ENVELOPE.iter().zip(fields) {
        note(facts, at, name, &field.to_string());
    }
}

/// Notes a body structure part by part; the last word of each name says what it is of the part.
pub(crate) fn body(at: &str, value: &Value, facts: &mut Facts) {
    let items = value.list();
    if let Some(Value::List(_)) = items.first() {
        return multipart(at, items, facts);
    }
    let word = |index: usize| items.get(index).map(|item| item.string().to_ascii_uppercase());
    let [kind, subtype] = [0, 1].map(|index| word(index).unwrap_or_default());
    note(facts, at, "type", &format!("{kind}/{subtype}"));
    parameters(facts, at, "parameter", items.get(2));
    leaf(facts, at, "id", items.get(3));
    leaf(facts, at, "description", items.get(4));
    note(facts, at, "encoding", &word(5).unwrap_or_default());
    leaf(facts, at, "octets", items.get(6));
    let mut next = 7;
    if kind == "MESSAGE" && ["RFC822", "GLOBAL"].contains(&subtype.as_str()) && items.len() > 9 {
        envelope(&format!("{at} inner"), &items[7], facts);
        body(&format!("{at}.m"), &items[8], facts);
        leaf(facts, at, "lines", items.get(9));
        next = 10;
    } else if kind == "TEXT" {
        leaf(facts, at, "lines", items.get(7));
        next = 8;
    }
    leaf(facts, at, "md5", items.get(next));
    extension(at, items.get(next + 1..).unwrap_or_default(), facts);
}

fn multipart(at: &str, items: &[Value], facts: &mut Facts) {
    let parts = items.iter().take_while(|item| matches!(item, Value::List(_))).count();
    note(facts, at, "parts", &parts.to_string());
    for (index, part) in items[..parts].iter().enumerate() {
        body(&format!("{at}.{}", index + 1), part, facts);
    }
    let subtype = items.get(parts).map(Value::string).unwrap_or_default();
    note(facts, at, "type", &format!("multipart/{}", subtype.to_ascii_uppercase()));
    parameters(facts, at, "parameter", items.get(parts + 1));
    extension(at, items.get(parts + 2..).unwrap_or_default(), facts);
}

fn extension(at: &str, items: &[Value], facts: &mut Facts) {
    match items.first() {
        Some(Value::List(disposition)) => {
            let kind = disposition[0].string().to_ascii_uppercase();
            note(facts, at, "disposition", &kind);
            parameters(facts, at, "disposition-parameter", disposition.get(1));
        }
        other => leaf(facts, at, "disposition", other),
    }
    // One language is a string or a list of one.
    let language = match items.get(1) {
        Some(Value::List(languages)) => joined(languages),
        other => other.map_or_else(|| "NIL".to_owned(), Value::to_string),
    };
    note(facts, at, "language", &language);
    leaf(facts, at, "location", items.get(2));
}

fn parameters(facts: &mut Facts, at: &str, what: &str, value: Option<&Value>) {
    for pair in value.map(Value::list).unwrap_or_default().chunks(2) {
        let value = pair.get(1).map(Value::to_string).unwrap_or_default();
        note(facts, at, &format!("{what}:{}", pair[0].string().to_ascii_uppercase()), &value);
    }
}

fn leaf(facts: &mut Facts, at: &str, what: &str, value: Option<&Value>) {
    note(facts, at, what, &value.map_or_else(|| "NIL".to_owned(), Value::to_string));
}

fn note(facts: &mut Facts, at: &str, what: &str, value: &str) {
    facts.insert(format!("{at} {what}"), value.to_owned());
}
