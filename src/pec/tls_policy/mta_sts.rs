//! MTA-STS: what a receiving domain asks of those who send to it (RFC 8461).
//!
//! A domain says by a TXT record at `_mta-sts` that it has a policy, and which; the policy itself
//! comes over HTTPS. Invariants:
//!
//! * A policy that was fetched holds for its `max_age`, whatever DNS says or does not say later
//!   (RFC 8461 §5.1): who silences DNS cannot do away with it. It stands in the catalog, so that a
//!   restart does not forget it either.
//! * A policy that cannot be fetched, or read, is none; the last good one goes on. So is one that DNS is
//!   silent about: without a policy mail goes as to a domain that has none (RFC 8461 §3.3). Whoever can
//!   silence DNS before the first policy is there can hide it; the standard has it so.
//! * What a bound of our own kept from being asked says nothing: without a policy that holds, it is not
//!   known which there is, and mail waits.
//! * What is remembered is bounded in number; the one fetched longest ago goes first.
//!
//! Not here: getting a policy (`fetch`), what follows from it (`super`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use storage::{
    catalog::engine::{Batch, Durability, Scan},
    error::StoreError,
};
use trust::clock::UnixMillis;

use super::fetch::{FetchError, PolicyFetch};
use crate::pec::{
    engine::PecEngine,
    lookups::{Lookups, NamesError},
    records::{LaneId, PolicyRecord, RECEIVING_POLICIES, decode, encode},
};

/// What a policy is for (RFC 8461 §5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StsMode {
    /// Mail goes to no other server, and under verified TLS only.
    Enforce,
    /// As `enforce`, but mail goes all the same.
    Testing,
    /// There is no policy any more.
    None,
}

/// A policy (RFC 8461 §3.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StsPolicy {
    /// What it is for.
    pub mode: StsMode,
    /// For how many seconds it holds.
    pub max_age: u64,
    /// The servers: names, or patterns that begin with `*.`.
    pub servers: Vec<String>,
}

/// The longest that a policy may hold: a year (RFC 8461 §3.2).
const MAX_AGE_SECONDS: u64 = 31_557_600;

/// Servers that a policy may name.
const SERVERS_MAX: usize = 1_000;

impl StsPolicy {
    /// Reads a policy; `None` when it is none.
    ///
    /// ```text
    /// version: STSv1
    /// mode: enforce
    /// mx: mail.example.com
    /// mx: *.example.net
    /// max_age: 604800
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut servers = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.split_once(':')?;
            let value = value.trim();
            match key.trim() {
                // Of a field given twice the first counts (RFC 8461 §3.2).
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" if servers.len() < SERVERS_MAX => servers.push(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        (version? == "STSv1").then_some(())?;
        let mode = match mode? {
            "enforce" => StsMode::Enforce,
            "testing" => StsMode::Testing,
            "none" => StsMode::None,
            _ => return None,
        };
        let digits = max_age.filter(|value| (1..=10).contains(&value.len()))?;
        let max_age = digits.parse::<u64>().ok()?.min(MAX_AGE_SECONDS);
        (mode == StsMode::None || !servers.is_empty()).then_some(())?;
        Some(Self { mode, max_age, servers })
    }

    /// Whether the policy names the server `host` (RFC 8461 §4.1): `*.` stands for one label.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.servers.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(rest) => host
                .split_once('.')
                .is_some_and(|(label, parent)| !label.is_empty() && parent == rest),
            None => *pattern == host,
        })
    }
}

