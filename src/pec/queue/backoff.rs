//! Pauses between attempts.

use trust::random::RandomSource;

use crate::pec::engine::EngineSettings;

/// The pause after `attempts` attempts: the first one, longer by the factor each time, up to the
/// longest; then up to a share of it more by chance, so that what was put off together does not
/// come back together.
pub(in crate::pec) fn pause_millis(
    settings: &EngineSettings,
    random: &dyn RandomSource,
    attempts: u32,
) -> i64 {
    let pause = grown(settings, attempts);
    let share = pause.saturating_mul(i64::from(settings.retry_jitter_percent)) / 100;
    let extra = match share {
        ..=0 => 0,
        share => (random.next_u64() % share.unsigned_abs()).cast_signed(),
    };
    pause.saturating_add(extra)
}

fn grown(settings: &EngineSettings, attempts: u32) -> i64 {
    let mut pause = settings.retry_first_millis.max(1);
    for _ in 1..attempts {
        if pause >= settings.retry_longest_millis {
            break;
        }
        let factor = i64::from(settings.retry_factor_percent.max(100));
        let next = pause.saturating_mul(factor) / 100;
        if next <= pause {
            break;
        }
        pause = next;
    }
    pause.min(settings.retry_longest_millis.max(1))
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;

    fn settings() -> EngineSettings {
        EngineSettings {
            retry_first_millis: 5_000,
            retry_longest_millis: 60_000,
            ..EngineSettings::default()
        }
    }

    #[test]
    fn pauses_grow_by_the_factor_up_to_the_longest() {
        let grown_of = |settings: &EngineSettings| -> Vec<i64> {
            (1..=6).map(|attempts| grown(settings, attempts)).collect()
        };
        assert_eq!(grown_of(&settings()), [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
        let slower = EngineSettings { retry_factor_percent: 150, ..settings() };
        assert_eq!(grown_of(&slower), [5_000, 7_500, 11_250, 16_875, 25_312, 37_968]);
        let steady = EngineSettings { retry_factor_percent: 100, ..settings() };
        assert_eq!(grown(&steady, u32::MAX), 5_000);
        assert_eq!(grown(&settings(), u32::MAX), 60_000);
    }

    #[test]
    fn chance_spreads_what_was_put_off_together() {
        let random = SeededRandom::new(3);
        let pauses: Vec<i64> = (0..64).map(|_| pause_millis(&settings(), &random, 2)).collect();
        assert!(pauses.iter().all(|pause| (10_000..12_500).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        let exact = EngineSettings { retry_jitter_percent: 0, ..settings() };
        assert_eq!(pause_millis(&exact, &random, 2), 10_000);
    }
}
