//! The directory in use: put together, exchanged for a newer copy, told to the engine.
//!
//! Every change goes through here, one after the other: the engine gets one whole directory after
//! another, and the entry that is published follows it.
//!
//! Not here: the daily round ([`super::watch`]), the door for the published entry
//! ([`super::publish`]), what commands ask (`control::operations::directory`).

mod loading;

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use anyhow::Context as _;
use bytes::Bytes;
use protocols::net::tls::TlsClient;
use tokio::sync::Mutex;
use trust::{
    authority::DevelopmentAuthority,
    certificate::Certificate,
    clock::{Clock, UnixMillis},
    digest::Sha256Digest,
    smime::verify::Verifier,
};

use super::{
    changes::Changes,
    copies::{Copies, CopyNote, Notes, Which},
    fetch::{Fetched, Fetcher, Validators},
    own::{keep_own_domains, own_records, read_file, read_octets},
    past::Past,
    publish::Published,
    signed::{Own, SignedDirectory, SignerRule, sign},
    status::{HeldStatus, Outcome, Status},
};
use crate::{
    config::Config,
    keys::ring::SigningRing,
    metrics_names,
    pec::{directory::Directory, engine::PecEngine, lookups::Lookups},
};

/// Hexadecimal digits of a copy's digest that name it.
const DIGEST_DIGITS_MIN: usize = 8;

/// What a keeper is made of.
#[derive(Debug)]
pub struct KeeperParts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Whose certificates stand in the own entry.
    pub ring: Arc<SigningRing>,
    /// Makes further pairs, where no other authority does.
    pub authority: Option<Arc<DevelopmentAuthority>>,
    /// Knows the authorities of `[trust]`.
    pub verifier: Arc<Verifier>,
    /// Finds the directory's server.
    pub lookups: Arc<dyn Lookups>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Keeps the directory.
#[derive(Debug)]
pub struct DirectoryKeeper {
    config: Arc<Config>,
    ring: Arc<SigningRing>,
    authority: Option<Arc<DevelopmentAuthority>>,
    lookups: Arc<dyn Lookups>,
    clock: Arc<dyn Clock>,
    rule: Option<Arc<SignerRule>>,
    copies: Copies,
    past: Past,
    engine: OnceLock<Arc<PecEngine>>,
    published: RwLock<Option<Arc<Published>>>,
    figures: RwLock<Figures>,
    /// One fetch at a time.
    fetching: Mutex<()>,
    state: Mutex<State>,
}

/// What metrics show.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    providers: usize,
    domains: usize,
    confirmed_seconds: i64,
    held: bool,
}

#[derive(Debug, Default)]
struct State {
    /// The domains whose mailboxes are here.
    domains: BTreeSet<String>,
    notes: Notes,
    current: Option<Arc<SignedDirectory>>,
    held: Option<Held>,
    in_use: Arc<Directory>,
    failure: Option<(UnixMillis, String)>,
    /// Own domains that others claim, as far as it was told.
    contested: BTreeSet<String>,
}

#[derive(Debug)]
struct Held {
    copy: Arc<SignedDirectory>,
    why: String,
    changes: Changes,
}

impl DirectoryKeeper {
    /// Takes the last good copy from disk; without one, fetches it.
    ///
    /// # Errors
    ///
    /// When the directory is to be fetched and neither disk nor server has a copy: without one every
    /// recipient elsewhere would count as uncertified. When a file of `[directory]` cannot be used.
    pub async fn open(parts: KeeperParts, domains: BTreeSet<String>) -> anyhow::Result<Arc<Self>> {
        let KeeperParts { config, ring, authority, verifier, lookups, clock } = parts;
        let folder = config.data.directory_folder();
        let copies = Copies::open(&folder)
            .with_context(|| format!("opening the folder {}", folder.display()))?;
        let past = Past::new(&folder, config.directory.fetch.compared_days);
        let rule = SignerRule::of(&config.directory.fetch, verifier)
            .context("reading directory.signer_certificate_file")?;
        let keeper = Arc::new(Self {
            config,
            ring,
            authority,
            lookups,
            clock,
            rule: rule.map(Arc::new),
            copies,
            past,
            engine: OnceLock::new(),
            published: RwLock::default(),
            figures: RwLock::default(),
            fetching: Mutex::default(),
            state: Mutex::new(State { domains, ..State::default() }),
        });
        let loaded = keeper.load().await?;
        keeper.refresh().await?;
        keeper.begin(loaded).await?;
        Ok(keeper)
    }

