//! The ring of signing pairs.
//!
//! In the folder `signing`: `ring.json` names the pairs by the SHA-1 of their certificate, each
//! with its times; `<sha1>.pem` is the certificate with those up to the root, `<sha1>.key` the key
//! of a pair that joined by command. The key of `[signing]` stays in its own file.
//!
//! Invariants:
//!
//! * At each instant one pair signs: of those whose time has come and that are valid, the one whose
//!   time came last. When none of them is valid, a valid one stands in whose certificate is listed for
//!   [`LISTED_BEFORE_MILLIS`]; without one the last is named, and refuses.
//! * A certificate that has signed stays listed until its end, whatever the configuration says.
//! * `ring.json` is written after the files that it names, and before those are removed.
//! * Another certificate in `[signing]` than at the start before signs from that start on.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use trust::{
    certificate::{Certificate, CertificateError},
    clock::{Clock, UnixMillis},
    key::{KeyError, PrivateKey},
    smime::sign::{FileSigner, MessageSigner, SignError},
};

use crate::durable::{self, Readers};

/// Pairs that a ring may have.
pub const PAIRS_MAX: usize = 16;

/// How long a certificate is listed before it signs, when nobody says otherwise: the central server
/// fetches daily what a provider publishes, and the providers fetch daily from there (RFC 6109 §4.5).
pub const LISTED_BEFORE_MILLIS: i64 = 48 * 3_600_000;

/// Why the ring did not change or cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// A file cannot be read or written.
    #[error("{}: cannot be read or written: check the folder and its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The list of pairs is damaged.
    #[error("{} does not read as the list of signing pairs: restore the folder from a back-up", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// Key or certificate cannot be used.
    #[error(transparent)]
    Pair(#[from] SignError),
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is outside its validity for good.
    #[error("{0} has expired: it cannot sign any more")]
    Expired(String),
    /// It is there already.
    #[error("{0} is in the ring already")]
    Known(String),
    /// There is no such pair.
    #[error("no signing pair with the certificate {0}: `ceralacca keys list` shows them")]
    Unknown(String),
    /// Only its certificate is kept.
    #[error("the key of {0} is not here: it cannot sign")]
    NoKey(String),
    /// The pair signs.
    #[error("{0} signs at present: let another pair sign first (`ceralacca keys roll`)")]
    InUse(String),
    /// The configuration names the pair: the next start would take it in again.
    #[error(
        "{0} is the pair of the configuration, which every start takes in: name another one in [signing] and restart, then remove it"
    )]
    Configured(String),
    /// The others would not know the certificate yet.
    #[error(
        "{certificate} is listed since less than 48 hours, and other providers may not know it before {}: give a later time, or force it", earliest.0
    )]
    TooEarly {
        /// The certificate.
        certificate: String,
        /// From when on.
        earliest: UnixMillis,
    },
    /// The bound.
    #[error("the ring has {PAIRS_MAX} pairs: remove one that has expired")]
    Full,
}

/// What is written of a pair.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct PairRecord {
    /// SHA-1 of the certificate.
    sha1: String,
    /// From when on it signs, in ms since 1970; `None` = not decided.
    signs_from: Option<i64>,
    /// Since when it is listed.
    listed_from: i64,
}

#[derive(Debug)]
struct Pair {
    record: PairRecord,
    certificate: Certificate,
    /// First and last instant of the certificate's validity.
    validity: (UnixMillis, UnixMillis),
    /// With the certificate that `[signing]` names.
    configured: bool,
    keyed: Option<Keyed>,
}

/// What a pair has whose key is here.
#[derive(Clone, Debug)]
struct Keyed {
    signer: Arc<FileSigner>,
    chain: Vec<Certificate>,
    key: PrivateKey,
}

/// What is known of a pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairView {
    /// SHA-1 of the certificate, its name in commands and in the directory.
    pub sha1: String,
    /// The certificate.
    pub certificate: Certificate,
    /// From when on it signs.
    pub signs_from: Option<UnixMillis>,
    /// Since when it is listed.
    pub listed_from: UnixMillis,
    /// Validity, first and last instant.
    pub validity: (UnixMillis, UnixMillis),
    /// It signs now.
    pub signs: bool,
    /// Its key is here.
    pub has_key: bool,
    /// `[signing]` names it.
    pub configured: bool,
}

/// A chain of certificates, the own one first, and its key, both in PEM.
pub type IdentityPem = (Vec<u8>, Vec<u8>);

/// The pairs of this provider.
#[derive(Debug)]
pub struct SigningRing {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    pairs: Mutex<Vec<Pair>>,
}

