//! The list of rules in docs/pec_rules.md against the tests of the tree.

use std::collections::BTreeSet;

use crate::tree::{files, read};

const LIST: &str = "docs/pec_rules.md";

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
