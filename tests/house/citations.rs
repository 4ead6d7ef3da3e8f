//! Citations in code against the table of docs/standards.md, both ways.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{files, read};

/// A rule as code and table write it: `RFC 5321`, `DM 2 November 2005`, `DPR 68/2005`.
type Rule = String;

/// Finds every citation in `text`, without its section.
///
/// `RFC nnnn`; and a decree: `DM` or `DPCM` day month year, `DPR` or `DL` number/year.
fn citations(text: &str) -> BTreeSet<Rule> {
    // A citation may be broken over two comment lines.
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| !matches!(*word, "//" | "///" | "//!" | "*"))
        .map(|word| word.trim_start_matches(['(', '`', '[', '"', '\'']))
        .collect();
    (0..words.len()).filter_map(|at| citation(&words[at..])).collect()
}

fn citation(words: &[&str]) -> Option<Rule> {
    let word = |at: usize| words.get(at).map(|word| leading(word, char::is_alphanumeric));
    let number = |at: usize| {
        let digits = leading(words.get(at)?, |c| c.is_ascii_digit());
        (!digits.is_empty()).then_some(digits)
    };
    match *words.first()? {
        "RFC" => Some(format!("RFC {}", number(1).filter(|digits| digits.len() >= 3)?)),
        kind @ ("DM" | "DPCM") => {
            let year = number(3).filter(|digits| digits.len() == 4)?;
            Some(format!("{kind} {} {} {year}", number(1)?, word(2)?))
        }
        kind @ ("DPR" | "DL") => {
            let (act, year) = words.get(1)?.split_once('/')?;
            let year = leading(year, |c| c.is_ascii_digit());
            let numbered = !act.is_empty() && act.chars().all(|c| c.is_ascii_digit());
            (numbered && year.len() == 4).then(|| format!("{kind} {act}/{year}"))
        }
        _ => None,
    }
}

fn leading(word: &str, accepts: impl Fn(char) -> bool) -> &str {
    &word[..word.find(|c| !accepts(c)).unwrap_or(word.len())]
}

/// The table's rows: rule and status.
fn rows(table: &str) -> BTreeMap<Rule, String> {
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells.len() < 3 || cells[0] == "Rule" || cells[0].starts_with("---") {
            continue;
        }
        let repeated = rows.insert(cells[0].to_owned(), cells[cells.len() - 1].to_owned());
        assert_eq!(repeated, None, "docs/standards.md has two rows for {}", cells[0]);
    }
    rows
}

fn cited_in_code() -> BTreeMap<Rule, String> {
    let mut cited = BTreeMap::new();
    for file in files(".rs").into_iter().filter(|file| !file.path.starts_with("tests/house/")) {
        for rule in citations(&file.text) {
            cited.entry(rule).or_insert(file.path.clone());
        }
    }
    cited
}

#[test]
fn citations_are_found_in_every_form() {
    let text = "/// (RFC 5321 §4.2), RFC 9051's, `RFC 822`; RFC\n/// 6109 §3, DM 2 November 2005 art. 12, DPR 68/2005 art. 3; RFC and DM alone";
    let expected =
        ["DM 2 November 2005", "DPR 68/2005", "RFC 5321", "RFC 6109", "RFC 822", "RFC 9051"];
    assert_eq!(citations(text), expected.map(str::to_owned).into());
}

#[test]
fn every_citation_in_code_has_a_row_in_the_table_of_standards() {
    let rows = rows(&read("docs/standards.md"));
    let missing: Vec<String> = cited_in_code()
        .into_iter()
        .filter(|(rule, _)| !rows.contains_key(rule))
        .map(|(rule, path)| format!("{rule} (cited in {path})"))
        .collect();
    assert!(missing.is_empty(), "add rows to docs/standards.md: {missing:#?}");
}

#[test]
fn every_rule_called_obeyed_or_partly_obeyed_is_cited_in_code() {
    let cited = cited_in_code();
    for (rule, status) in rows(&read("docs/standards.md")) {
        let claims = matches!(status.split(':').next().map(str::trim), Some("obeyed" | "partly"));
        assert!(claims || status == "planned", "{rule}: unknown status `{status}`");
        assert!(
            !claims || cited.contains_key(&rule),
            "{rule} is called {status}, but no code cites it"
        );
    }
}
