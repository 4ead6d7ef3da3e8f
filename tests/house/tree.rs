//! Reads the repository: its folder, its files by kind, their text.

use std::path::{Path, PathBuf};

/// The folders that hold Rust code of the project.
pub(crate) const CODE_FOLDERS: [&str; 8] =
    ["src", "trust", "storage", "snapshots", "protocols", "conservation", "tests", "benches"];

/// One text file, with its path from the root.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TextFile {
    /// Whether the file holds only tests or measures.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("benches/")
            || self.path.contains("/tests/")
            || self.path.contains("/simulation/")
            || self.path.ends_with("tests.rs")
    }

    /// The part in front of the file's own tests. A module of tests that stands in a file of its own ends
    /// nothing.
    pub(crate) fn without_tests(&self) -> &str {
        let mut begun = self.text.match_indices("\n#[cfg(test)]\nmod ");
        let own = begun.find(|(at, mark)| {
            let declared = self.text[at + mark.len()..].lines().next();
            declared.is_some_and(|line| line.ends_with('{'))
        });
        own.map_or(&self.text, |(at, _)| &self.text[..at])
    }
}

/// The repository's root folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads one file of the repository; a missing file fails the test.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file with this ending under the folders of code, in path order.
pub(crate) fn files(ending: &str) -> Vec<TextFile> {
    let mut paths = Vec::new();
    for folder in CODE_FOLDERS {
        collect(&root().join(folder), ending, &mut paths);
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            TextFile { text: read(&relative), path: relative }
        })
        .collect()
}

fn collect(folder: &Path, ending: &str, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, ending, paths);
        } else if path.to_string_lossy().ends_with(ending) {
            paths.push(path);
        }
    }
}
