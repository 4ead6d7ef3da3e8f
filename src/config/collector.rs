//! `[collector]`: how the space of what nobody uses comes back.

use super::{
    reader::{Reader, Section},
    units::{Millis, Octets},
};
use crate::texts::Text;

/// `[collector]`: how space comes back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CollectorSettings {
    /// Pause between two runs.
    pub interval: Millis,
    /// How long chunks stay condemned, and packs doomed.
    pub grace: Millis,
    /// Octets read and written per second; 0 = no bound.
    pub octets_per_second: Octets,
    /// Requests to the object store per second; 0 = no bound.
    pub requests_per_second: u32,
    /// Memory for what is marked and moved.
    pub memory_octets_max: Octets,
    /// Level of zstd at which the packer writes packs, and the collector merges them.
    pub pack_compression_level: u8,
    /// Level of zstd at which packs are rewritten.
    pub cold_compression_level: u8,
    /// What moves under the colder prefix.
    pub cold: ColdSettings,
    /// Pause between two rounds of disposal.
    pub disposal_interval: Millis,
    /// How long finished transmissions keep their messages, and expunge logs their entries.
    pub disposal_retention: Millis,
}

/// What moves under the colder prefix: chunks that only archived messages, or those that a snapshot
/// keeps, refer to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ColdSettings {
    /// How old packs are before it moves out of them.
    pub after: Millis,
    /// Hundredths of a pack for which it is rewritten.
    pub percent_min: u8,
    /// Octets that are worth a cold pack.
    pub octets_min: Octets,
    /// Level of zstd for what moves.
    pub level: u8,
}

/// As long as this means never.
const NEVER: Millis = Millis::hours(24 * 3650);

impl ColdSettings {
    /// How old packs are before it moves out of them; `None` = nothing moves.
    #[must_use]
    pub fn after(&self) -> Option<std::time::Duration> {
        (self.after != NEVER).then(|| self.after.duration())
    }
}

impl CollectorSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "collector",
            Text::fixed(
                "Come torna lo spazio di ciò che nessuno usa più.",
                "How the space of what nobody uses any more comes back.",
            ),
        );
        let section = &mut section;
        let (interval, grace) = times(section);
        let (octets_per_second, requests_per_second, memory_octets_max) = bounds(section);
        let (pack_compression_level, cold_compression_level) = levels(section);
        let cold = cold(section);
        let (disposal_interval, disposal_retention) = disposal(section);
        Self {
            interval,
            grace,
            octets_per_second,
            requests_per_second,
            memory_octets_max,
            pack_compression_level,
            cold_compression_level,
            cold,
            disposal_interval,
            disposal_retention,
        }
    }
}

fn times(section: &mut Section<'_, '_>) -> (Millis, Millis) {
    let interval = section.within(
        "interval",
        Millis::hours(1),
        (Millis::seconds(1), Millis::hours(24 * 7)),
        Text::fixed("Pausa tra due giri.", "Pause between two runs."),
    );
    let grace = section.within(
                "grace",
                Millis::hours(24),
                (Millis(0), Millis::hours(24 * 365)),
                Text::fixed(
                    "Quanto resta un chunk inutilizzato prima di essere tolto, e poi il suo pack: più della sessione più lunga.",
                    "How long an unused chunk stays before it is removed, and then its pack: longer than the longest session.",
                ),
            );
    (interval, grace)
}

fn bounds(section: &mut Section<'_, '_>) -> (Octets, u32, Octets) {
    let octets_per_second = section.within(
        "octets_per_second",
        Octets::megabytes(64),
        (Octets(0), Octets::gigabytes(1024)),
        Text::fixed(
            "Ottetti letti e scritti al secondo; 0 = senza limite.",
            "Octets read and written per second; 0 = no bound.",
        ),
    );
    let requests_per_second = section.within(
        "requests_per_second",
        200,
        (0, 1_000_000),
        Text::fixed(
            "Richieste agli oggetti al secondo; 0 = senza limite.",
            "Requests to the object store per second; 0 = no bound.",
        ),
    );
    let memory_octets_max = section.within(
        "memory_octets_max",
        Octets::megabytes(64),
        (Octets::megabytes(1), Octets::gigabytes(1024)),
        Text::fixed(
            "Memoria per ciò che si marca e si sposta; con poca si fanno più passate.",
            "Memory for what is marked and moved; with little there are more passes.",
        ),
    );
    (octets_per_second, requests_per_second, memory_octets_max)
}

fn levels(section: &mut Section<'_, '_>) -> (u8, u8) {
    let pack_compression_level = level(
        section,
        "pack_compression_level",
        6,
        Text::fixed(
            "Livello zstd con cui si scrivono i pack.",
            "Level of zstd at which packs are written.",
        ),
    );
    let cold_compression_level = level(
        section,
        "cold_compression_level",
        12,
        Text::fixed(
            "Livello zstd con cui si riscrivono i pack vecchi.",
            "Level of zstd at which old packs are rewritten.",
        ),
    );
    (pack_compression_level, cold_compression_level)
}

fn cold(section: &mut Section<'_, '_>) -> ColdSettings {
    ColdSettings {
        after: section.within(
            "cold_after",
            Millis::hours(24 * 30),
            (Millis(0), NEVER),
            Text::fixed(
                "Età dei pack da cui passa a packs/cold ciò che serve solo ad archivi e istantanee; \"3650 days\": mai.",
                "Age of packs out of which what only archives and snapshots need moves to packs/cold; \"3650 days\": never.",
            ),
        ),
        percent_min: section.within(
            "cold_percent_min",
            50,
            (1, 100),
            Text::fixed(
                "Un pack si riscrive per questo quando almeno tanti centesimi servono solo a quelli.",
                "A pack is rewritten for it when at least so many hundredths are needed by those alone.",
            ),
        ),
        octets_min: section.within(
            "cold_octets_min",
            Octets::megabytes(4),
            (Octets(0), Octets::gigabytes(1024)),
            Text::fixed(
                "Con meno ottetti di così in tutto non si riscrive nulla per questo.",
                "With fewer octets than this in all, nothing is rewritten for it.",
            ),
        ),
        level: level(
            section,
            "cold_pack_compression_level",
            19,
            Text::fixed(
                "Livello zstd di ciò che passa a packs/cold.",
                "Level of zstd for what moves to packs/cold.",
            ),
        ),
    }
}

fn disposal(section: &mut Section<'_, '_>) -> (Millis, Millis) {
    let disposal_interval = section.within(
        "disposal_interval",
        Millis::hours(6),
        (Millis::seconds(1), Millis::hours(24 * 7)),
        Text::fixed(
            "Pausa tra due giri che lasciano andare i messaggi delle trasmissioni concluse.",
            "Pause between two rounds that let go of the messages of finished transmissions.",
        ),
    );
    let disposal_retention = section.within(
        "disposal_retention",
        Millis::hours(24 * 30),
        (Millis::hours(24), Millis::hours(24 * 3650)),
        Text::fixed(
            "Quanto restano i messaggi delle trasmissioni concluse e le tracce di quelli espunti.",
            "How long messages of finished transmissions, and traces of expunged ones, stay.",
        ),
    );
    (disposal_interval, disposal_retention)
}

fn level(section: &mut Section<'_, '_>, key: &str, level: u8, explanation: Text) -> u8 {
    section.within(key, level, (1, 19), explanation)
}
