//! `[snapshots.limits]` and `[snapshots.restore]`: what work on snapshots may take, and how fast restores go.

use ::snapshots::{keep::SnapshotLimits, restore::RestoreLimits};

use super::{
    reader::{Reader, Section},
    units::Octets,
};
use crate::texts::Text;

/// `[snapshots.restore]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RestoreSettings {
    /// Messages that all restores together look at in a second, at most.
    pub messages_per_second_max: u32,
    /// Share of the time that they may take, in hundredths.
    pub busy_percent_max: u32,
    /// Bounds of jobs and steps.
    pub limits: RestoreLimits,
}

impl RestoreSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section(
            "snapshots.restore",
            Text::fixed(
                "Ripristini dalle istantanee: lavora il server, un passo alla volta, tutti i ripristini a turno.",
                "Restores from snapshots: the server does them, one step at a time, all restores in turn.",
            ),
        );
        let messages_per_second_max = section.within(
            "messages_per_second_max",
            4_000_u32,
            (10, 1_000_000),
            Text::fixed(
                "Messaggi esaminati in un secondo da tutti i ripristini insieme.",
                "Messages that all restores together look at in a second.",
            ),
        );
        let busy_percent_max = section.within(
            "busy_percent_max",
            50_u32,
            (1, 100),
            Text::fixed(
                "Centesimi del tempo in cui lavorano: il resto è per la posta, di più se i dischi sono lenti.",
                "Hundredths of the time in which they work: the rest is for mail, more of it when disks are slow.",
            ),
        );
        let limits = bounds(&mut section);
        Self { messages_per_second_max, busy_percent_max, limits }
    }
}

fn bounds(section: &mut Section<'_, '_>) -> RestoreLimits {
    let default = RestoreLimits::default();
    let rows_per_step_max = section.within(
        "batch_messages_max",
        default.rows_per_step_max,
        (1, 10_000),
        Text::fixed(
            "Messaggi riportati in una sola scrittura.",
            "Messages brought back in one write.",
        ),
    );
    let jobs_open_max = section.within(
        "jobs_open_max",
        default.jobs_open_max,
        (1, 1_000),
        Text::fixed(
            "Ripristini di una casella che non sono finiti; un altro è rifiutato.",
            "Restores of an account that have not ended; one more is refused.",
        ),
    );
    let jobs_ended_max = section.within(
        "jobs_ended_max",
        default.jobs_ended_max,
        (1, 10_000),
        Text::fixed(
            "Ripristini finiti che si ricordano di una casella; poi escono i più vecchi.",
            "Restores of an account that ended and are remembered; then the oldest go.",
        ),
    );
    RestoreLimits { rows_per_step_max, jobs_ended_max, jobs_open_max }
}

/// `[snapshots.limits]`
pub(super) fn limits(reader: &mut Reader<'_>) -> SnapshotLimits {
    let mut section = reader.section(
        "snapshots.limits",
        Text::fixed(
            "Quanto può prendere il lavoro su un'istantanea: memoria, e tempo in cui la casella attende.",
            "What work on a snapshot may take: memory, and time in which the account waits.",
        ),
    );
    let section = &mut section;
    let default = SnapshotLimits::default();
    let (rows_in_queue_max, rows_per_step_max, rounds_max) = of_rows(section, &default);
    let (page_octets_held_max, pages_per_batch_max, compression_level) =
        of_pages(section, &default);
    let differences_held_max = section.within(
        "differences_held_max",
        default.differences_held_max,
        (1_000, 10_000_000),
        Text::fixed(
            "Differenze fra due istanti tenute in memoria per riconoscere gli spostamenti, circa 200 ottetti l'una.",
            "Differences between two instants that are held to find moves, of some 200 octets each.",
        ),
    );
    SnapshotLimits {
        rows_in_queue_max,
        rows_per_step_max,
        page_octets_held_max,
        rounds_max,
        pages_per_batch_max,
        compression_level,
        differences_held_max,
    }
}

fn of_rows(section: &mut Section<'_, '_>, default: &SnapshotLimits) -> (usize, usize, usize) {
    let in_queue = section.within(
        "rows_in_queue_max",
        default.rows_in_queue_max,
        (10, 100_000),
        Text::fixed(
            "Righe cambiate che si elaborano mentre le modifiche della casella attendono; con più, si prepara prima.",
            "Changed rows that are worked through while changes of the account wait; of more, pages are written ahead.",
        ),
    );
    let per_step = section.within(
        "rows_per_step_max",
        default.rows_per_step_max,
        (100, 1_000_000),
        Text::fixed(
            "Righe di un passo di questa preparazione.",
            "Rows of one step when pages are written ahead.",
        ),
    );
    let rounds = section.within(
        "rounds_max",
        default.rounds_max,
        (0, 1_000),
        Text::fixed(
            "Preparazioni ripetute perché la casella continuava a cambiare; poi si riprova al giro dopo.",
            "Times that pages are written ahead because the account went on changing; then the next run tries again.",
        ),
    );
    (in_queue, per_step, rounds)
}

fn of_pages(section: &mut Section<'_, '_>, default: &SnapshotLimits) -> (usize, usize, i32) {
    let held = section.within(
        "page_octets_held_max",
        Octets(default.page_octets_held_max as u64),
        (Octets::kilobytes(64), Octets::gigabytes(1)),
        Text::fixed(
            "Pagine tenute in memoria prima di scriverle.",
            "Pages that are held before they are written.",
        ),
    );
    let per_batch = section.within(
        "pages_per_batch_max",
        default.pages_per_batch_max,
        (10, 100_000),
        Text::fixed(
            "Pagine tolte o passate in una sola scrittura.",
            "Pages that one write removes or passes on.",
        ),
    );
    let level = section.within(
        "compression_level",
        u8::try_from(default.compression_level).unwrap_or(6),
        (1, 19),
        Text::fixed("Livello di zstd delle pagine.", "Level of zstd for pages."),
    );
    (usize::try_from(held.0).unwrap_or(usize::MAX), per_batch, i32::from(level))
}