    /// From now on `engine` is told of every change.
    pub fn attach(&self, engine: Arc<PecEngine>) {
        // A second engine would be a bug of this program; the first one stays.
        let _ = self.engine.set(engine);
    }

    /// The pairs that sign.
    pub fn ring(&self) -> &Arc<SigningRing> {
        &self.ring
    }

    /// The development authority, when this provider has one.
    pub fn authority(&self) -> Option<&DevelopmentAuthority> {
        self.authority.as_deref()
    }

    /// The present instant.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The directory in use.
    pub async fn in_use(&self) -> Arc<Directory> {
        Arc::clone(&self.state.lock().await.in_use)
    }

    /// Sets the metrics that say how things stand.
    #[expect(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^52")]
    pub fn show(&self) {
        let Figures { providers, domains, confirmed_seconds, held } =
            *self.figures.read().unwrap_or_else(PoisonError::into_inner);
        metrics::gauge!(metrics_names::DIRECTORY_PROVIDERS).set(providers as f64);
        metrics::gauge!(metrics_names::DIRECTORY_DOMAINS).set(domains as f64);
        metrics::gauge!(metrics_names::DIRECTORY_INSTANT).set(confirmed_seconds as f64);
        metrics::gauge!(metrics_names::DIRECTORY_HELD).set(f64::from(u8::from(held)));
    }

    /// The domains whose mailboxes are here.
    pub async fn own_domains(&self) -> BTreeSet<String> {
        self.state.lock().await.domains.clone()
    }

    /// The own entry as it is published.
    pub fn published(&self) -> Option<Arc<Published>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This provider, of which copies have no say.
    fn own(&self, domains: &BTreeSet<String>) -> anyhow::Result<Own> {
        let records = own_records(&self.config, &self.ring, domains)?;
        let domains = records.into_iter().flat_map(|record| record.managed_domains).collect();
        Ok(Own { name: self.config.provider.name.clone(), domains })
    }

    /// Verifies a copy off the runtime's threads, as of now.
    async fn judge(&self, octets: Bytes) -> anyhow::Result<SignedDirectory> {
        let rule = self.rule.clone().context("the configuration does not say who signs")?;
        let own = self.own(&self.own_domains().await)?;
        let now = self.clock.now();
        Ok(tokio::task::spawn_blocking(move || rule.verify(&octets, &own, now)).await??)
    }

