//! The list of rules in docs/pec_rules.md against the tests of the tree.

use std::collections::BTreeSet;

use crate::tree::{files, read};

const LIST: &str = "docs/pec_rules.md";

/// What the rules enumerate, so that a row left out is missed.
struct Chapter {
    of: &'static str,
    rows: &'static [&'static str],
}

const EXPECTED: [Chapter; 3] = [
    Chapter {
        of: "headers (RFC 6109 §8.1)",
        rows: &[
            "X-Riferimento-Message-ID",
            "X-Ricevuta",
            "X-VerificaSicurezza",
            "X-Trasporto",
            "X-TipoRicevuta",
            "X-Mittente",
        ],
    },
    Chapter {
        of: "children of dati by kind (RFC 6109 §4.4)",
        rows: &[
            "dati of accettazione",
            "dati of non-accettazione",
            "dati of posta-certificata",
            "dati of presa-in-carico",
            "dati of avvenuta-consegna",
            "dati of errore-consegna",
            "dati of errore-consegna, for a virus",
            "dati of rilevazione-virus",
            "dati of preavviso-errore-consegna",
        ],
    },
    Chapter {
        of: "the incoming point (RFC 6109 §2.2.2, §3.2)",
        rows: &[
            "envelope: charge taken, delivered",
            "envelope with a virus: charge taken, told for each recipient, kept",
            "receipt or notice: passed on, nothing emitted",
            "malformed, from a provider: always wrapped",
            "ordinary mail: wrapped, or refused by policy",
            "ordinary mail with a virus: refused, no notice",
        ],
    },
];

/// Rows of `text`: the rule, and the tests that the last cell names.
fn rows(text: &str) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    for line in
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| RFC 6109 |"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [section, row, tests] = cells[..] else { panic!("{LIST}: three cells: {line}") };
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        rows.push((format!("{section}, {row}"), tests));
    }
    rows
}

/// Names of the functions that carry a test attribute, and nothing else between.
fn tests_of(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let name = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        match name.and_then(|rest| rest.split_once('(')) {
            Some((name, _)) if is_test => {
                found.insert(name.to_owned());
                is_test = false;
            }
            Some(_) => is_test = false,
            None if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => {
                is_test = true;
            }
            None => {}
        }
    }
    found
}

#[test]
fn every_rule_of_the_list_names_tests_that_are_there() {
    let mut there = BTreeSet::new();
    for file in files(".rs") {
        there.extend(tests_of(&file.text));
    }
    let rows = rows(&read(LIST));
    assert!(rows.len() > 100, "{LIST} has {} rows", rows.len());
    for chapter in EXPECTED {
        for row in chapter.rows {
            let there = rows
                .iter()
                .any(|(found, _)| found.split_once(", ").is_some_and(|(_, found)| found == *row));
            assert!(there, "{LIST}: {}: no row \"{row}\"", chapter.of);
        }
    }
    for (row, tests) in rows {
        assert!(!tests.is_empty(), "{LIST}: {row}: no test");
        for test in tests {
            assert!(there.contains(&test), "{LIST}: {row}: there is no test {test}");
        }
    }
}

#[test]
fn only_functions_under_a_test_attribute_are_tests() {
    let text = "#[test]\nfn one() {\n}\nfn two() {\n}\n#[tokio::test(flavor = \"x\")]\nasync fn three() {}\n";
    assert_eq!(tests_of(text), ["one", "three"].map(str::to_owned).into());
    let row = "| RFC 6109 | Row | Tests |\n|---|---|---|\n| §1 | a | `one`, `three` |\n";
    assert_eq!(rows(row), [("§1, a".to_owned(), vec!["one".to_owned(), "three".to_owned()])]);
}
