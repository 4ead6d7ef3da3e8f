//! In which order messages stand (RFC 5256 §2.2, §3; RFC 5957 §3).
//!
//! Texts are compared as `i;unicode-casemap` does (RFC 5051 §2), which is what I18NLEVEL=1 asks for
//! (RFC 5255 §4.2): the octets of the folded text, letters in capitals.
//!
//! Not here: which messages are sorted (`found`), and by whom (`command::sort`).

use std::cmp::Ordering;

use storage::{
    account::headers::page::{HeaderField, HeaderFields, MessageHeaders},
    mailbox::view::ListedMessage,
};

use super::base_subject::BaseSubject;
use crate::imap::grammar::sort::{Criterion, SortBy};

/// What one criterion finds in a message.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Value {
    Number(i128),
    Text(Box<str>),
}

/// What the criteria of a sort find in a message, in their order.
pub(crate) type SortKey = Box<[Value]>;

/// The header fields that `criteria` read; `None` when rows alone tell.
pub(crate) fn fields(criteria: &[Criterion]) -> Option<HeaderFields> {
    let mut fields = None;
    for criterion in criteria {
        let field = match criterion.by {
            SortBy::Arrival | SortBy::Size => continue,
            SortBy::Date => None,
            SortBy::Cc => Some(HeaderField::Cc),
            SortBy::From | SortBy::DisplayFrom => Some(HeaderField::From),
            SortBy::To | SortBy::DisplayTo => Some(HeaderField::To),
            SortBy::Subject => Some(HeaderField::Subject),
        };
        let others: HeaderFields = fields.unwrap_or_default();
        fields = Some(field.map_or(others, |field| others.with(field)));
    }
    fields
}

/// What `criteria` find in a message.
pub(crate) fn key(
    criteria: &[Criterion],
    row: &ListedMessage,
    headers: Option<&MessageHeaders>,
) -> SortKey {
    criteria.iter().map(|criterion| value(criterion.by, row, headers)).collect()
}

/// Octets that a key takes.
pub(crate) fn octets(key: &SortKey) -> usize {
    let texts = key.iter().map(|value| match value {
        Value::Number(_) => 0,
        Value::Text(text) => text.len(),
    });
    size_of_val(&**key) + texts.sum::<usize>()
}

/// Compares what `criteria` found in two messages. Those that are alike stand in the order of their
/// numbers, which the caller compares.
pub(crate) fn compare(criteria: &[Criterion], one: &SortKey, other: &SortKey) -> Ordering {
    for ((criterion, one), other) in criteria.iter().zip(one).zip(other) {
        let order = if criterion.reverse { other.cmp(one) } else { one.cmp(other) };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn value(by: SortBy, row: &ListedMessage, headers: Option<&MessageHeaders>) -> Value {
    let first = |field| headers.and_then(|headers| first_address(headers, field));
    let mailbox = |field| Value::Text(collated(first(field).map_or("", mailbox_of)));
    let displayed = |field| Value::Text(displayed(first(field).unwrap_or_default()));
    match by {
        SortBy::Arrival => Value::Number(row.internal_date.0.into()),
        SortBy::Size => Value::Number(row.size.into()),
        SortBy::Date => Value::Number(sent(row, headers).into()),
        SortBy::Cc => mailbox(HeaderField::Cc),
        SortBy::From => mailbox(HeaderField::From),
        SortBy::To => mailbox(HeaderField::To),
        SortBy::DisplayFrom => displayed(HeaderField::From),
        SortBy::DisplayTo => displayed(HeaderField::To),
        SortBy::Subject => {
            let subject = headers.and_then(|headers| headers.text(HeaderField::Subject));
            Value::Text(collated(&BaseSubject::of(subject.unwrap_or_default()).text))
        }
    }
}

/// The second at which a message was sent; INTERNALDATE where it does not say (RFC 5256 §2.2).
pub(crate) fn sent(row: &ListedMessage, headers: Option<&MessageHeaders>) -> i64 {
    let sent = headers.and_then(MessageHeaders::sent);
    sent.map_or(row.internal_date.seconds(), |sent| sent.instant.seconds())
}

/// The first address of a field, as it is kept: `name <mailbox@host>`.
fn first_address(headers: &MessageHeaders, field: HeaderField) -> Option<&str> {
    headers.text(field).and_then(|text| text.split('\0').next())
}

/// The parts of a kept address: name, and `mailbox@host`. One without a host is a mailbox only.
fn parts(address: &str) -> Option<(&str, &str)> {
    address.strip_suffix('>')?.rsplit_once(" <")
}

fn mailbox_of(address: &str) -> &str {
    let Some((_, address)) = parts(address) else { return address };
    address.rsplit_once('@').map_or(address, |(mailbox, _)| mailbox)
}

/// The name; without one the address (RFC 5957 §3).
fn displayed(address: &str) -> Box<str> {
    match parts(address) {
        Some((name, _)) if !name.trim().is_empty() => collated(name.trim()),
        Some((_, address)) => collated(address),
        None => collated(address),
    }
}

/// Folded text in the form whose octets are compared.
pub(crate) fn collated(folded: &str) -> Box<str> {
    if folded.is_ascii() {
        return folded.to_ascii_uppercase().into();
    }
    let capital = |letter: char| {
        let mut capitals = letter.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(capital), None) => capital,
            // A letter whose capital is more than one stays as it is, as in simple mappings.
            _ => letter,
        }
    };
    folded.chars().map(capital).collect::<String>().into()
}

#[cfg(test)]
#[path = "sort/tests.rs"]
mod tests;
