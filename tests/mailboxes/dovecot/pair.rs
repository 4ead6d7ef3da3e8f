//! Sessions in pairs: what one server is told the other is told too.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::canonical::View;
use crate::{
    server::Running,
    wire::{Answer, Piece, Wire},
};

/// Debian's; it comes with dovecot-imapd.
const PROGRAM: &str = "/usr/lib/dovecot/imap";
const PATIENCE: Duration = Duration::from_mins(2);
/// `nobody` and its group on Debian.
const NOBODY: u32 = 65_534;

/// One of the two servers as a session sees it.
pub(crate) struct Side {
    pub(crate) wire: Wire,
    pub(crate) view: View,
    /// Values of this server that the script goes back to, by the name of their mailbox.
    pub(crate) mod_seqs: Vec<u64>,
    child: Option<Child>,
}

impl Side {
    fn new(wire: Wire, child: Option<Child>) -> Self {
        Self { wire, view: View::default(), mod_seqs: Vec::new(), child }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A session on both.
pub(crate) struct Session {
    pub(crate) ours: Side,
    pub(crate) theirs: Side,
}

impl Session {
    /// Says the same to both. `{modseq:N}` and `{uidvalidity}` become each one's own values.
    pub(crate) fn say(&mut self, pieces: &[Piece]) -> (Answer, Answer) {
        let [ours, theirs] = [&mut self.ours, &mut self.theirs].map(|side| {
            let pieces: Vec<Piece> = pieces.iter().map(|piece| side.own_values(piece)).collect();
            side.wire.command(&pieces)
        });
        (ours, theirs)
    }
}

impl Side {
    fn own_values(&self, piece: &Piece) -> Piece {
        let Piece::Text(text) = piece else { return piece.clone() };
        let mut text = text.replace("{uidvalidity}", &self.view.uid_validity.to_string());
        while let Some(begin) = text.find("{modseq:") {
            let end = begin + text[begin..].find('}').expect("its end");
            let slot: usize = text[begin + 8..end].parse().expect("a slot");
            text.replace_range(begin..=end, &self.mod_seqs[slot].to_string());
        }
        Piece::Text(text)
    }
}

/// Both servers, with the same mailboxes.
pub(crate) struct Pair<'s> {
    server: &'s Running,
    folder: tempfile::TempDir,
}

impl<'s> Pair<'s> {
    pub(crate) fn new(server: &'s Running) -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: scripts/bootstrap test");
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let configuration = format!(
            "base_dir = {root}/run\nlog_path = {root}/log\nmail_location = mdbox:{root}/mail\nssl = no\n\
             mail_plugins =\nmail_max_keyword_length = 100\nnamespace inbox {{\n  inbox = yes\n  separator = /\n}}\n"
        );
        std::fs::write(folder.path().join("dovecot.conf"), configuration).unwrap();
        std::fs::write(folder.path().join("log"), "").unwrap();
        for name in ["run", "mail"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        if nix::unistd::geteuid().is_root() {
            for name in ["", "run", "mail", "log"] {
                std::os::unix::fs::chown(folder.path().join(name), Some(NOBODY), Some(NOBODY))
                    .unwrap();
            }
        }
        Self { server, folder }
    }

    /// A session on both.
    pub(crate) fn session(&self) -> Session {
        let ours = Side::new(self.server.connect(), None);
        Session { ours, theirs: self.dovecot() }
    }

    fn dovecot(&self) -> Side {
        let (own, other) = UnixStream::pair().unwrap();
        own.set_read_timeout(Some(PATIENCE)).unwrap();
        let other = OwnedFd::from(other);
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(self.folder.path().join("dovecot.conf"));
        command.env_clear().env("USER", "anna").env("HOME", self.folder.path().join("mail"));
        command.current_dir(self.folder.path());
        command.stdin(Stdio::from(other.try_clone().unwrap())).stdout(Stdio::from(other));
        command.stderr(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().unwrap();
        drop(command);
        let mut wire = Wire::new(own.try_clone().unwrap(), own);
        wire.response();
        Side::new(wire, Some(child))
    }

    /// What Dovecot logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
