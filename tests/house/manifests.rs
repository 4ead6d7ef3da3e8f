//! Floors, lints and versions, read from the manifests.

use toml::{Table, Value};

use crate::tree::read;

/// Each member with the floors that it may import from, lowest first.
const FLOORS: [(&str, &[&str]); 6] = [
    ("trust", &[]),
    ("storage", &["trust"]),
    ("snapshots", &["trust", "storage"]),
    ("protocols", &["trust", "storage", "snapshots"]),
    ("conservation", &["trust", "storage", "snapshots"]),
    (".", &["trust", "storage", "snapshots", "protocols", "conservation"]),
];

fn manifest(folder: &str) -> Table {
    read(&format!("{folder}/Cargo.toml")).parse().unwrap()
}

fn members() -> Vec<String> {
    let root = manifest(".");
    let listed = root["workspace"]["members"].as_array().unwrap();
    let mut members: Vec<String> =
        listed.iter().map(|member| member.as_str().unwrap().to_owned()).collect();
    members.push(".".to_owned());
    members
}

/// The dependencies of every kind, with the manifest's value for each.
fn dependencies(manifest: &Table) -> Vec<(String, Value)> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|kind| manifest.get(*kind)?.as_table())
        .flat_map(|table| table.iter().map(|(name, value)| (name.clone(), value.clone())))
        .collect()
}

#[test]
fn every_member_stands_on_a_floor() {
    let mut members = members();
    members.sort();
    let mut floors: Vec<String> = FLOORS.iter().map(|(member, _)| (*member).to_owned()).collect();
    floors.sort();
    assert_eq!(members, floors, "a new crate needs its floor in ARCHITECTURE.md and here");
}

#[test]
fn a_crate_imports_only_from_floors_below() {
    let ours: Vec<&str> = FLOORS.iter().map(|(member, _)| *member).collect();
    for (member, below) in FLOORS {
        for (name, _) in dependencies(&manifest(member)) {
            // Tests of a crate may name the crate itself, nothing above.
            if ours.contains(&name.as_str()) && name != member {
                assert!(
                    below.contains(&name.as_str()),
                    "{member} imports {name}, which is not below it"
                );
            }
        }
    }
}

#[test]
fn protocols_know_no_storage_engine_and_storage_no_protocol() {
    let banned = [
        ("protocols", "rocksdb"),
        ("protocols", "sqlx"),
        ("storage", "imap-codec"),
        ("storage", "sqlx"),
    ];
    for (member, name) in banned {
        let found =
            dependencies(&manifest(member)).iter().any(|(dependency, _)| dependency == name);
        assert!(!found, "{member} must not depend on {name}");
    }
}

#[test]
fn every_version_stands_in_the_root_manifest() {
    for member in members() {
        for (name, value) in dependencies(&manifest(&member)) {
            let inherited = value.get("workspace").and_then(Value::as_bool);
            assert_eq!(inherited, Some(true), "{member}: write `{name}.workspace = true`");
        }
    }
}

#[test]
fn every_member_inherits_the_lints_and_the_package_fields() {
    for member in members() {
        let manifest = manifest(&member);
        let inherits =
            |table: &Value, key: &str| table.get(key).and_then(Value::as_bool) == Some(true);
        assert!(inherits(&manifest["lints"], "workspace"), "{member}: [lints] workspace = true");
        for field in ["version", "edition", "rust-version", "license", "publish"] {
            let value = &manifest["package"][field];
            assert!(inherits(value, "workspace"), "{member}: {field}.workspace = true");
        }
    }
}

#[test]
fn no_member_but_the_root_workspace_sets_lint_levels() {
    for member in members() {
        let manifest = manifest(&member);
        let lints = manifest["lints"].as_table().unwrap();
        assert_eq!(lints.len(), 1, "{member}: lint levels stand in the root manifest only");
    }
}

#[test]
fn the_prebuilt_rocksdb_is_the_one_that_the_workspace_links() {
    let workspace = manifest(".")["workspace"]["dependencies"]["rocksdb"].clone();
    let prebuilt = manifest("scripts/rocksdb-static")["dependencies"]["rocksdb"].clone();
    assert_eq!(
        workspace, prebuilt,
        "version and features of rocksdb must be equal in both manifests"
    );
    let locked = |path: &str| {
        let lock: Table = read(path).parse().unwrap();
        let packages = lock["package"].as_array().unwrap().clone();
        let found = packages
            .into_iter()
            .find(|package| package["name"].as_str() == Some("librocksdb-sys"))
            .unwrap_or_else(|| panic!("{path} has no librocksdb-sys"));
        found["version"].as_str().unwrap().to_owned()
    };
    assert_eq!(locked("Cargo.lock"), locked("scripts/rocksdb-static/Cargo.lock"));
}
