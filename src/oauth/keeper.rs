//! Where the issuer's keys come from: a file of this machine, or its server over HTTPS.
//!
//! Invariants:
//!
//! * The last good set counts until another one comes; one from the server is kept in the data
//!   folder, so that a restart does not depend on the server.
//! * A set without keys is a set: who has withdrawn them lets nobody in.
//! * A token with an unknown key makes the keys be read again, at most once in
//!   `oauth.keys_retry`, whoever sends how many.
//!
//! Not here: what keys do ([`super::keys`]).

use std::{
    error::Error,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::keys::KeySet;
use crate::{
    config::IssuerKeySettings,
    directory::fetch::{Fetched, Fetcher, Validators},
    durable::{self, Readers},
};

/// Where keys are read.
#[derive(Debug)]
pub enum KeySource {
    /// A file of this machine.
    File(PathBuf),
    /// The issuer's server, and where the last good set is kept.
    Server {
        /// Gets it.
        fetcher: Fetcher,
        /// The copy.
        copy: PathBuf,
    },
}

/// The last reading.
#[derive(Debug, Default)]
struct Reading {
    at: Option<Instant>,
    validators: Validators,
}

/// Keeps the keys of one issuer.
#[derive(Debug)]
pub struct KeyKeeper {
    source: KeySource,
    refresh: Duration,
    retry: Duration,
    current: RwLock<Option<Arc<KeySet>>>,
    reading: tokio::sync::Mutex<Reading>,
}

impl KeyKeeper {
    /// Takes what is here: the file, or the copy of what the server said last.
    ///
    /// # Errors
    ///
    /// When the configured file cannot be used. A copy that cannot is passed over with a warning.
    pub fn open(settings: &IssuerKeySettings, source: KeySource) -> anyhow::Result<Arc<Self>> {
        let current = match &source {
            KeySource::File(file) => Some(Arc::new(
                read(file)?
                    .with_some()
                    .with_context(|| format!("reading the keys in {}", file.display()))?,
            )),
            KeySource::Server { copy, .. } if copy.exists() => read(copy)
                .map(Arc::new)
                .inspect_err(|error| tracing::warn!(?error, "keys are fetched anew"))
                .ok(),
            KeySource::Server { .. } => None,
        };
        Ok(Arc::new(Self {
            source,
            refresh: settings.refresh.duration(),
            retry: settings.retry.duration(),
            current: RwLock::new(current),
            reading: tokio::sync::Mutex::default(),
        }))
    }

    /// The keys in use; `None` when none were to be had so far.
    #[must_use]
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys again, unless that was done a moment ago, and returns those in use then.
    pub async fn read_again(&self) -> Option<Arc<KeySet>> {
        self.look(self.retry).await;
        self.current()
    }

    /// Reads the keys again and again, until the stop.
    pub async fn keep(self: Arc<Self>, stopping: CancellationToken) {
        loop {
            let pause = if self.look(Duration::ZERO).await { self.refresh } else { self.retry };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Reads the keys unless they were read within `pause`; false after a failure.
    async fn look(&self, pause: Duration) -> bool {
        let mut reading = self.reading.lock().await;
        if reading.at.is_some_and(|at| at.elapsed() < pause) {
            return true;
        }
        reading.at = Some(Instant::now());
        match self.read(&mut reading.validators).await {
            Ok(Some(keys)) => {
                tracing::info!(?keys, "the issuer's keys were read");
                let keys = Some(Arc::new(keys));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = keys;
                true
            }
            Ok(None) => true,
            Err(error) => {
                let error: &(dyn Error + 'static) = error.as_ref();
                tracing::warn!(error, "the issuer's keys cannot be read: those before them count");
                false
            }
        }
    }

    async fn read(&self, validators: &mut Validators) -> anyhow::Result<Option<KeySet>> {
        let (fetcher, copy) = match &self.source {
            KeySource::File(file) => return Ok(Some(read(file)?)),
            KeySource::Server { fetcher, copy } => (fetcher, copy),
        };
        let url = &fetcher.url;
        let known =
            if self.current().is_some() { validators.clone() } else { Validators::default() };
        let answer = fetcher.get(&known).await.with_context(|| format!("fetching {url}"))?;
        let Fetched::Copy { octets, validators: fresh } = answer else { return Ok(None) };
        let keys = KeySet::read(&octets).with_context(|| format!("reading {url}"))?;
        durable::replace(copy, &octets, Readers::Usual)
            .with_context(|| format!("keeping the keys in {}", copy.display()))?;
        *validators = fresh;
        Ok(Some(keys))
    }
}

fn read(file: &PathBuf) -> anyhow::Result<KeySet> {
    let octets =
        std::fs::read(file).with_context(|| format!("reading the keys in {}", file.display()))?;
    let keys = KeySet::read(&octets);
    keys.with_context(|| format!("reading the keys in {}", file.display()))
}
