//! The line that says how far a command is: on a terminal, for people, and nowhere else.

use std::{
    io::Read as _,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use nix::pty::{Winsize, openpty};

use super::{
    Site, stdout,
    store::{account, append, with_store},
};

/// Makes two packs of this many octets or a little more.
const PACK_OCTETS: usize = 300_000;

/// A scrub that rests a third of a second after each of the packs.
const SCRUB: [&str; 4] = ["store", "scrub", "--octets-per-second", "900000"];

fn site() -> Site {
    let site = Site::new();
    with_store(site.folder.path(), async |store| {
        let anna = account(store, 1, "anna@pec.example").await;
        for seed in 1..=2 {
            append(store, &anna, seed, PACK_OCTETS).await;
        }
    });
    site
}

/// Runs a command with a terminal as its standard error; what the terminal got, and the rest.
fn on_a_terminal(site: &Site, arguments: &[&str], language: &str) -> (String, String) {
    let window = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&window), None).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut master, mut shown, mut octets) =
            (std::fs::File::from(pty.master), Vec::new(), [0; 4_096]);
        // A terminal whose last user has gone answers with an error.
        while let Ok(count @ 1..) = master.read(&mut octets) {
            shown.extend_from_slice(&octets[..count]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let terminal: OwnedFd = pty.slave;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceralacca"));
    command
        .args(arguments)
        .current_dir(site.folder.path())
        .env_clear()
        .envs([("LANG", language), ("TERM", "xterm")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(terminal);
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    // It holds the terminal too.
    drop(command);
    assert!(output.status.success());
    (reader.join().unwrap(), stdout(&output))
}

#[test]
fn a_person_at_a_terminal_sees_how_far_it_is_and_nobody_else_does() {
    let site = site();
    for (language, line, left, report) in [
        ("it_IT.UTF-8", "ottetti di pack letti [", "mancano", "Pack letti 2"),
        ("en_GB.UTF-8", "octets of packs read [", " left)", "Packs read 2"),
    ] {
        let (shown, printed) = on_a_terminal(&site, &SCRUB, language);
        assert!(shown.contains(line) && shown.contains(left), "{shown:?}");
        assert!(printed.starts_with(report), "{printed}");
        // The line is cleared at the end, and nothing of it went into the report.
        assert!(shown.trim_end().ends_with("\u{1b}[2K"), "{shown:?}");
        assert!(!printed.contains('['), "{printed}");
    }
    let (shown, printed) = on_a_terminal(&site, &[&SCRUB[..], &["--json"]].concat(), "it_IT.UTF-8");
    assert_eq!(shown, "", "a program asked");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap()["run"]["packs"], 2);
    let piped = site.run(&SCRUB);
    assert!(piped.status.success() && piped.stderr.is_empty(), "{piped:?}");
}
