//! `[plans.*]`: a provider may grant more than the contract's minima, never less.

use super::{
    reader::{Reader, Section},
    units::{Millis, Octets},
};
use crate::{
    registry::plan::{Plan, PlanLimits, Plans},
    texts::Text,
};

/// Nothing grows beyond this by configuration.
const RATE_MAX: u32 = 1_000_000;

pub(super) fn read(reader: &mut Reader<'_>) -> Plans {
    reader.section(
        "plans",
        Text::fixed(
            "I tipi di casella: una sezione [plans.nome] per tipo. I valori si possono solo alzare.",
            "The types of account: one section [plans.name] each. Values can only be raised.",
        ),
    );
    let mut plans = Plans::default();
    for plan in Plan::ALL.into_iter().filter(|plan| *plan != Plan::Service) {
        let mut section = reader.section(
            &format!("plans.{plan}"),
            Text::filled(format!("Casella di tipo {plan}."), format!("Accounts of type {plan}.")),
        );
        let mut limits = plan.minima();
        limits.space = limits.space.map(|least| {
            section.within(
                "space",
                least,
                (least, Octets::gigabytes(1 << 20)),
                Text::fixed("Spazio senza incrementi.", "Space without increments."),
            )
        });
        limits.increments_max = limits.increments_max.map(|least| {
            section.within(
                "increments_max",
                least,
                (least, RATE_MAX),
                Text::fixed(
                    "Incrementi da 1 GB acquistabili.",
                    "Increments of 1 GB that may be bought.",
                ),
            )
        });
        limits.message_octets_max = section.within(
            "message_octets_max",
            limits.message_octets_max,
            (limits.message_octets_max, Octets::gigabytes(1)),
            Text::fixed("Dimensione di un messaggio inviato.", "Size of a message as submitted."),
        );
        limits.recipients_max = number(
            &mut section,
            "recipients_max",
            limits.recipients_max,
            Text::fixed("Destinatari di un messaggio.", "Recipients of one message."),
        );
        limits.messages_per_day_max = number(
            &mut section,
            "messages_per_day_max",
            limits.messages_per_day_max,
            Text::fixed("Messaggi inviati in un giorno.", "Messages sent in a day."),
        );
        limits.messages_per_minute_max = number(
            &mut section,
            "messages_per_minute_max",
            limits.messages_per_minute_max,
            Text::fixed("Messaggi inviati in un minuto.", "Messages sent in a minute."),
        );
        archive(&mut section, &mut limits);
        plans.grant(plan, limits);
    }
    plans
}

fn archive(section: &mut Section<'_, '_>, limits: &mut PlanLimits) {
    limits.archive_space = limits.archive_space.map(|least| {
        section.within(
            "archive_space",
            least,
            (least, Octets::gigabytes(1 << 20)),
            Text::fixed(
                "Spazio dell'archivio (Archivio e cartelle sotto), oltre a quello della casella.",
                "Space of the archive (Archivio and mailboxes below it), beside the account's own.",
            ),
        )
    });
    limits.archive_older_than = section.within(
        "archive_older_than",
        limits.archive_older_than,
        (Millis(0), Millis::hours(24 * 36_500)),
        Text::fixed(
            "Età a cui i messaggi passano da soli nell'archivio, in giorni; 0 days = mai. Una casella può avere regole sue.",
            "Age at which messages go into the archive by themselves, in days; 0 days = never. An account may have rules of its own.",
        ),
    );
}

fn number(section: &mut Section<'_, '_>, key: &str, least: u32, explanation: Text) -> u32 {
    section.within(key, least, (least, RATE_MAX), explanation)
}
