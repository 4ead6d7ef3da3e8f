//! What `packaging/` promises.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{run, stdout};

fn packaged(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

#[test]
fn the_sample_configuration_is_what_the_program_prints() {
    let folder = tempfile::tempdir().unwrap();
    for (file, language) in
        [("ceralacca.toml", "it_IT.UTF-8"), ("ceralacca.en.toml", "en_GB.UTF-8")]
    {
        let printed = run(folder.path(), &["config", "example"], "", language);
        let sample = std::fs::read_to_string(packaged(file)).unwrap();
        assert!(
            sample == stdout(&printed),
            "packaging/{file} is old: LANG={language} ceralacca config example > packaging/{file}"
        );
    }
}

/// Systemd's own tools, where the machine has them.
#[test]
fn systemd_accepts_the_unit_and_finds_little_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("ceralacca.service");
    let text = std::fs::read_to_string(packaged("systemd/ceralacca.service")).unwrap();
    let here = text.replace("/usr/bin/ceralacca", env!("CARGO_BIN_EXE_ceralacca"));
    let here = here.replace("Documentation=file:///usr/share/doc", "Documentation=file:///tmp");
    std::fs::write(&unit, here).unwrap();
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        let note = "systemd-analyze is not on this machine: the unit was only read\n";
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("ceralacca")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(&unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&security.stdout);
    assert!(security.status.success(), "exposed more than 2.0:\n{said}");
}
