//! What a fuzzer tries of searches; see `crate::fuzz`.

use std::fmt::Write as _;

use super::{
    grammar::{
        self, Command,
        encode::put_items,
        mailbox_name::NameForm,
        multisearch::{MultiSearch, Source},
        results::Results,
        search::{
            Area, DateComparison, EnvelopeField, SearchCommand, SearchKey, SearchProgram,
            SystemFlag,
        },
        sequence::{SequenceNumber, SequenceSet},
        sort::{SortCommand, ThreadCommand, Threading},
        write,
    },
    limits::ImapLimits,
};

const NAMES: NameForm = NameForm::ModifiedUtf7;

/// SEARCH, SORT, THREAD, ESEARCH or CANCELUPDATE of any octets behind a tag is refused, or within the
/// limits and written so that it reads as the same command.
///
/// # Panics
///
/// When that is not so.
pub fn imap_search(input: &[u8]) {
    let limits = ImapLimits::default();
    let parse = |octets: &[u8]| grammar::parse(octets, NAMES, &limits);
    let Ok(command) = parse(&[b"a ", input].concat()) else { return };
    let Some(written) = written(&command) else { return };
    let shown = String::from_utf8_lossy(&written).into_owned();
    let again = parse(&written).unwrap_or_else(|error| panic!("{error:?}: {shown}"));
    // Letters outside ASCII may take a second folding to stay as they are.
    if shown.is_ascii() {
        assert_eq!(again, command, "{shown}");
    }
    let written_again = self::written(&again).expect("the same command");
    assert_eq!(parse(&written_again), Ok(again), "{shown}");
}

fn charset(utf8: bool) -> &'static str {
    if utf8 { "UTF-8" } else { "US-ASCII" }
}

fn written(command: &Command) -> Option<Vec<u8>> {
    let mut out = b"a ".to_vec();
    match command {
        Command::Search(SearchCommand { results, program, charset, uid }) => {
            put(&mut out, if *uid { "UID SEARCH" } else { "SEARCH" });
            put_results(&mut out, results.as_ref());
            put(&mut out, if *charset { " CHARSET UTF-8" } else { "" });
            put_program(&mut out, program);
        }
        Command::Sort(SortCommand { criteria, results, program, utf8, uid }) => {
            put(&mut out, if *uid { "UID SORT" } else { "SORT" });
            put_results(&mut out, results.as_ref());
            let criteria: Vec<String> = criteria
                .iter()
                .map(|one| {
                    format!("{}{}", if one.reverse { "REVERSE " } else { "" }, one.by.name())
                })
                .collect();
            put(&mut out, &format!(" ({}) {}", criteria.join(" "), charset(*utf8)));
            put_program(&mut out, program);
        }
        Command::Thread(ThreadCommand { threading, program, utf8, uid }) => {
            put(&mut out, if *uid { "UID THREAD" } else { "THREAD" });
            let of = |(one, _): &(Threading, &str)| one == threading;
            put(
                &mut out,
                &format!(" {} {}", Threading::ALL.into_iter().find(of)?.1, charset(*utf8)),
            );
            put_program(&mut out, program);
        }
        Command::MultiSearch(MultiSearch { sources, results, program, charset }) => {
            put(&mut out, "ESEARCH IN (");
            for (index, source) in sources.iter().enumerate() {
                put(&mut out, if index > 0 { " " } else { "" });
                put_source(&mut out, source);
            }
            put(&mut out, ")");
            put_results(&mut out, Some(results));
            put(&mut out, if *charset { " CHARSET UTF-8" } else { "" });
            put_program(&mut out, program);
        }
        Command::CancelUpdate { tags } => {
            put(&mut out, "CANCELUPDATE");
            for tag in tags {
                put(&mut out, " ");
                write::string(&mut out, tag);
            }
        }
        _ => return None,
    }
    put(&mut out, "\r\n");
    Some(out)
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn put_results(out: &mut Vec<u8>, results: Option<&Results>) {
    let Some(results) = results else { return };
    let words = [
        (results.min, "MIN"),
        (results.max, "MAX"),
        (results.all, "ALL"),
        (results.count, "COUNT"),
        (results.save, "SAVE"),
        (results.context, "CONTEXT"),
    ];
    let mut list: Vec<String> =
        words.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned()).collect();
    list.extend(results.partial.map(|partial| format!("PARTIAL {}", partial.written())));
    list.extend(results.update.then(|| "UPDATE".to_owned()));
    put(out, &format!(" RETURN ({}", list.join(" ")));
    put_items(out, &results.update_items);
    put(out, ")");
}

fn put_source(out: &mut Vec<u8>, source: &Source) {
    let (word, names): (&str, &[String]) = match source {
        Source::Selected => ("selected", &[]),
        Source::SelectedDelayed => ("selected-delayed", &[]),
        Source::Inboxes => ("inboxes", &[]),
        Source::Personal => ("personal", &[]),
        Source::Subscribed => ("subscribed", &[]),
        Source::Subtree(names) => ("subtree", names),
        Source::SubtreeOne(names) => ("subtree-one", names),
        Source::Mailboxes(names) => ("mailboxes", names),
    };
    put(out, word);
    for (index, name) in names.iter().enumerate() {
        put(out, if index == 0 { " (" } else { " " });
        write::mailbox(out, name, NAMES);
    }
    put(out, if names.is_empty() { "" } else { ")" });
}