    /// Puts the directory together again: files, domains and signing pairs as they are now.
    ///
    /// # Errors
    ///
    /// When a file of `[directory]` cannot be used: the directory in use stays.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        self.refresh_with(&mut state)
    }

    fn refresh_with(&self, state: &mut State) -> anyhow::Result<()> {
        // What others' files are like is no reason to be silent about this provider.
        self.publish_own_or_tell(state);
        let current = state.current.clone();
        let directory = self.compose(state, current.as_deref())?;
        self.put_in_use(state, directory);
        Ok(())
    }

    /// Takes another set of own domains into use, here and in the engine at once.
    ///
    /// # Errors
    ///
    /// As [`DirectoryKeeper::refresh`].
    pub async fn set_domains(&self, domains: BTreeSet<String>) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        let before = std::mem::replace(&mut state.domains, domains);
        let refreshed = self.refresh_with(&mut state);
        if refreshed.is_err() {
            // In the directory, in the engine and in the published entry, or in none of them.
            state.domains = before;
            self.publish_own_or_tell(&state);
        }
        refreshed
    }

    fn put_in_use(&self, state: &mut State, directory: Directory) {
        let directory = Arc::new(directory);
        let confirmed = state.notes.current.as_ref().map_or(0, |note| note.confirmed_millis);
        let figures = Figures {
            providers: directory.provider_count(),
            domains: directory.domain_count(),
            confirmed_seconds: confirmed / 1_000,
            held: state.held.is_some(),
        };
        *self.figures.write().unwrap_or_else(PoisonError::into_inner) = figures;
        state.in_use = Arc::clone(&directory);
        if let Some(engine) = self.engine.get() {
            engine.replace_reach(directory, state.domains.clone());
        }
        self.publish_own_or_tell(state);
    }

    fn publish_own_or_tell(&self, state: &State) {
        if let Err(error) = self.publish_own(state) {
            tracing::error!(error = %format_args!("{error:#}"), "the provider's entry was not published anew");
        }
    }

    /// This provider's records and those of a copy, each provider once; without a copy those of the file.
    fn compose(
        &self,
        state: &mut State,
        current: Option<&SignedDirectory>,
    ) -> anyhow::Result<Directory> {
        let mut records = own_records(&self.config, &self.ring, &state.domains)?;
        let own = records.len();
        let name = &self.config.provider.name;
        // Nobody has signed the file: it adds nothing to what the copy says, nor brings back what is
        // not in it any more.
        let file = match current {
            Some(_) => None,
            None => self.config.directory.ldif_file.as_deref().map(read_file).transpose()?,
        };
        if let Some(others) = current.map(|copy| &copy.directory).or(file.as_ref()) {
            let others = others.records().iter().filter(|record| !record.is_of(name));
            records.extend(others.cloned());
        }
        keep_own_domains(&mut state.contested, &mut records, own);
        Ok(Directory::new(records)?)
    }

    /// Signs the own entry anew when it has changed, or the certificate that signs.
    fn publish_own(&self, state: &State) -> anyhow::Result<()> {
        if self.config.directory.publish.url.is_none() {
            return Ok(());
        }
        let own = Directory::new(own_records(&self.config, &self.ring, &state.domains)?)?;
        let signer = self.ring.signer().context("there is no signing pair")?;
        let content = Sha256Digest::of(&own.to_ldif());
        let certificate = signer.certificate().sha1_hex();
        let same = |published: &Arc<Published>| {
            published.content == content && published.certificate == certificate
        };
        if self.published().as_ref().is_some_and(same) {
            return Ok(());
        }
        let octets = Bytes::from(sign(&own, &*signer)?);
        let published = Published::new(octets, content, certificate, self.clock.now());
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(published));
        Ok(())
    }

    fn fetcher(&self) -> anyhow::Result<Fetcher> {
        let settings = &self.config.directory.fetch;
        let url =
            settings.url.clone().context("directory.url is not set: there is nothing to fetch")?;
        let tls = match &settings.tls_authority_file {
            None => TlsClient::verified_publicly(&[])?,
            Some(file) => TlsClient::verified_by(&read_octets(file)?)?,
        };
        let tls = match &settings.client {
            Some(pair) => tls.with_identity(
                &read_octets(&pair.certificate_file)?,
                &read_octets(&pair.key_file)?,
            )?,
            None => match self.ring.client_identity()? {
                Some((chain, key)) => tls.with_identity(&chain, &key)?,
                None => tls,
            },
        };
        Ok(Fetcher {
            url,
            lookups: Arc::clone(&self.lookups).for_one_destination(),
            tls,
            time_max: settings.timeout.duration(),
            octets_max: settings.octets_max.0,
            accept: "application/pkcs7-mime, application/octet-stream, */*;q=0.1",
        })
    }

    /// Fetches the directory, judges it, and takes it into use when there is no doubt.
    ///
    /// # Errors
    ///
    /// When there is no answer, or not one to be used: the copy in use stays.
    pub async fn fetch(&self) -> anyhow::Result<Outcome> {
        let _one = self.fetching.lock().await;
        let outcome = self.fetch_and_judge().await;
        let word = match &outcome {
            Ok(Outcome::Unchanged) => "unchanged",
            Ok(Outcome::Changed(_)) => "changed",
            Ok(Outcome::Held { .. }) => "held",
            Err(_) => "failed",
        };
        metrics::counter!(metrics_names::DIRECTORY_FETCHES, "outcome" => word).increment(1);
        let mut state = self.state.lock().await;
        state.failure =
            outcome.as_ref().err().map(|error| (self.clock.now(), format!("{error:#}")));
        outcome
    }

    async fn fetch_and_judge(&self) -> anyhow::Result<Outcome> {
        let fetcher = self.fetcher()?;
        let known = {
            let Notes { etag, last_modified, .. } = self.state.lock().await.notes.clone();
            Validators { etag, last_modified }
        };
        match fetcher.get(&known).await? {
            Fetched::Unchanged => {
                self.confirm(known).await?;
                Ok(Outcome::Unchanged)
            }
            Fetched::Copy { octets, validators } => {
                let copy = self.judge(octets.clone()).await?;
                self.weigh(octets, copy, validators).await
            }
        }
    }

    /// The copy that was fetched last is the newest.
    async fn confirm(&self, validators: Validators) -> anyhow::Result<()> {
        let mut state = self.state.lock().await;
        let now = self.clock.now().0;
        let State { notes, held, .. } = &mut *state;
        (notes.etag, notes.last_modified) = (validators.etag, validators.last_modified);
        let note = if held.is_some() { &mut notes.held } else { &mut notes.current };
        if let Some(note) = note {
            note.confirmed_millis = now;
        }
        self.copies.write_notes(notes).context("writing the directory's notes")?;
        let current = state.current.clone();
        let directory = self.compose(&mut state, current.as_deref())?;
        self.put_in_use(&mut state, directory);
        Ok(())
    }

    /// Uses a good copy, or holds it back.
    async fn weigh(
        &self,
        octets: Bytes,
        copy: SignedDirectory,
        validators: Validators,
    ) -> anyhow::Result<Outcome> {
        let digest = copy.digest.clone();
        let same = |known: Option<&SignedDirectory>| known.is_some_and(|one| one.digest == digest);
        {
            let state = self.state.lock().await;
            let held = state.held.as_ref().map(|held| (&*held.copy, held));
            let last = held.map_or(state.current.as_deref(), |(copy, _)| Some(copy));
            if same(last) {
                let outcome = held.map_or(Outcome::Unchanged, |(_, held)| Outcome::Held {
                    why: held.why.clone(),
                    changes: held.changes.clone(),
                });
                drop(state);
                self.confirm(validators).await?;
                return Ok(outcome);
            }
        }
        let mut state = self.state.lock().await;
        // Theirs is the name of this copy only once it is on disk and in memory.
        let Validators { etag, last_modified } = validators;
        let notes = Notes { etag, last_modified, ..state.notes.clone() };
        let (changes, doubt) = self.doubt(&state.notes, state.current.as_deref(), &copy)?;
        if let Some(why) = doubt {
            tracing::error!(
                why,
                copy.digest,
                "a new copy of the directory is held back: look at it with `ceralacca directory show`, then `ceralacca directory accept`"
            );
            self.hold((&mut state, notes), &octets, copy, &why, &changes)?;
            return Ok(Outcome::Held { why, changes });
        }
        changes.tell();
        let now = self.clock.now().0;
        let before = state.current.clone().zip(state.notes.current.clone());
        self.take((&mut state, notes), &octets, copy, now)?;
        self.keep_past(&state, before, false);
        Ok(Outcome::Changed(changes))
    }

    /// What a copy changes of the one in use, and why it is not believed; or else what all copies of some days
    /// have changed together, when that is too much.
    fn doubt(
        &self,
        notes: &Notes,
        current: Option<&SignedDirectory>,
        copy: &SignedDirectory,
    ) -> anyhow::Result<(Changes, Option<String>)> {
        let settings = &self.config.directory.fetch;
        let changes = Changes::between(notes, current, copy);
        if let Some(why) = changes.as_ref().and_then(|one| one.doubt(settings)) {
            return Ok((changes.unwrap_or_default(), Some(why)));
        }
        let past = self.past.base(self.clock.now()).context("reading the copies of days before")?;
        let since = past.and_then(|past| Changes::since(&past, copy, settings));
        Ok(match since {
            Some((changes, why)) => (changes, Some(why)),
            None => (changes.unwrap_or_default(), None),
        })
    }

    fn note(copy: &SignedDirectory, fetched_millis: i64, confirmed_millis: i64) -> CopyNote {
        let (digest, signer) = (copy.digest.clone(), copy.signer_digest());
        CopyNote { digest, fetched_millis, confirmed_millis, signer }
    }

    fn hold(
        &self,
        (state, mut notes): (&mut State, Notes),
        octets: &[u8],
        copy: SignedDirectory,
        why: &str,
        changes: &Changes,
    ) -> anyhow::Result<()> {
        let now = self.clock.now().0;
        self.copies.write(Which::Held, octets).context("keeping the new copy")?;
        notes.held = Some(Self::note(&copy, now, now));
        self.copies.write_notes(&notes).context("writing the directory's notes")?;
        state.notes = notes;
        let (copy, why, changes) = (Arc::new(copy), why.to_owned(), changes.clone());
        state.held = Some(Held { copy, why, changes });
        self.figures.write().unwrap_or_else(PoisonError::into_inner).held = true;
        Ok(())
    }

    /// Takes a copy into use: on disk first.
    fn take(
        &self,
        (state, mut notes): (&mut State, Notes),
        octets: &[u8],
        copy: SignedDirectory,
        fetched_millis: i64,
    ) -> anyhow::Result<()> {
        let directory = self.compose(state, Some(&copy))?;
        self.copies.write(Which::Current, octets).context("keeping the new copy")?;
        notes.current = Some(Self::note(&copy, fetched_millis, self.clock.now().0));
        notes.held = None;
        notes.signed_millis = copy.signed.map(|signed| signed.0);
        notes.providers = copy.directory.provider_count();
        self.copies.write_notes(&notes).context("writing the directory's notes")?;
        state.notes = notes;
        (state.current, state.held) = (Some(Arc::new(copy)), None);
        self.put_in_use(state, directory);
        if let Err(error) = self.copies.drop_held() {
            // Without a note it is nothing, and goes at the next start.
            tracing::warn!(%error, "the copy of the directory that waited was not removed");
        }
        Ok(())
    }

    /// Takes the copy that waits into use, as an operator has decided who has seen that its SHA-256 is,
    /// or begins with, `digest`. `None` when no such copy waits.
    ///
    /// # Errors
    ///
    /// When it does not verify any more, or cannot be written.
    pub async fn accept(&self, digest: &str) -> anyhow::Result<Option<Changes>> {
        let _one = self.fetching.lock().await;
        let digest = digest.to_ascii_lowercase();
        let known = |held: &&Held| {
            digest.len() >= DIGEST_DIGITS_MIN && held.copy.digest.starts_with(&digest)
        };
        let held = self
            .state
            .lock()
            .await
            .held
            .as_ref()
            .filter(known)
            .map(|held| (held.copy.digest.clone(), held.changes.clone()));
        let Some((digest, changes)) = held else { return Ok(None) };
        let read = self.copies.read(Which::Held).context("reading the copy that waits")?;
        let octets = Bytes::from(read.context("the copy that waits is gone")?);
        let copy = self.judge(octets.clone()).await?;
        anyhow::ensure!(copy.digest == digest, "the copy that waits was changed on disk");
        let mut state = self.state.lock().await;
        let (notes, now) = (state.notes.clone(), self.clock.now().0);
        let fetched = notes.held.as_ref().map_or(now, |note| note.fetched_millis);
        changes.tell();
        self.take((&mut state, notes), &octets, copy, fetched)?;
        self.keep_past(&state, None, true);
        Ok(Some(changes))
    }

    /// Whether the last good copy lists `certificate` as this provider's, so that the others can know
    /// it; `None` when the directory is not fetched.
    pub async fn is_listed(&self, certificate: &Certificate) -> Option<bool> {
        self.config.directory.fetch.url.as_ref()?;
        let state = self.state.lock().await;
        let (hash, der) = (certificate.sha1_hex(), certificate.to_der());
        let mut own = state.current.iter().flat_map(|copy| &copy.own);
        Some(own.any(|record| record.has_certificate(&hash, der)))
    }

    /// How things stand.
    pub async fn status(&self) -> Status {
        let state = self.state.lock().await;
        let (published, settings) = (self.published(), &self.config.directory);
        let current = state.current.as_deref();
        let note = state.notes.current.as_ref().filter(|_| current.is_some());
        Status {
            providers: state.in_use.provider_count(),
            domains: state.in_use.domain_count(),
            url: settings.fetch.url.as_ref().map(ToString::to_string),
            digest: current.map(|copy| copy.digest.clone()),
            signer: current.map(|copy| format!("{:?}", copy.signer)),
            signed_millis: current.and_then(|copy| copy.signed).map(|signed| signed.0),
            fetched_millis: note.map(|note| note.fetched_millis),
            confirmed_millis: note.map(|note| note.confirmed_millis),
            held: state.held.as_ref().map(|held| HeldStatus {
                why: held.why.clone(),
                changes: held.changes.clone(),
                fetched_millis: state.notes.held.as_ref().map_or(0, |note| note.fetched_millis),
                digest: held.copy.digest.clone(),
            }),
            failure: state.failure.as_ref().map(|(_, text)| text.clone()),
            failed_millis: state.failure.as_ref().map(|(instant, _)| instant.0),
            published_url: settings.publish.url.as_ref().map(ToString::to_string),
            published_millis: published.map(|published| published.modified.0),
        }
    }
}
