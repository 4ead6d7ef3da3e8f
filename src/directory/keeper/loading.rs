//! The copies as a start finds them on disk, and what of one that is taken stays to compare with.
//!
//! Not here: what is fetched later ([`super`]), the files ([`crate::directory::copies`]).

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{DirectoryKeeper, Held, State};
use crate::directory::{
    copies::{CopyNote, Notes, Which},
    signed::{CopyRefused, Own, SignedDirectory, SignerRule},
    status::Outcome,
};

/// What came of reading the copies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    /// None was refused.
    whole: bool,
    /// The one in use has a signer that the configuration does not name any more.
    signed_by_another: bool,
}

impl DirectoryKeeper {
    /// Fetches the first copy, and one by the signer of now where the copy has the one before.
    pub(super) async fn begin(&self, loaded: Loaded) -> anyhow::Result<()> {
        let settings = &self.config.directory;
        let Some(url) = &settings.fetch.url else { return Ok(()) };
        let there = self.state.lock().await.current.is_some();
        if there && settings.ldif_file.is_some() {
            tracing::warn!("directory.ldif_file is not read: there is a copy from directory.url");
        }
        if there && !loaded.signed_by_another {
            return Ok(());
        }
        let error = match self.fetch().await {
            Ok(Outcome::Held { why, .. }) if !there => anyhow::anyhow!(
                "the last good copy is gone, and the one of the server is not believed without it: {why}. Judge that one with `ceralacca directory verify`; it is taken when {} is removed",
                self.config.data.directory_folder().join("notes.json").display()
            ),
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if there {
            tracing::error!(error = %format_args!("{error:#}"), "the directory was not fetched: the last good copy stays in use");
            return Ok(());
        }
        // A copy that was refused had more providers than a file to begin with.
        if !loaded.whole || settings.ldif_file.is_none() {
            return Err(error.context(format!(
                "there is no copy of the directory yet and {url} gives none: check [directory], or give directory.ldif_file to begin with"
            )));
        }
        tracing::error!(error = %format_args!("{error:#}"), "the directory was not fetched: directory.ldif_file is all there is");
        Ok(())
    }

    /// Reads copies and notes from disk, and judges them again.
    pub(super) async fn load(&self) -> anyhow::Result<Loaded> {
        let mut state = self.state.lock().await;
        let mut loaded = Loaded { whole: true, signed_by_another: false };
        if self.config.directory.fetch.url.is_none() {
            return Ok(loaded);
        }
        state.notes = self.copies.notes().context("reading the directory's notes")?;
        let own = self.own(&state.domains)?;
        for which in [Which::Current, Which::Held] {
            let read = self.copies.read(which).context("reading the directory's copy")?;
            let Some(octets) = read.map(Bytes::from) else { continue };
            let digest = hex::encode(Sha256Digest::of(&octets).0);
            if which == Which::Held && state.notes.of(which, &digest).is_none() {
                // What a crash left, or somebody put there: nobody has weighed it.
                tracing::warn!(digest, "a copy waits of which there is no note: it is removed");
                self.copies.drop_held().context("removing the copy that waited")?;
                continue;
            }
            match self.judge_again(octets, which, (&state.notes, own.clone())).await {
                Ok((copy, another)) if which == Which::Current => {
                    loaded.signed_by_another = another;
                    state.current = Some(Arc::new(copy));
                }
                Ok((copy, _)) => {
                    let current = state.current.as_deref();
                    let (changes, doubt) = self.doubt(&state.notes, current, &copy)?;
                    let why = doubt.unwrap_or_else(|| "it waits since before the start".to_owned());
                    state.held = Some(Held { copy: Arc::new(copy), why, changes });
                }
                Err(error) => {
                    loaded.whole = false;
                    tracing::error!(error = %format_args!("{error:#}"), copy = ?which, "the directory's copy on disk is refused: it was changed, or [directory] was");
                }
            }
        }
        let current = state.current.as_ref().map(|copy| copy.digest.as_str());
        let held = state.held.as_ref().map(|held| held.copy.digest.as_str());
        if loaded.signed_by_another || !state.notes.are_of(current, held) {
            // The server must not say that what is not here is the newest.
            (state.notes.etag, state.notes.last_modified) = (None, None);
        }
        Ok(loaded)
    }

    /// Verifies a copy from disk as of its fetch. Says with it whether it is one that was taken when
    /// the configuration named another signer.
    async fn judge_again(
        &self,
        octets: Bytes,
        which: Which,
        (notes, own): (&Notes, Own),
    ) -> anyhow::Result<(SignedDirectory, bool)> {
        let rule = self.rule.clone().context("the configuration does not say who signs")?;
        let digest = hex::encode(Sha256Digest::of(&octets).0);
        let instant = notes.judged_at(which, &digest, self.clock.now());
        let note = notes.of(which, &digest).cloned();
        let signer = note.as_ref().map(|note| note.signer.clone());
        let (copy, another) = tokio::task::spawn_blocking(move || {
            let judged = rule.verify(&octets, &own, instant);
            match (judged, signer) {
                (Err(CopyRefused::Signer(_)), Some(signer)) if which == Which::Current => {
                    SignerRule::verify_taken(&octets, &own, instant, &signer)
                        .map(|copy| (copy, true))
                }
                (judged, _) => judged.map(|copy| (copy, false)),
            }
        })
        .await??;
        if another {
            tracing::warn!(signer = ?copy.signer, "the directory's copy has a signer that [directory] does not name any more: it stays in use until there is a newer one");
        }
        let older =
            notes.signed_millis.is_some_and(|last| copy.signed.is_none_or(|at| at.0 < last));
        anyhow::ensure!(
            note.is_some() || !older,
            "it was signed before the last copy that was taken: an old one was put there"
        );
        Ok((copy, another))
    }

    /// Keeps what the copy just taken, which follows `before`, is compared with on days to come. An operator
    /// has seen what he accepts: it is compared with nothing before it.
    pub(super) fn keep_past(
        &self,
        state: &State,
        before: Option<(Arc<SignedDirectory>, CopyNote)>,
        accepted: bool,
    ) {
        let keep = || {
            if accepted {
                self.past.forget()?;
            } else if let Some((current, note)) = before
                && self.past.is_empty()?
            {
                self.past.keep(&current.directory, UnixMillis(note.fetched_millis))?;
            }
            let Some(copy) = &state.current else { return Ok(()) };
            self.past.keep(&copy.directory, self.clock.now())
        };
        if let Err(error) = keep() {
            tracing::error!(%error, "the directory of today was not kept to compare with: a slow drain may not be seen");
        }
    }
}
