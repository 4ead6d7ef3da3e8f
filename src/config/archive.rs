//! `[archive]`: how old messages move into the archive.

use super::{
    reader::{Reader, Section},
    units::{Millis, Octets},
};
use crate::texts::Text;

/// `[archive]`: how old messages move into the archive. How old, says the plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArchiveSettings {
    /// Whether runs begin by themselves.
    pub enabled: bool,
    /// From one run over an account to the next.
    pub interval: Millis,
    /// Accounts in an hour.
    pub accounts_per_hour_max: u32,
    /// Messages moved in a second.
    pub messages_per_second_max: u32,
    /// Messages moved in one batch.
    pub batch_messages_max: u32,
    /// By default, messages of more octets only; 0 = all.
    pub larger_than: Octets,
    /// By default, messages with `\Seen` only.
    pub only_read: bool,
    /// By default, no messages with `\Flagged`.
    pub except_flagged: bool,
}

impl ArchiveSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "archive",
            Text::fixed(
                "Come i messaggi vecchi passano nell'archivio. Quanto vecchi lo dice il tipo di casella ([plans.*] archive_older_than).",
                "How old messages move into the archive. How old, says the plan ([plans.*] archive_older_than).",
            ),
        );
        let section = &mut section;
        let (enabled, interval) = times(section);
        let (accounts_per_hour_max, messages_per_second_max, batch_messages_max) = bounds(section);
        let (larger_than, only_read, except_flagged) = defaults(section);
        Self {
            enabled,
            interval,
            accounts_per_hour_max,
            messages_per_second_max,
            batch_messages_max,
            larger_than,
            only_read,
            except_flagged,
        }
    }
}

fn times(section: &mut Section<'_, '_>) -> (bool, Millis) {
    let enabled = section.key(
        "enabled",
        true,
        Text::fixed(
            "Se i giri partono da soli. `ceralacca archive run` funziona comunque.",
            "Whether runs begin by themselves. `ceralacca archive run` works in any case.",
        ),
    );
    let interval = section.within(
        "interval",
        Millis::hours(24),
        (Millis::seconds(1), Millis::hours(24 * 365)),
        Text::fixed(
            "Da un giro di una casella al successivo.",
            "From one run over an account to the next.",
        ),
    );
    (enabled, interval)
}

fn bounds(section: &mut Section<'_, '_>) -> (u32, u32, u32) {
    let accounts_per_hour_max = section.within(
        "accounts_per_hour_max",
        20_000,
        (1, 10_000_000),
        Text::fixed(
            "Caselle guardate in un'ora, una alla volta.",
            "Accounts looked at in an hour, one at a time.",
        ),
    );
    let messages_per_second_max = section.within(
        "messages_per_second_max",
        1_000,
        (1, 1_000_000),
        Text::fixed("Messaggi spostati in un secondo.", "Messages moved in a second."),
    );
    let batch_messages_max = section.within(
        "batch_messages_max",
        200,
        (1, 1_000),
        Text::fixed("Messaggi spostati in una sola scrittura.", "Messages moved in one write."),
    );
    (accounts_per_hour_max, messages_per_second_max, batch_messages_max)
}

fn defaults(section: &mut Section<'_, '_>) -> (Octets, bool, bool) {
    let larger_than = section.within(
        "larger_than",
        Octets(0),
        (Octets(0), Octets::gigabytes(1)),
        Text::fixed(
            "Senza regole proprie, solo i messaggi più grandi di così; 0 octets = tutti.",
            "Without rules of its own, messages larger than this only; 0 octets = all.",
        ),
    );
    let only_read = section.key(
        "only_read",
        true,
        Text::fixed(
            "Senza regole proprie, solo i messaggi letti.",
            "Without rules of its own, read messages only.",
        ),
    );
    let except_flagged = section.key(
        "except_flagged",
        true,
        Text::fixed(
            "Senza regole proprie, non i messaggi contrassegnati.",
            "Without rules of its own, no flagged messages.",
        ),
    );
    (larger_than, only_read, except_flagged)
}
