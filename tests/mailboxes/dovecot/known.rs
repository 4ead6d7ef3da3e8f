//! What each explained difference looks like: as narrow as can be said of one fact.
//!
//! Why it is one, and whose behaviour the standard asks for, stands under the same name in
//! `docs/dovecot_differences.md`.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::differences::{Difference, Known};

const fn known(name: &'static str, is: fn(&Difference<'_>) -> bool) -> Known {
    Known { name, is }
}

pub(super) const KNOWN: [Known; 25] = [
    known("default-charset", |d| {
        d.fact.ends_with("parameter:CHARSET") && d.theirs == Some("\"us-ascii\"")
    }),
    known("absent-part", |d| {
        d.is_body()
            && d.ours == Some("NIL")
            && (d.theirs == Some("\"\"") || d.fact.contains("[1.1]"))
    }),
    known("read-only", |d| {
        let verb = d.verb("STORE") || d.verb("EXPUNGE") || d.verb("MOVE");
        verb && (d.is("code READ-ONLY") && d.theirs.is_none()
            || d.is("condition") && d.ours == Some("NO"))
    }),
    known("copy-of-nothing", |d| {
        let verb = d.verb("COPY") || d.verb("MOVE");
        verb && (d.is("code TRYCREATE") && d.theirs.is_none()
            || d.is("condition") && d.pair("NO", "OK"))
    }),
    known("star-in-an-empty-mailbox", |d| {
        d.command.contains('*') && d.is("condition") && d.theirs == Some("BAD")
    }),
    known("flags-that-were-so", |d| {
        d.verb("STORE") && d.fact.starts_with("message ") && d.theirs.is_none()
    }),
    known("subscription-without-a-mailbox", |d| {
        d.verb("SUBSCRIBE") && d.is("condition") && d.pair("OK", "NO")
    }),
    known("modseq-of-an-empty-mailbox", |d| {
        let verbs = ["SELECT", "EXAMINE", "FETCH", "STORE", "SEARCH"];
        verbs.iter().any(|verb| d.verb(verb)) && d.is("code HIGHESTMODSEQ") && d.theirs.is_none()
    }),
    known("modseq-with-any-answer", |d| d.is("code HIGHESTMODSEQ") && d.ours.is_none()),
    known("enable-when-selected", |d| d.verb("ENABLE") && d.is("condition") && d.pair("BAD", "OK")),
    known("enabled-of-nothing", |d| d.verb("ENABLE") && d.is("enabled") && d.theirs.is_none()),
    known("zero-where-none-may-be", |d| {
        let command = d.command.contains("[0]") || d.command.contains("<1.0>");
        command && (d.is("condition") && d.pair("BAD", "OK") || d.is_body() && d.ours.is_none())
    }),
    known("tab-in-a-folded-subject", |d| {
        let ours = d.ours.map(|text| text.replace("\\t", " "));
        d.fact.ends_with("subject") && ours.as_deref() == d.theirs
    }),
    known("encoded-words", |d| {
        d.fact.contains("ENVELOPE") && d.ours.map(without_encoded_words).as_deref() == d.theirs
    }),
    known("address-without-a-domain", |d| d.theirs.is_some_and(|text| text.contains("\"MISSING_"))),
    known("repeated-field", |d| {
        let all = |(ours, theirs): (&str, &str)| theirs.starts_with(ours.trim_end_matches(')'));
        let lists = d.ours.zip(d.theirs).is_some_and(all);
        let fields = d.fact.contains("ENVELOPE") || d.fact.contains(" inner ");
        let single = d.fact.ends_with("date") || d.fact.ends_with("message-id");
        fields && (lists || single) || d.fact.ends_with(" encoding") && d.theirs == Some("7BIT")
    }),
    known("broken-type", |d| {
        let broken = |text: &str| text.starts_with('/') || text.ends_with('/');
        d.fact.ends_with(" type") && d.theirs.is_some_and(broken)
            || d.fact.ends_with(" lines") && d.theirs.is_none()
    }),
    known("broken-parameter", |d| {
        let name = d.fact.rsplit(':').next().unwrap_or_default();
        d.fact.contains("parameter:")
            && (d.ours == Some("\"\"") || name.is_empty() || name == "Q" || name.ends_with('*'))
    }),
    known("delimiter-at-the-very-end", |d| {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        let more = |more| number(d.ours).is_some_and(|ours| number(d.theirs) == Some(ours + more));
        (d.fact.ends_with(" octets") || d.fact.contains("BINARY.SIZE")) && more(2)
            || d.fact.ends_with(" lines") && more(1)
            || d.is_body() && !d.is_header() && d.same_but_for_the_end()
    }),
    known("header-without-an-empty-line", |d| d.is_header() && d.same_but_for_the_end()),
    known("line-that-is-no-field", |d| d.fact.contains("HEADER.FIELDS.NOT")),
    known("no-date-is-long-ago", |d| {
        let fewer = d.ours_is_part_of_theirs() || d.fact.starts_with("esearch ");
        d.command.contains("SENTBEFORE") && fewer
    }),
    known("refs-by-arrival", |d| {
        d.verb("THREAD") && d.command.contains(" REFS ") && d.is("thread") && d.same_threads()
    }),
    known("search-in-an-unknown-encoding", |d| {
        let search = d.verb("SEARCH") || d.verb("SORT");
        let more = d.theirs_is_part_of_ours() || d.fact.starts_with("esearch ");
        search && d.command.contains("BODY ") && more
    }),
    known("binary-of-broken-data", |d| {
        d.command.contains(" BINARY.")
            && (d.is("condition") && d.pair("OK", "NO") || d.theirs.is_none())
    }),
];