/// Reads the id of a policy from the TXT records at `_mta-sts`; `None` unless exactly one is such a
/// record (RFC 8461 §3.1).
fn announced(records: &[String]) -> Option<String> {
    let mut ours = records.iter().filter(|text| text.starts_with("v=STSv1"));
    let (record, None) = (ours.next()?, ours.next()) else { return None };
    let mut fields = record.split(';').map(str::trim);
    (fields.next()? == "v=STSv1").then_some(())?;
    let id = fields.find_map(|field| field.strip_prefix("id="))?.trim();
    let valid =
        (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    valid.then(|| id.to_owned())
}

/// After this time a policy is fetched again although its id is the same.
const REFRESH_MILLIS: i64 = 24 * 3_600_000;

/// After a fetch that failed the next one is not tried before this (RFC 8461 §3.3).
const FAILURE_PAUSE_MILLIS: i64 = 5 * 60_000;

/// The policies of domains, as far as they are known.
#[derive(Debug)]
pub struct MtaSts {
    fetch: Arc<dyn PolicyFetch>,
    policies_max: usize,
    known: Mutex<Option<Known>>,
    /// Until when fetches that failed are not tried again.
    failed: Mutex<HashMap<LaneId, UnixMillis>>,
}

/// When each policy in the catalog was fetched.
#[derive(Debug, Default)]
struct Known(BTreeMap<LaneId, i64>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MtaSts {
    /// Gets policies by `fetch` and remembers `policies_max` of them.
    #[must_use]
    pub fn new(fetch: Arc<dyn PolicyFetch>, policies_max: usize) -> Self {
        Self { fetch, policies_max, known: Mutex::default(), failed: Mutex::default() }
    }

    /// The policy that holds for `domain` now; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`NamesError::NotAsked`], when it would have to be asked for.
    pub(super) async fn policy_of(
        &self,
        engine: &PecEngine,
        lookups: &Arc<dyn Lookups>,
        domain: &str,
    ) -> Result<Option<StsPolicy>, NamesError> {
        let lane = LaneId::of(domain);
        let cached = match cached(engine, lane).await {
            Ok(cached) => cached,
            Err(error) => {
                tracing::error!(
                    domain,
                    error = &error as &dyn std::error::Error,
                    "cannot read the policy of a domain"
                );
                None
            }
        };
        let announced = match lookups.txt(&format!("_mta-sts.{domain}")).await {
            Ok(answer) => announced(&answer.value),
            Err(error @ NamesError::NotAsked { .. }) if cached.is_none() => return Err(error),
            Err(_) => None,
        };
        let holds = cached.as_ref().map(|(policy, _)| policy.clone());
        // Without an announcement a policy goes on to its end, and none is looked for.
        let Some(id) = announced else { return Ok(holds) };
        let fresh = cached.is_some_and(|(_, record)| {
            let age = engine.now().0.saturating_sub(record.fetched_millis);
            record.id == id && age < REFRESH_MILLIS
        });
        if fresh || self.failed_lately(engine, lane) {
            return Ok(holds);
        }
        match self.fetched(engine, lookups, domain, lane, id).await {
            Ok(found) => Ok(found.or(holds)),
            Err(error) => holds.map(Some).ok_or(error),
        }
    }

    fn failed_lately(&self, engine: &PecEngine, lane: LaneId) -> bool {
        let now = engine.now();
        locked(&self.failed).get(&lane).is_some_and(|until| *until > now)
    }

    /// The policy, when it can be had now; an error when its server was not asked for.
    async fn fetched(
        &self,
        engine: &PecEngine,
        lookups: &Arc<dyn Lookups>,
        domain: &str,
        lane: LaneId,
        id: String,
    ) -> Result<Option<StsPolicy>, NamesError> {
        let text = match self.fetch.fetch(&**lookups, domain).await {
            Ok(text) => text,
            Err(FetchError::Unknown(error @ NamesError::NotAsked { .. })) => return Err(error),
            Err(error) => {
                tracing::info!(
                    domain,
                    error = &error as &dyn std::error::Error,
                    "the policy of a domain cannot be fetched"
                );
                self.note_failure(engine, lane);
                return Ok(None);
            }
        };
        let Some(policy) = StsPolicy::parse(&text) else {
            tracing::info!(domain, "the policy of a domain cannot be understood");
            self.note_failure(engine, lane);
            return Ok(None);
        };
        locked(&self.failed).remove(&lane);
        let fetched_millis = engine.now().0;
        let record = PolicyRecord { domain: domain.to_owned(), id, text, fetched_millis };
        if let Err(error) = self.remember(engine, lane, &record).await {
            tracing::warn!(
                domain,
                error = &error as &dyn std::error::Error,
                "the policy of a domain was not written down"
            );
        }
        Ok(Some(policy))
    }

    fn note_failure(&self, engine: &PecEngine, lane: LaneId) {
        let now = engine.now();
        let mut failed = locked(&self.failed);
        if failed.len() >= self.policies_max {
            failed.retain(|_, until| *until > now);
        }
        if failed.len() < self.policies_max {
            failed.insert(lane, now.plus_millis(FAILURE_PAUSE_MILLIS));
        }
    }

    /// Writes a policy down, in the place of the oldest when there are too many.
    async fn remember(
        &self,
        engine: &PecEngine,
        lane: LaneId,
        record: &PolicyRecord,
    ) -> Result<(), StoreError> {
        let unread = locked(&self.known).is_none();
        if unread {
            let read = read_known(engine).await?;
            locked(&self.known).get_or_insert(read);
        }
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        {
            let mut known = locked(&self.known);
            let Known(known) = known.get_or_insert_with(Known::default);
            known.insert(lane, record.fetched_millis);
            while known.len() > self.policies_max.max(1) {
                let oldest = known.iter().filter(|(other, _)| **other != lane);
                let Some(oldest) = oldest.min_by_key(|(_, at)| **at).map(|(lane, _)| *lane) else {
                    break;
                };
                known.remove(&oldest);
                batch.delete(RECEIVING_POLICIES, oldest.key());
            }
        }
        batch.put(RECEIVING_POLICIES, lane.key(), encode(record));
        engine.store().commit(batch).await.map(drop)
    }
}

/// The policy in the catalog, when its time is not over.
async fn cached(
    engine: &PecEngine,
    lane: LaneId,
) -> Result<Option<(StsPolicy, PolicyRecord)>, StoreError> {
    let found = engine.record::<PolicyRecord>(RECEIVING_POLICIES, &lane.0).await?;
    Ok(found.and_then(|(record, _)| {
        let policy = StsPolicy::parse(&record.text)?;
        let age_seconds = engine.now().0.saturating_sub(record.fetched_millis) / 1_000;
        let over = u64::try_from(age_seconds).is_ok_and(|age| age >= policy.max_age);
        (!over).then_some((policy, record))
    }))
}

/// Rows read at a time.
const PAGE: usize = 1_000;

async fn read_known(engine: &PecEngine) -> Result<Known, StoreError> {
    let mut known = BTreeMap::new();
    let mut scan = Scan::prefix(RECEIVING_POLICIES, b"", PAGE);
    loop {
        let page = engine.store().engine().scan(&scan).await?;
        let full = page.len() == PAGE;
        for (key, value) in page {
            if let Ok(record) = decode::<PolicyRecord>(RECEIVING_POLICIES, &key, &value) {
                known.insert(LaneId::of(&record.domain), record.fetched_millis);
            }
            scan.start = [key.as_ref(), &[0]].concat().into();
        }
        if !full {
            return Ok(Known(known));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: Mail.one.example\r\nmx: *.mx.one.example\r\nmax_age: 604800\r\n";

    #[test]
    fn policies_are_read_as_domains_write_them() {
        let policy = StsPolicy::parse(POLICY).expect("a policy");
        assert_eq!((policy.mode, policy.max_age), (StsMode::Enforce, 604_800));
        let same = POLICY.replace("\r\n", "\n") + "\nmode: none\nfuture: field\n";
        assert_eq!(StsPolicy::parse(&same), Some(policy), "line ends, unknown and repeated fields");
        let none = StsPolicy::parse("version:STSv1\nmode:none\nmax_age:86400").expect("a policy");
        assert_eq!(none.mode, StsMode::None);
        let long = POLICY.replace("604800", "9999999999");
        assert_eq!(StsPolicy::parse(&long).map(|policy| policy.max_age), Some(MAX_AGE_SECONDS));
        for (right, wrong) in [
            ("STSv1", "STSv2"),
            ("enforce", "strict"),
            ("604800", "week"),
            ("604800", "12345678901"),
            ("max_age: 604800", ""),
            ("mode: enforce", ""),
            ("version: STSv1", ""),
            ("mx: Mail.one.example\r\nmx: *.mx.one.example\r\n", ""),
            ("mode: enforce", "<html>"),
        ] {
            let text = POLICY.replace(right, wrong);
            assert_eq!(StsPolicy::parse(&text), None, "{text:?}");
        }
    }

    /// RFC 8461 §4.1.
    #[test]
    fn a_wildcard_stands_for_one_label() {
        let policy = StsPolicy::parse(POLICY).expect("a policy");
        for (host, named) in [
            ("mail.one.example", true),
            ("MAIL.one.example.", true),
            ("a.mx.one.example", true),
            ("mx.one.example", false),
            ("a.b.mx.one.example", false),
            (".mx.one.example", false),
            ("one.example", false),
            ("mail.one.example.two.example", false),
        ] {
            assert_eq!(policy.names(host), named, "{host}");
        }
    }

    /// RFC 8461 §3.1.
    #[test]
    fn one_record_announces_a_policy_and_two_announce_none() {
        let id = |records: &[&str]| {
            let records: Vec<String> = records.iter().map(|text| (*text).to_owned()).collect();
            announced(&records)
        };
        let right = "v=STSv1; id=20160831085700Z;";
        assert_eq!(id(&[right]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["v=spf1 -all", right, "other"]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["v=STSv1;id=1"]).as_deref(), Some("1"));
        for wrong in [
            &["v=STSv1; id=1", "v=STSv1; id=2"][..],
            &["v=STSv1;"],
            &["v=STSv1; id="],
            &["v=STSv1; id=a-b"],
            &["v=STSv10; id=1"],
            &["v=STSv1; id=123456789012345678901234567890123"],
            &[],
        ] {
            assert_eq!(id(wrong), None, "{wrong:?}");
        }
    }
}
