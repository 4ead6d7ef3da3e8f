//! What an operator reads of the store's findings is in Italian too.

use ceralacca::texts::{Language, below, store};

use crate::tree::{files, read};

/// Sources whose sentences reach the lists of `check`, `repair`, `scrub` and `rebuild-index`.
const SPEAKING: [&str; 7] = [
    "storage/src/repair/",
    "storage/src/octets/check.rs",
    "storage/src/octets/scrub.rs",
    "storage/src/octets/reindex.rs",
    "storage/src/pack/format.rs",
    "storage/src/pack/stored.rs",
    "storage/src/record.rs",
];

/// A text with `7` for every value.
fn with_values(text: &str) -> String {
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "7" + part.split_once('}').map_or("", |(_, after)| after))
}

/// The texts between quotation marks in a line of code, with `7` for every value.
fn sentences(line: &str) -> Vec<String> {
    let code = line.trim();
    if code.starts_with("//") || ["#[", "expect(", "operation:"].iter().any(|no| code.contains(no))
    {
        return Vec::new();
    }
    let quoted = code.split('"').skip(1).step_by(2).map(with_values);
    let sentence =
        |text: &String| text.contains(' ') && text.starts_with(|c: char| !c.is_uppercase());
    quoted.filter(sentence).collect()
}

#[test]
fn every_sentence_of_the_stores_findings_has_its_italian() {
    let mut found = 0;
    for file in files(".rs") {
        if file.is_test() || !SPEAKING.iter().any(|path| file.path.starts_with(path)) {
            continue;
        }
        for (number, line) in file.without_tests().lines().enumerate() {
            for text in sentences(line) {
                let place = format!("{}:{}", file.path, number + 1);
                assert!(below::is_known(&text), "{place}: {text:?}: add it to src/texts/below.rs");
                found += 1;
            }
        }
    }
    assert!(found > 60, "the sentences stand elsewhere: {found}");
}

/// The sentences of `#[error(…)]`, with `7` for every value.
fn errors(source: &str) -> Vec<String> {
    let attributes = source.split("#[error(").skip(1).filter_map(|rest| rest.split_once(")]"));
    let quoted = attributes.filter_map(|(inside, _)| inside.trim().strip_prefix('"'));
    let joined = quoted.map(|text| {
        let text = text.trim_end().trim_end_matches('"');
        let mut lines = text.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        lines.fold(first, |text, line| text + line.trim_start())
    });
    joined.map(|text| with_values(&text)).collect()
}

#[test]
fn every_error_of_the_store_has_its_italian() {
    let errors = errors(&read("storage/src/error.rs"));
    assert!(errors.len() > 25, "the errors stand elsewhere: {errors:#?}");
    for error in errors {
        assert!(store::is_known(&error), "{error:?}: add it to src/texts/store.rs");
    }
}

#[test]
fn what_an_error_names_has_its_italian() {
    let naming = ["what: \"", "remedy: \"", "reason: \"", "invalid(\"", "Exhausted(\""];
    let mut found = 0;
    for file in files(".rs") {
        let speaks =
            ["storage/src/", "snapshots/src/"].iter().any(|path| file.path.starts_with(path));
        if file.is_test() || !(speaks || file.path == "src/mail_access.rs") {
            continue;
        }
        for (number, line) in file.without_tests().lines().enumerate() {
            for name in naming {
                let Some((_, rest)) = line.split_once(name) else { continue };
                let text = rest.split('"').next().unwrap_or_default();
                let place = format!("{}:{}", file.path, number + 1);
                assert!(below::is_known(text), "{place}: {text:?}: add it to src/texts/below.rs");
                found += 1;
            }
        }
    }
    assert!(found > 20, "the names stand elsewhere: {found}");
}

/// What stands in quotation marks in the values of the fields `object` and `detail`, and in calls of
/// `damaged`, with `7` for every value.
fn damages(source: &str) -> Vec<String> {
    let code: Vec<&str> =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for mark in ["object: ", "detail: ", "damaged("] {
        for (at, _) in code.match_indices(mark) {
            let (mut depth, mut quoted) = (usize::from(mark.ends_with('(')), None::<String>);
            for character in code[at + mark.len()..].chars() {
                match (character, &mut quoted) {
                    ('"', Some(text)) => {
                        found.push(with_values(text));
                        quoted = None;
                    }
                    (other, Some(text)) => text.push(other),
                    ('"', None) => quoted = Some(String::new()),
                    ('(', None) => depth += 1,
                    (')', None) if depth > 1 => depth -= 1,
                    (')', None) => break,
                    (',' | '}' | ';', None) if depth == 0 => break,
                    _ => {}
                }
            }
        }
    }
    found
}

#[test]
fn every_damage_of_a_snapshot_has_its_italian() {
    let mut found = 0;
    for file in files(".rs") {
        if file.is_test() || !file.path.starts_with("snapshots/src/") {
            continue;
        }
        for text in damages(file.without_tests()) {
            let known = below::is_known(&text);
            assert!(known, "{}: {text:?}: add it to src/texts/below.rs", file.path);
            let said = [below::object(&text), below::detail(&text)];
            let whole = said.iter().any(|said| !said.get(Language::Italian).contains(" of "));
            assert!(whole, "{}: {text:?} is taken for another: {said:?}", file.path);
            found += 1;
        }
    }
    assert!(found > 30, "the damages stand elsewhere: {found}");
}

#[test]
fn a_damage_is_found_over_several_lines_and_in_calls() {
    let source = r#"
        /// object: "a comment"
        object: format!(
            "the state of snapshot {} of account {}", one, two
        ),
        detail: "it is missing".to_owned(),
        Err(damaged(FAMILY, &key, "it is (not) there").into())
        let also = |detail| Damaged { object: format!("page {id}"), detail };
        other("a sentence")"#;
    let mut found = damages(source);
    found.sort();
    assert_eq!(
        found,
        ["it is (not) there", "it is missing", "page 7", "the state of snapshot 7 of account 7"]
    );
}

#[test]
fn a_sentence_is_found_between_quotation_marks_and_its_values_are_filled_in() {
    let line = r#"let detail = format!("its name {:?} leads to {x} again");"#;
    assert_eq!(sentences(line), ["its name 7 leads to 7 again"]);
    assert!(sentences("/// a \"comment of words\"").is_empty());
    assert!(sentences(r#"Scan::prefix("packs", 7)"#).is_empty());
}
