//! The programs that are asked what messages contain, and the key of the quarantine.
//!
//! * A program that does not answer keeps nobody from starting: it may still be reading its signatures, and
//!   mailboxes can be read meanwhile. Until it answers nothing is taken.
//! * The key is drawn at the first start and kept in the data folder; the back-up takes it along. One that is
//!   missing while messages are sealed under it is not replaced: the server does not start.
//!
//! Not here: what is asked (`content`), when (`pec`).

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use storage::{catalog::engine::Scan, store::Store};
use tokio_util::sync::CancellationToken;
use trust::{
    clock::{Clock as _, SystemClock},
    random::RandomSource,
    seal::DataKey,
};

use crate::{
    backup::target::keep_data_key,
    config::{Antivirus, AskingSettings, Config, Filter},
    content::{Checker, Turns, clamd::Clamd, rspamd::Rspamd},
    metrics_names::{CONTENT_CHECK_UP, SIGNATURES_AGE},
    pec::{content::SpamFilter, quarantine::QUARANTINE},
};

/// Pause between two looks at a program.
const LOOK_PAUSE: Duration = Duration::from_mins(1);

/// Signatures of this age are old: those of ClamAV are made every day.
const SIGNATURES_OLD: Duration = Duration::from_hours(72);

fn turns(asking: &AskingSettings) -> Turns {
    Turns::new(asking.connections_max, asking.waiting_time_max.duration())
}

fn clamd(config: &Config) -> Option<Clamd> {
    let settings = &config.antivirus;
    (settings.check == Antivirus::Clamd).then(|| {
        let (connect, answer) = (settings.asking.connect_timeout, settings.asking.answer_timeout);
        Clamd::new(settings.address.clone(), connect.duration(), answer.duration())
    })
}

/// Who looks for viruses; `None`, with a warning in the log, when nobody shall.
#[must_use]
pub fn antivirus(config: &Config) -> Option<Arc<Checker>> {
    let Some(clamd) = clamd(config) else {
        tracing::warn!(
            "messages are NOT checked for viruses: antivirus.check is \"none\", which is for trials only"
        );
        return None;
    };
    Some(Arc::new(Checker::new(Box::new(clamd), turns(&config.antivirus.asking))))
}

/// Who filters ordinary mail.
#[must_use]
pub fn filter(config: &Config) -> Option<SpamFilter> {
    let settings = &config.spam_filter;
    (settings.check == Filter::Rspamd).then(|| {
        let (connect, answer) = (settings.asking.connect_timeout, settings.asking.answer_timeout);
        let rspamd = Rspamd::new(
            settings.address.clone(),
            connect.duration(),
            answer.duration(),
            settings.octets_max.0,
        );
        SpamFilter {
            checker: Arc::new(Checker::new(Box::new(rspamd), turns(&settings.asking))),
            when_unavailable: settings.when_unavailable,
        }
    })
}

/// The key of the quarantine; `None` before the first start.
///
/// # Errors
///
/// When the file cannot be read or holds no key.
pub fn quarantine_key(config: &Config) -> anyhow::Result<Option<DataKey>> {
    let file = config.data.quarantine_key_file();
    match std::fs::read(&file) {
        Ok(octets) => Ok(Some(DataKey::from_octets(&octets).with_context(|| {
            format!("{} holds no key: put the one of the back-up in its place, or nothing in quarantine can be opened", file.display())
        })?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// The key of the quarantine, which is drawn when there is none and nothing is in quarantine.
///
/// # Errors
///
/// When it cannot be read or kept, when it is missing and something is in quarantine, or when the catalog cannot be
/// read.
pub async fn ensure_quarantine_key(
    config: &Config,
    store: &Store,
    random: &dyn RandomSource,
) -> anyhow::Result<DataKey> {
    if let Some(key) = quarantine_key(config)? {
        return Ok(key);
    }
    let rows = store.engine().scan(&Scan::prefix(QUARANTINE, b"", 1)).await;
    if !rows.context("looking into the quarantine")?.is_empty() {
        anyhow::bail!(
            "{} is missing, and messages in quarantine are sealed under it: put the one of the back-up in its place. If there is none, they are lost; to go on without them put 32 random octets there (mode 0600)",
            config.data.quarantine_key_file().display()
        );
    }
    let key = DataKey::draw(random);
    keep_data_key(&config.data.quarantine_key_file(), &key)?;
    Ok(key)
}

/// Looks after the programs: whether they answer, how old signatures are, whether `clamd` takes messages of
/// our size.
pub async fn look_after(
    config: Arc<Config>,
    antivirus: Option<Arc<Checker>>,
    filter: Option<SpamFilter>,
    stopping: CancellationToken,
) {
    let mut programs: Vec<(Arc<Checker>, Option<bool>)> = antivirus
        .into_iter()
        .chain(filter.map(|filter| filter.checker))
        .map(|one| (one, None))
        .collect();
    let mut measured = false;
    while !programs.is_empty() {
        for (checker, up) in &mut programs {
            let now_up = look(checker, *up).await;
            // Who comes back may come back with another configuration.
            measured &= !now_up || *up != Some(false);
            *up = Some(now_up);
        }
        if !measured {
            measured = measure(&config).await;
        }
        if stopping.run_until_cancelled(tokio::time::sleep(LOOK_PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Whether a program answers; says so in the log when that has changed.
async fn look(checker: &Checker, before: Option<bool>) -> bool {
    let (check, health) = (checker.name(), checker.health().await);
    metrics::gauge!(CONTENT_CHECK_UP, "check" => check).set(u8::from(health.is_ok()));
    let health = match health {
        Ok(health) => health,
        Err(error) => {
            if before != Some(false) {
                tracing::error!(
                    check,
                    error = &error as &dyn std::error::Error,
                    "a program that checks messages does not answer"
                );
            }
            return false;
        }
    };
    let age = health.signatures.map(|at| {
        Duration::from_millis(SystemClock.now().0.saturating_sub(at.0).max(0).unsigned_abs())
    });
    if let Some(age) = age {
        metrics::gauge!(SIGNATURES_AGE).set(age.as_secs_f64());
    }
    if before != Some(true) {
        tracing::info!(check, version = health.version, signatures_age = ?age, "messages are checked");
        if age.is_some_and(|age| age > SIGNATURES_OLD) {
            tracing::warn!(check, ?age, "signatures of viruses are old: does freshclam run?");
        }
    }
    true
}

/// Tells the operator when `clamd` does not take messages of the size that we do. Says whether it is known. Its other
/// limits cannot be asked for: without `AlertExceedsMax` it calls clean what they kept it from looking at.
async fn measure(config: &Config) -> bool {
    let Some(clamd) = clamd(config) else { return true };
    let octets = config.limits.relay_message_octets_max.max(config.limits.message_octets_max);
    match clamd.takes(octets.0).await {
        Ok(true) => true,
        Ok(false) => {
            tracing::error!(
                %clamd,
                "clamd takes no messages of {octets}: raise StreamMaxLength in clamd.conf, with MaxFileSize and MaxScanSize, and set AlertExceedsMax; until then larger ones are put off (451)"
            );
            true
        }
        // That it does not answer is told elsewhere.
        Err(_) => false,
    }
}