impl SigningRing {
    /// Opens the ring in `folder`, with the pair that the configuration names.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written, or a pair cannot sign.
    pub fn open(
        folder: &Path,
        (certificate, chain, key): (Certificate, Vec<Certificate>, PrivateKey),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RingError> {
        std::fs::create_dir_all(folder).map_err(|source| file(folder, source))?;
        let ring = Self { folder: folder.to_owned(), clock, pairs: Mutex::default() };
        let mut pairs = ring.read()?;
        let sha1 = certificate.sha1_hex();
        let now = ring.clock.now().0;
        let keyed = ring.keyed(&certificate, chain.clone(), key)?;
        if let Some(known) = pairs.iter_mut().find(|pair| pair.record.sha1 == sha1) {
            known.configured = true;
            known.keyed = Some(keyed);
        } else {
            let (signs_from, listed_from) =
                if pairs.is_empty() { (Some(0), 0) } else { (Some(now), now) };
            if !pairs.is_empty() {
                // That is how a lost key is replaced; a renewal is `keys add` and `keys roll`.
                tracing::error!(certificate = ?certificate, "[signing] names another certificate, which signs from now on: what it signs is an anomaly at every provider whose copy of the directory does not list it yet");
            }
            ring.write_certificates(&certificate, &chain)?;
            let record = PairRecord { sha1, signs_from, listed_from };
            pairs.push(Pair { configured: true, ..Pair::new(record, certificate, Some(keyed))? });
            ring.write(&pairs)?;
        }
        *ring.lock() = pairs;
        Ok(ring)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pair>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, sha1: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{sha1}.{kind}"))
    }

    fn list_path(&self) -> PathBuf {
        self.folder.join("ring.json")
    }

    fn keyed(
        &self,
        certificate: &Certificate,
        chain: Vec<Certificate>,
        key: PrivateKey,
    ) -> Result<Keyed, RingError> {
        let (to_sign, clock) = (key.clone(), Arc::clone(&self.clock));
        let signer = FileSigner::new(certificate.clone(), chain.clone(), to_sign, clock)?;
        Ok(Keyed { signer: Arc::new(signer), chain, key })
    }

    fn read(&self) -> Result<Vec<Pair>, RingError> {
        let path = self.list_path();
        let read = durable::read(&path).map_err(|source| file(&path, source))?;
        let Some(octets) = read else { return Ok(Vec::new()) };
        let records: Vec<PairRecord> = serde_json::from_slice(&octets)
            .map_err(|source| RingError::Damaged { path, source })?;
        records.into_iter().map(|record| self.read_pair(record)).collect()
    }

    fn read_pair(&self, record: PairRecord) -> Result<Pair, RingError> {
        let mut chain = Certificate::read_all(&self.path(&record.sha1, "pem"))?.into_iter();
        let certificate = chain.next().ok_or_else(|| RingError::Unknown(record.sha1.clone()))?;
        let path = self.path(&record.sha1, "key");
        let keyed = match durable::read(&path).map_err(|source| file(&path, source))? {
            None => None,
            Some(pem) => {
                let key = PrivateKey::from_pem(&pem)?;
                Some(self.keyed(&certificate, chain.collect(), key)?)
            }
        };
        Pair::new(record, certificate, keyed)
    }

    fn write_certificates(
        &self,
        certificate: &Certificate,
        chain: &[Certificate],
    ) -> Result<(), RingError> {
        let mut pem = certificate.to_pem()?;
        for issuer in chain {
            pem.extend(issuer.to_pem()?);
        }
        let path = self.path(&certificate.sha1_hex(), "pem");
        durable::replace(&path, &pem, Readers::Usual).map_err(|source| file(&path, source))
    }

    fn write(&self, pairs: &[Pair]) -> Result<(), RingError> {
        let path = self.list_path();
        let records: Vec<&PairRecord> = pairs.iter().map(|pair| &pair.record).collect();
        let octets = serde_json::to_vec_pretty(&records)
            .map_err(|source| RingError::Damaged { path: path.clone(), source })?;
        durable::replace(&path, &octets, Readers::Usual).map_err(|source| file(&path, source))
    }

    /// The signer of the present instant. Outside the validity of every certificate it is one that
    /// refuses: what is to be signed then waits.
    pub fn signer(&self) -> Option<Arc<dyn MessageSigner>> {
        let (now, pairs) = (self.clock.now(), self.lock());
        let keyed = pairs.get(signing(&pairs, now)?)?.keyed.as_ref()?;
        Some(Arc::<FileSigner>::clone(&keyed.signer))
    }

    /// Chain and key of the pair that signs, in PEM: what the provider proves itself with at the
    /// directory's server (RFC 6109 §5.6).
    ///
    /// # Errors
    ///
    /// When OpenSSL cannot encode them.
    pub fn client_identity(&self) -> Result<Option<IdentityPem>, RingError> {
        let (now, pairs) = (self.clock.now(), self.lock());
        let active = signing(&pairs, now).and_then(|index| pairs.get(index));
        let Some((pair, keyed)) = active.and_then(|pair| Some((pair, pair.keyed.as_ref()?))) else {
            return Ok(None);
        };
        let mut chain = pair.certificate.to_pem()?;
        for issuer in &keyed.chain {
            chain.extend(issuer.to_pem()?);
        }
        Ok(Some((chain, keyed.key.to_pem()?)))
    }

    /// The certificates that stand in the provider's entry: those that sign, will sign or have
    /// signed, until their end; the one that signs first, and in any case.
    pub fn listed(&self) -> Vec<Certificate> {
        let (now, pairs) = (self.clock.now(), self.lock());
        let active = signing(&pairs, now);
        let mut listed: Vec<(bool, &Pair)> = pairs
            .iter()
            .enumerate()
            .map(|(index, pair)| (Some(index) == active, pair))
            .filter(|(signs, pair)| *signs || now <= pair.validity.1)
            .collect();
        listed.sort_by_key(|(signs, _)| !signs);
        listed.into_iter().map(|(_, pair)| pair.certificate.clone()).collect()
    }

    /// When another pair signs next, by what is decided.
    pub fn next_change(&self) -> Option<UnixMillis> {
        let now = self.clock.now();
        let pairs = self.lock();
        let instants = pairs.iter().flat_map(|pair| {
            let (first, last) = pair.validity;
            let signs = pair.record.signs_from.map(UnixMillis);
            [signs, Some(pair.known_from()), Some(first), Some(last.plus_millis(1))]
        });
        instants.flatten().filter(|instant| *instant > now).min()
    }

    /// All pairs, the one that signs first.
    pub fn pairs(&self) -> Vec<PairView> {
        let (now, pairs) = (self.clock.now(), self.lock());
        let active = signing(&pairs, now);
        let view = |(index, pair): (usize, &Pair)| pair.view(Some(index) == active);
        let mut views: Vec<PairView> = pairs.iter().enumerate().map(view).collect();
        views.sort_by_key(|view| !view.signs);
        views
    }

    /// Whether a signature can be made now.
    pub fn can_sign(&self) -> bool {
        let (now, pairs) = (self.clock.now(), self.lock());
        signing(&pairs, now)
            .and_then(|index| pairs.get(index))
            .is_some_and(|pair| pair.is_valid(now))
    }

    /// Takes a further pair in: its certificate is listed from now on, and it does not sign yet.
    ///
    /// # Errors
    ///
    /// When the pair cannot sign, is known, or cannot be written.
    pub fn add(
        &self,
        certificate: &Certificate,
        chain: &[Certificate],
        key: &PrivateKey,
    ) -> Result<PairView, RingError> {
        let keyed = self.keyed(certificate, chain.to_vec(), key.clone())?;
        let (sha1, now) = (certificate.sha1_hex(), self.clock.now());
        let mut pairs = self.lock();
        if pairs.iter().any(|pair| pair.record.sha1 == sha1) {
            return Err(RingError::Known(format!("{certificate:?}")));
        }
        if pairs.len() >= PAIRS_MAX {
            return Err(RingError::Full);
        }
        let record = PairRecord { sha1: sha1.clone(), signs_from: None, listed_from: now.0 };
        let pair = Pair::new(record, certificate.clone(), Some(keyed))?;
        if now > pair.validity.1 {
            return Err(RingError::Expired(format!("{certificate:?}")));
        }
        let path = self.path(&sha1, "key");
        durable::replace(&path, &key.to_pem()?, Readers::Owner)
            .map_err(|source| file(&path, source))?;
        self.write_certificates(certificate, chain)?;
        let view = pair.view(false);
        pairs.push(pair);
        self.write(&pairs).inspect_err(|_| drop(pairs.pop()))?;
        Ok(view)
    }

    /// Decides from when on a pair signs: `at`, or as soon as the others know its certificate.
    /// Returns the instant.
    ///
    /// # Errors
    ///
    /// [`RingError::TooEarly`] unless `force`; when there is no such pair or its key is not here.
    pub fn roll(
        &self,
        sha1: &str,
        at: Option<UnixMillis>,
        force: bool,
    ) -> Result<UnixMillis, RingError> {
        let now = self.clock.now();
        let mut pairs = self.lock();
        let index = position(&pairs, sha1)?;
        let Some(pair) = pairs.get_mut(index) else {
            return Err(RingError::Unknown(sha1.to_owned()));
        };
        let name = format!("{:?}", pair.certificate);
        if pair.keyed.is_none() {
            return Err(RingError::NoKey(name));
        }
        let earliest = now.max(pair.known_from()).max(pair.validity.0);
        let at = at.unwrap_or(if force { now } else { earliest }).max(now);
        if at > pair.validity.1 {
            return Err(RingError::Expired(name));
        }
        if at < earliest && !force {
            return Err(RingError::TooEarly { certificate: name, earliest });
        }
        let before = pair.record.signs_from.replace(at.0);
        let written = self.write(&pairs);
        if written.is_err()
            && let Some(pair) = pairs.get_mut(index)
        {
            pair.record.signs_from = before;
        }
        written.map(|()| at)
    }

    /// Takes a pair out: its certificate is no longer listed, its key is deleted.
    ///
    /// # Errors
    ///
    /// [`RingError::InUse`], [`RingError::Configured`]; when there is no such pair.
    pub fn remove(&self, sha1: &str) -> Result<(), RingError> {
        let now = self.clock.now();
        let mut pairs = self.lock();
        let index = position(&pairs, sha1)?;
        if signing(&pairs, now) == Some(index) {
            return Err(RingError::InUse(sha1.to_owned()));
        }
        if pairs.get(index).is_some_and(|pair| pair.configured) {
            return Err(RingError::Configured(sha1.to_owned()));
        }
        let pair = pairs.remove(index);
        if let Err(error) = self.write(&pairs) {
            pairs.insert(index, pair);
            return Err(error);
        }
        for kind in ["key", "pem"] {
            let path = self.path(&pair.record.sha1, kind);
            durable::remove(&path).map_err(|source| file(&path, source))?;
        }
        Ok(())
    }
}

impl Pair {
    fn new(
        record: PairRecord,
        certificate: Certificate,
        keyed: Option<Keyed>,
    ) -> Result<Self, RingError> {
        let validity = (certificate.not_before()?, certificate.not_after()?);
        Ok(Self { record, certificate, validity, configured: false, keyed })
    }

