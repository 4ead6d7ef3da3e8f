//! The two commands that the README promises, and what continuous integration runs.

use crate::tree::{read, root};

/// The recipe lines of a Makefile target.
fn recipe(makefile: &str, target: &str) -> Vec<String> {
    makefile
        .lines()
        .skip_while(|line| *line != format!("{target}:"))
        .skip(1)
        .take_while(|line| line.starts_with('\t'))
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn the_readme_names_both_commands_before_its_first_chapter() {
    let readme = read("README.md");
    let opening = readme.split("\n## ").next().unwrap();
    for command in ["make demo", "make test"] {
        let named = opening.lines().any(|line| line.starts_with(command));
        assert!(named, "the README must open with `{command}` on a line of its own");
    }
}

#[test]
fn continuous_integration_runs_make_test_and_nothing_else() {
    let script = read(".ci/run");
    let commands: Vec<&str> = script
        .lines()
        .filter(|line| {
            !line.starts_with('#') && !line.starts_with("set ") && !line.starts_with("cd ")
        })
        .collect();
    assert_eq!(commands, ["make test"]);
}

#[test]
fn make_test_formats_lints_and_ends_with_cargo_test() {
    let recipe = recipe(&read("Makefile"), "test");
    assert!(recipe.iter().any(|line| line.contains("cargo fmt --all --check")), "{recipe:?}");
    assert!(recipe.iter().any(|line| line.contains("clippy") && line.contains("-D warnings")));
    let last = recipe.last().unwrap();
    assert!(last.starts_with("cargo test --workspace"), "the last step must be cargo test: {last}");
    assert!(!last.contains('|'), "a pipe would hide a failure");
}

#[test]
fn every_target_bootstraps_its_own_needs() {
    let makefile = read("Makefile");
    for (target, needs) in [
        ("demo", "demo"),
        ("test", "test"),
        ("check", "check"),
        ("bench", "bench"),
        ("lint", "check"),
    ] {
        assert_eq!(recipe(&makefile, target)[0], format!("@scripts/bootstrap {needs}"));
    }
}

#[test]
fn the_scripts_can_be_executed() {
    use std::os::unix::fs::PermissionsExt;
    for script in [".ci/run", "scripts/bootstrap", "scripts/build-rocksdb", "scripts/prune-target"]
    {
        let mode = root().join(script).metadata().unwrap().permissions().mode();
        assert_ne!(mode & 0o111, 0, "{script} must be executable");
    }
}

#[test]
fn publiccode_describes_the_program_in_italian_and_english() {
    let description = read("publiccode.yml");
    for line in ["publiccodeYmlVersion: \"0.4\"", "  it:", "  en:", "  license: Apache-2.0"] {
        assert!(description.lines().any(|found| found == line), "publiccode.yml lacks `{line}`");
    }
    let version = read("Cargo.toml");
    let version = version.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    let promised = description.lines().find_map(|line| line.strip_prefix("softwareVersion: "));
    assert_eq!(promised, Some(version), "softwareVersion must follow Cargo.toml");
}