impl Difference<'_> {
    fn is(&self, fact: &str) -> bool {
        self.fact == fact
    }

    /// Whether the command is `verb`, by number or by UID.
    fn verb(&self, verb: &str) -> bool {
        let mut words = self.command.split(' ').skip(1).skip_while(|word| *word == "UID");
        words.next() == Some(verb)
    }

    fn pair(&self, ours: &str, theirs: &str) -> bool {
        self.ours == Some(ours) && self.theirs == Some(theirs)
    }

    fn is_body(&self) -> bool {
        self.fact.contains(" BODY[") || self.fact.contains(" BINARY[")
    }

    fn is_header(&self) -> bool {
        self.fact.contains(".MIME]") || self.fact.contains("HEADER")
    }

    /// One of both has a line end more, or the empty line.
    fn same_but_for_the_end(&self) -> bool {
        let text = |text: Option<&str>| {
            text.map(|text| text.trim_end_matches(['"', '\\', 'r', 'n']).to_owned())
        };
        self.ours.is_some() && text(self.ours) == text(self.theirs)
    }

    fn ours_is_part_of_theirs(&self) -> bool {
        part_of(self.ours, self.theirs)
    }

    fn theirs_is_part_of_ours(&self) -> bool {
        part_of(self.theirs, self.ours)
    }

    /// The same threads in another order.
    fn same_threads(&self) -> bool {
        let [ours, theirs] = [self.ours, self.theirs].map(|threads| {
            let mut threads: Vec<&str> =
                threads.unwrap_or_default().split_inclusive(") (").collect();
            for thread in &mut threads {
                *thread = thread.trim_matches([' ', '(', ')']);
            }
            threads.sort_unstable();
            threads
        });
        ours == theirs
    }
}

/// Whether all numbers of `some` are among those of `all`.
/// `text` with encoded words of base64 in UTF-8 decoded, octets above 127 as both servers' are shown.
fn without_encoded_words(text: &str) -> String {
    let mut plain = String::new();
    for (number, part) in
        text.replace("?= =?UTF-8?B?", "?==?UTF-8?B?").split("=?UTF-8?B?").enumerate()
    {
        let Some((word, rest)) = part.split_once("?=").filter(|_| number > 0) else {
            plain.push_str(part);
            continue;
        };
        for octet in STANDARD.decode(word).unwrap_or_default() {
            let _ = match octet {
                0x80.. => write!(plain, "\\x{octet:02x}"),
                _ => write!(plain, "{}", char::from(octet)),
            };
        }
        plain.push_str(rest);
    }
    plain
}

fn part_of(some: Option<&str>, all: Option<&str>) -> bool {
    let numbers = |text: Option<&str>| -> Vec<u64> {
        let numbers = text.unwrap_or_default().split(|digit: char| !digit.is_ascii_digit());
        numbers.filter_map(|number| number.parse().ok()).collect()
    };
    let all = numbers(all);
    numbers(some).iter().all(|number| all.contains(number))
}