    fn is_valid(&self, instant: UnixMillis) -> bool {
        self.validity.0 <= instant && instant <= self.validity.1
    }

    /// From when on the others can know the certificate.
    fn known_from(&self) -> UnixMillis {
        UnixMillis(self.record.listed_from).plus_millis(LISTED_BEFORE_MILLIS)
    }

    fn view(&self, signs: bool) -> PairView {
        PairView {
            sha1: self.record.sha1.clone(),
            certificate: self.certificate.clone(),
            signs_from: self.record.signs_from.map(UnixMillis),
            listed_from: UnixMillis(self.record.listed_from),
            validity: self.validity,
            signs,
            has_key: self.keyed.is_some(),
            configured: self.configured,
        }
    }
}

/// The pair that signs at `instant`.
fn signing(pairs: &[Pair], instant: UnixMillis) -> Option<usize> {
    let due = |(index, pair): (usize, &Pair)| {
        let from = pair.record.signs_from.filter(|from| *from <= instant.0)?;
        pair.keyed.is_some().then(|| (pair.is_valid(instant), from, index))
    };
    let stands_in = |(index, pair): (usize, &Pair)| {
        let known = pair.known_from() <= instant && pair.is_valid(instant);
        (known && pair.keyed.is_some()).then_some((pair.record.listed_from, index))
    };
    let last = pairs.iter().enumerate().filter_map(due).max();
    last.filter(|(valid, ..)| *valid)
        .map(|(_, _, index)| index)
        .or_else(|| pairs.iter().enumerate().filter_map(stands_in).max().map(|(_, index)| index))
        .or(last.map(|(_, _, index)| index))
}

/// The pair whose certificate's SHA-1 begins with `sha1`, when there is only one.
fn position(pairs: &[Pair], sha1: &str) -> Result<usize, RingError> {
    let wanted = sha1.to_ascii_lowercase();
    let mut found = pairs
        .iter()
        .enumerate()
        .filter(|(_, pair)| wanted.len() >= 6 && pair.record.sha1.starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        _ => Err(RingError::Unknown(sha1.to_owned())),
    }
}

fn file(path: &Path, source: std::io::Error) -> RingError {
    RingError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