fn put_program(out: &mut Vec<u8>, program: &SearchProgram) {
    let limits = ImapLimits::default();
    let mut keys = 0;
    program.visit(|_| keys += 1);
    assert!((1..=limits.search_keys_max).contains(&keys));
    assert!(program.ranges() <= limits.sequence_ranges_max);
    for key in &program.keys {
        put(out, " ");
        put_key(out, key, 1);
    }
}

fn put_key(out: &mut Vec<u8>, key: &SearchKey, depth: usize) {
    assert!(depth <= ImapLimits::default().search_depth_max);
    let date = |date: &jiff::civil::Date| date.strftime("%d-%b-%Y").to_string();
    match key {
        SearchKey::And(keys) => {
            for (index, key) in keys.iter().enumerate() {
                put(out, if index == 0 { "(" } else { " " });
                put_key(out, key, depth + 1);
            }
            put(out, ")");
        }
        SearchKey::Or(two) => {
            put(out, "OR ");
            put_key(out, &two.0, depth + 1);
            put(out, " ");
            put_key(out, &two.1, depth + 1);
        }
        SearchKey::Not(key) => {
            put(out, "NOT ");
            put_key(out, key, depth + 1);
        }
        SearchKey::Sequence(set) => put(out, &set_text(set)),
        SearchKey::Uid(set) => put(out, &format!("UID {}", set_text(set))),
        SearchKey::InternalDate(comparison, day) => {
            put(out, &format!("{} {}", comparison_word(*comparison), date(day)));
        }
        SearchKey::SentDate(comparison, day) => {
            put(out, &format!("SENT{} {}", comparison_word(*comparison), date(day)));
        }
        SearchKey::SavedDate(comparison, day) => {
            put(out, &format!("SAVED{} {}", comparison_word(*comparison), date(day)));
        }
        SearchKey::Envelope { field, folded } => {
            let word = match field {
                EnvelopeField::Bcc => "BCC ",
                EnvelopeField::Cc => "CC ",
                EnvelopeField::From => "FROM ",
                EnvelopeField::Subject => "SUBJECT ",
                EnvelopeField::To => "TO ",
            };
            put(out, word);
            write::string(out, folded.as_bytes());
        }
        SearchKey::Header { name, folded } => {
            put(out, "HEADER ");
            write::string(out, name);
            put(out, " ");
            write::string(out, folded.as_bytes());
        }
        SearchKey::Content { area, folded } => {
            put(out, if *area == Area::Body { "BODY " } else { "TEXT " });
            write::string(out, folded.as_bytes());
        }
        other => put(out, &simple_key(other)),
    }
}

fn simple_key(key: &SearchKey) -> String {
    match key {
        SearchKey::All => "ALL".to_owned(),
        SearchKey::New => "NEW".to_owned(),
        SearchKey::SaveDateSupported => "SAVEDATESUPPORTED".to_owned(),
        SearchKey::Flag { flag, set } => {
            let word = match flag {
                SystemFlag::Recent => return (if *set { "RECENT" } else { "OLD" }).to_owned(),
                SystemFlag::Answered => "ANSWERED",
                SystemFlag::Deleted => "DELETED",
                SystemFlag::Draft => "DRAFT",
                SystemFlag::Flagged => "FLAGGED",
                SystemFlag::Seen => "SEEN",
            };
            format!("{}{word}", if *set { "" } else { "UN" })
        }
        SearchKey::Keyword { keyword, set } => {
            format!("{}KEYWORD {}", if *set { "" } else { "UN" }, keyword.as_str())
        }
        SearchKey::Younger(seconds) => format!("YOUNGER {seconds}"),
        SearchKey::Older(seconds) => format!("OLDER {seconds}"),
        SearchKey::ModSeq(mod_seq) => format!("MODSEQ {mod_seq}"),
        SearchKey::EmailId(None) => "EMAILID X".to_owned(),
        SearchKey::EmailId(Some((None, number))) => format!("EMAILID M{number}"),
        SearchKey::EmailId(Some((Some(of), number))) => format!("EMAILID M{of}-{number}"),
        SearchKey::ThreadId => "THREADID X".to_owned(),
        SearchKey::Larger(octets) => format!("LARGER {octets}"),
        SearchKey::Smaller(octets) => format!("SMALLER {octets}"),
        other => panic!("{other:?} is not parsed"),
    }
}

fn comparison_word(comparison: DateComparison) -> &'static str {
    match comparison {
        DateComparison::Before => "BEFORE",
        DateComparison::On => "ON",
        DateComparison::Since => "SINCE",
    }
}

fn set_text(set: &SequenceSet) -> String {
    let SequenceSet::Ranges(ranges) = set else { return "$".to_owned() };
    let number = |number: &SequenceNumber| match number {
        SequenceNumber::Value(value) => value.to_string(),
        SequenceNumber::Largest => "*".to_owned(),
    };
    let mut text = String::new();
    for (from, to) in ranges {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = if from == to {
            write!(text, "{comma}{}", number(from))
        } else {
            write!(text, "{comma}{}:{}", number(from), number(to))
        };
    }
    text
}
