//! A folder that is made once in a test process and copied for each test: keys and accounts take
//! longer to make than most tests.
//!
//! It goes when the process ends, however it ends: a shell waits for that and removes it.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

pub(crate) struct Template(OnceLock<(PathBuf, Child)>);

impl Template {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// A copy of what `make` puts into an empty folder.
    pub(crate) fn copy(&self, make: impl FnOnce(&Path)) -> tempfile::TempDir {
        let (template, _) = self.0.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder").keep();
            let mut shell = Command::new("sh");
            // In a process group of its own: what ends the tests must not end it.
            shell.args(["-c", "trap '' INT TERM HUP; read -r _; rm -rf \"$0\""]).arg(&folder);
            shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let shell = shell.process_group(0).spawn().expect("a shell");
            make(&folder);
            (folder, shell)
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copied =
            Command::new("cp").arg("-a").arg(template.join(".")).arg(folder.path()).status();
        assert!(copied.expect("cp runs").success());
        folder
    }
}
