//! Takes the next pair into use at its instant, and tells of certificates that run out.
//!
//! A look at every change that the ring has decided, and every half minute: a pair that a command
//! has added or rolled is in use at once, without a restart. Once a day, and at the start, the log says
//! what is left of each certificate and how the signing one deviates from RFC 6109 §5.5.
//!
//! Not here: which pair signs when ([`super::ring`]).

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use trust::{
    certificate::{Certificate, profile},
    clock::UnixMillis,
};

use super::ring::SigningRing;
use crate::{
    config::ProviderSettings, directory::keeper::DirectoryKeeper, metrics_names,
    pec::engine::PecEngine,
};

const DAY_MILLIS: i64 = 86_400_000;

/// The longest pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Nearness {
    Far,
    /// Within 90 days: begin the renewal.
    Quarter,
    /// Within 30 days: the new one must be listed.
    Month,
    /// Within 7 days.
    Week,
    /// It is over.
    Over,
}

fn nearness(end: UnixMillis, now: UnixMillis) -> Nearness {
    match end.0.saturating_sub(now.0) {
        ..0 => Nearness::Over,
        left if left <= 7 * DAY_MILLIS => Nearness::Week,
        left if left <= 30 * DAY_MILLIS => Nearness::Month,
        left if left <= 90 * DAY_MILLIS => Nearness::Quarter,
        _ => Nearness::Far,
    }
}

/// Tells the engine and the directory which pair signs now.
///
/// # Errors
///
/// When the directory cannot be put together again: the signer is exchanged all the same.
pub async fn take_into_use(keeper: &DirectoryKeeper, engine: &PecEngine) -> anyhow::Result<()> {
    if let Some(signer) = keeper.ring().signer()
        && signer.certificate() != engine.signer().certificate()
    {
        let now = keeper.now();
        let decided = keeper
            .ring()
            .pairs()
            .iter()
            .any(|pair| pair.signs && pair.signs_from.is_some_and(|from| from <= now));
        if decided {
            tracing::info!(certificate = ?signer.certificate(), "another pair signs from now on");
        } else {
            tracing::error!(certificate = ?signer.certificate(), "no pair that shall sign is valid: one that is listed for long enough stands in, and `ceralacca keys roll` makes it the one that signs");
        }
        engine.replace_signer(signer);
    }
    keeper.refresh().await
}

/// Looks until the stop.
pub async fn run(
    keeper: Arc<DirectoryKeeper>,
    engine: Arc<PecEngine>,
    provider: ProviderSettings,
    tls: Certificate,
    stopping: CancellationToken,
) {
    let mut told: Option<UnixMillis> = None;
    let mut listed = keeper.ring().listed();
    loop {
        let (now, ring) = (keeper.now(), keeper.ring());
        let signs = ring.signer().map(|signer| signer.certificate().clone());
        let present = ring.listed();
        if signs.as_ref() != Some(engine.signer().certificate()) || listed != present {
            match take_into_use(&keeper, &engine).await {
                Ok(()) => listed = present,
                Err(error) => {
                    tracing::error!(error = %format_args!("{error:#}"), "the directory was not renewed");
                }
            }
        }
        if told.is_none_or(|told| now.0 >= told.0.saturating_add(DAY_MILLIS)) {
            told = Some(now);
            tell(&keeper, signs.as_ref(), &provider, &tls);
        }
        let next = ring.next_change().map_or(LOOK_INTERVAL, |instant| {
            let millis = u64::try_from(instant.0.saturating_sub(now.0)).unwrap_or(0);
            Duration::from_millis(millis).min(LOOK_INTERVAL)
        });
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(next) => {}
        }
    }
}

/// Sets the metrics that say when certificates end.
pub fn show(ring: &SigningRing, tls: &Certificate) {
    let signer = ring.signer();
    let signs = signer.as_ref().map(|signer| signer.certificate());
    for (purpose, certificate) in [("signing", signs), ("tls", Some(tls))] {
        let Some(Ok(end)) = certificate.map(Certificate::not_after) else { continue };
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        metrics::gauge!(metrics_names::CERTIFICATE_END, "use" => purpose).set(end.seconds() as f64);
    }
}

fn tell(
    keeper: &DirectoryKeeper,
    signs: Option<&Certificate>,
    provider: &ProviderSettings,
    tls: &Certificate,
) {
    let now = keeper.now();
    for pair in keeper.ring().pairs() {
        if !pair.signs && pair.signs_from.is_some_and(|from| from < now) {
            continue;
        }
        let deviations =
            profile::deviations(&pair.certificate, &provider.name, &provider.service_address);
        for deviation in deviations {
            tracing::warn!(certificate = ?pair.certificate, %deviation, "the signing certificate is not of the profile of RFC 6109 §5.5");
        }
    }
    for (purpose, certificate) in [("signing", signs), ("tls", Some(tls))] {
        let Some(certificate) = certificate else { continue };
        let Ok(end) = certificate.not_after() else { continue };
        let days = end.0.saturating_sub(now.0) / DAY_MILLIS;
        match nearness(end, now) {
            Nearness::Far => {}
            Nearness::Quarter => {
                tracing::info!(purpose, ?certificate, days, "the certificate ends within 90 days");
            }
            Nearness::Month => {
                tracing::warn!(purpose, ?certificate, days, "the certificate ends within 30 days");
            }
            Nearness::Week => {
                tracing::error!(purpose, ?certificate, days, "the certificate ends within 7 days");
            }
            Nearness::Over => {
                tracing::error!(
                    purpose,
                    ?certificate,
                    "the certificate has expired: nothing is signed with it"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_near_at_90_30_and_7_days() {
        let near = |days: i64| nearness(UnixMillis(days * DAY_MILLIS), UnixMillis(0));
        let expected = [
            (91, Nearness::Far),
            (90, Nearness::Quarter),
            (31, Nearness::Quarter),
            (30, Nearness::Month),
            (8, Nearness::Month),
            (7, Nearness::Week),
            (0, Nearness::Week),
            (-1, Nearness::Over),
        ];
        for (days, nearness) in expected {
            assert_eq!(near(days), nearness, "{days}");
        }
    }
}
