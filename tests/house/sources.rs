//! Rules over the source text: purpose of each module, length, words, silenced lints.

use crate::tree::{TextFile, files, read, root};

/// Lines that a file of the program may have.
const FILE_LINES_MAX: usize = 600;

/// Words that mark unfinished work. Written apart, so that this list does not find itself.
const UNFINISHED: [&str; 11] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("not yet ", "implemented"),
    concat!("not ", "implemented"),
    concat!("place", "holder"),
    concat!("for ", "now"),
    concat!("simpli", "fied"),
];

/// Names that say nothing about what a file is for.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "manager"];

fn program_files() -> Vec<TextFile> {
    files(".rs").into_iter().filter(|file| !file.is_test()).collect()
}

/// Whether `text` has `word` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joins(before) && !joins(after)
    })
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = program_files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    assert!(silent.is_empty(), "begin these files with `//! ` and their purpose: {silent:#?}");
}

#[test]
fn no_file_of_the_program_is_too_long_to_take_in() {
    for file in program_files() {
        let lines = file.text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines; divide it by idea", file.path);
    }
}

#[test]
fn no_word_of_unfinished_work_stands_outside_tests() {
    let mut found = Vec::new();
    for file in program_files() {
        for (number, line) in file.without_tests().lines().enumerate() {
            let unfinished = UNFINISHED.iter().find(|word| has_word(line, word));
            if let Some(word) = unfinished {
                found.push(format!("{}:{}: {word}", file.path, number + 1));
            }
        }
    }
    assert!(found.is_empty(), "finish or reword: {found:#?}");
}

#[test]
fn a_word_is_found_only_as_a_whole_word() {
    assert!(has_word("// see the note for it.", "note"));
    assert!(!has_word("// footnotes", "note"));
    assert!(has_word("note: x", "note"));
    assert!(!has_word("note_x", "note"));
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    let allow = concat!("#[al", "low(");
    let allow_inner = concat!("#![al", "low(");
    let expect = concat!("#[exp", "ect(");
    for file in program_files() {
        let text = file.without_tests();
        let allowed = text.contains(allow) || text.contains(allow_inner);
        assert!(!allowed, "{}: use #[expect(.., reason = \"..\")]", file.path);
        for (at, _) in text.match_indices(expect) {
            let end = text[at..].find(")]").map_or(text.len(), |length| at + length);
            assert!(
                text[at..end].contains("reason"),
                "{}: an expected lint needs its reason",
                file.path
            );
        }
    }
}

#[test]
fn nothing_names_a_machines_folder_or_a_package_registry() {
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("crates", ".io"),
        concat!("docs", ".rs"),
        concat!("py", "pi.org"),
        concat!("npm", "js."),
    ];
    let mut texts = files(".rs");
    for ending in [".toml", ".md", ".py", ".sql", ".dtd", ".txt"] {
        texts.extend(files(ending));
    }
    let others = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "Makefile"];
    let scripts = ["scripts/bootstrap", "scripts/build-rocksdb", "scripts/prune-target"];
    let documents = ["docs/standards.md", "docs/formats.md", "docs/benchmarks.md", "Cargo.toml"];
    for path in others.into_iter().chain(scripts).chain(documents) {
        texts.push(TextFile { path: path.to_owned(), text: read(path) });
    }
    for file in texts {
        for word in forbidden {
            assert!(!file.text.contains(word), "{}: {word} belongs to one machine", file.path);
        }
    }
}

#[test]
fn a_test_is_ignored_only_for_want_of_something_that_its_reason_names() {
    let ignore = concat!("#[ig", "nore");
    for file in files(".rs") {
        for (at, _) in file.text.match_indices(ignore) {
            let reason = file.text[at + ignore.len()..].starts_with(" = \"");
            assert!(reason, "{}: mend the test, or say what it needs to run", file.path);
        }
    }
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for file in files(".rs") {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for part in parts {
            assert!(!EMPTY_NAMES.contains(&part), "{}: name it by its idea", file.path);
        }
    }
}

#[test]
fn every_relative_link_in_the_documents_leads_to_a_file() {
    let documents =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "docs/benchmarks.md"];
    for document in documents {
        let folder = root().join(document).parent().unwrap().to_owned();
        for link in read(document).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(
                    folder.join(target).exists(),
                    "{document} links to {target}, which is absent"
                );
            }
        }
    }
}
