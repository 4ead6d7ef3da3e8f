//! `ceralacca store stats`.

use std::path::Path;

use trust::clock::UnixMillis;

use crate::{
    cli::{
        failure::Failure,
        operation,
        output::{Output, instant},
    },
    control::operations::stats::{CacheView, StatsOutcome, StoreStats},
    texts::{Language, Text},
};

pub(super) fn run(
    file: Option<&Path>,
    output: &Output,
    account: Option<String>,
) -> Result<(), Failure> {
    let outcome = operation::run(file, output, &StoreStats { account })?;
    if output.wants_json() {
        Output::json(&outcome);
    } else {
        Output::raw(text(&outcome, output.language()).as_bytes());
    }
    Ok(())
}

fn text(outcome: &StatsOutcome, language: Language) -> String {
    let lines = lines(outcome, language);
    let width = lines.iter().map(|(name, _)| name.get(language).chars().count()).max().unwrap_or(0);
    let line = |(name, value): &(Text, String)| {
        let name = name.get(language);
        let gap = " ".repeat(width - name.chars().count() + 2);
        format!("{name}{gap}{value}\n")
    };
    lines.iter().map(line).collect::<Vec<_>>().concat()
}

fn lines(outcome: &StatsOutcome, language: Language) -> Vec<(Text, String)> {
    let mut lines: Vec<(Text, String)> = Vec::new();
    let mut add = |italian, english, value| lines.push((Text::fixed(italian, english), value));
    if let Some(account) = &outcome.account {
        add("Casella", "Account", account.clone());
    }
    let per_mille = outcome.saved_per_mille;
    let saved =
        format!("{} ({}.{} %)", octets(outcome.saved_octets), per_mille / 10, per_mille % 10);
    add("Righe", "Rows", outcome.rows.to_string());
    add("Ottetti logici", "Logical octets", octets(outcome.logical_octets));
    add("Ottetti addebitati", "Charged octets", octets(outcome.charged_octets));
    let in_snapshots =
        format!("{} ({})", outcome.snapshot_messages, octets(outcome.snapshot_octets));
    add("Solo in istantanee", "In snapshots alone", in_snapshots);
    if let Some(store) = &outcome.store {
        add("Messaggi trattenuti", "Held messages", store.held_messages.to_string());
        add("Loro ottetti", "Their octets", octets(store.held_octets));
    }
    add("Ottetti fisici", "Physical octets", octets(outcome.physical_octets));
    add("Risparmio", "Saved", saved);
    add("Chunk", "Chunks", outcome.chunks.to_string());
    if let Some(shares) = &outcome.shares {
        add("Solo di questa casella", "Of this account alone", octets(shares.exclusive_octets));
        add("In proporzione", "In proportion", octets(shares.proportional_octets));
    }
    if let Some(store) = &outcome.store {
        let live = store.live_octets * 100 / store.pack_octets.max(1);
        add("Caselle", "Accounts", store.accounts.to_string());
        add("In attesa del packer", "Waiting for the packer", octets(store.staged_octets));
        add("Ottetti in packs/cold", "Octets in packs/cold", octets(store.cold_octets));
        add("Pack", "Packs", store.packs.to_string());
        add("Ottetti dei pack", "Octets of packs", octets(store.pack_octets));
        add("Parte viva", "Live part", format!("{live} %"));
        add(
            "Pack vivi per meno di metà",
            "Packs live by less than half",
            store.sparse_packs.to_string(),
        );
        add("Chunk danneggiati", "Damaged chunks", store.damaged_chunks.to_string());
        add("Catalogo su disco", "Catalog on disk", octets(store.catalog_octets));
        if let Some(scrub) = &store.last_scrub {
            let damages = scrub.damaged_packs + scrub.damaged_chunks;
            let ended = instant(UnixMillis(scrub.ended_millis));
            let value = format!("{ended}, {} pack, {damages}", scrub.packs);
            add("Ultimo scrub, pack letti, danni", "Last scrub, packs read, damages", value);
        }
        add("Cache in memoria", "Cache in memory", cache(&store.caches.memory, language));
        if let Some(disk) = &store.caches.disk {
            add("Cache su disco", "Cache on disk", cache(disk, language));
        }
    }
    lines
}

/// What a cache holds, and how often it had what was asked for.
fn cache(figures: &CacheView, language: Language) -> String {
    let CacheView { hits, misses, entries, .. } = *figures;
    let per_mille = hits.saturating_mul(1_000) / hits.saturating_add(misses).max(1);
    let share = format!("{}.{} %", per_mille / 10, per_mille % 10);
    let (held, most) = (octets(figures.octets), octets(figures.octets_max));
    match language {
        Language::Italian => {
            format!("{held} di {most}, {entries} chunk; trovati {hits}, mancati {misses} ({share})")
        }
        Language::English => {
            format!("{held} of {most}, {entries} chunks; hits {hits}, misses {misses} ({share})")
        }
    }
}

/// Octets as people read them: exact below 1 KB, else with one decimal.
pub(super) fn octets(octets: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    let mut unit = None;
    let mut tenths = u128::from(octets) * 10;
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1_024;
        unit = Some(name);
    }
    match unit {
        None => octets.to_string(),
        Some(unit) => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::{Language, octets, text};
    use crate::control::operations::stats::{
        CacheView, CachesView, SharesView, StatsOutcome, StoreView,
    };

    #[test]
    fn octets_are_shown_exactly_while_they_are_few() {
        let shown = [0, 1_023, 1_024, 1_536, 5 << 20, 3 << 40].map(octets);
        assert_eq!(shown, ["0", "1023", "1.0 KB", "1.5 KB", "5.0 MB", "3.0 TB"]);
    }

    #[test]
    fn the_figures_of_an_account_stand_below_each_other() {
        let outcome = StatsOutcome {
            account: Some("anna@pec.example".to_owned()),
            rows: 3,
            logical_octets: 4 << 20,
            charged_octets: 3 << 20,
            snapshot_messages: 2,
            snapshot_octets: 1 << 20,
            physical_octets: 1 << 20,
            saved_octets: 3 << 20,
            saved_per_mille: 750,
            chunks: 9,
            shares: Some(SharesView { exclusive_octets: 512 << 10, proportional_octets: 1_000 }),
            store: None,
        };
        assert_eq!(
            text(&outcome, Language::Italian),
            "Casella                 anna@pec.example\n\
             Righe                   3\n\
             Ottetti logici          4.0 MB\n\
             Ottetti addebitati      3.0 MB\n\
             Solo in istantanee      2 (1.0 MB)\n\
             Ottetti fisici          1.0 MB\n\
             Risparmio               3.0 MB (75.0 %)\n\
             Chunk                   9\n\
             Solo di questa casella  512.0 KB\n\
             In proporzione          1000\n"
        );
    }

    #[test]
    fn the_figures_of_a_store_say_what_waits_what_is_live_and_what_the_caches_do() {
        let memory = CacheView { hits: 2, misses: 1, entries: 5, octets: 2_048, octets_max: 4_096 };
        let disk = Some(CacheView { octets_max: 10 << 30, ..CacheView::default() });
        let store = StoreView {
            accounts: 2,
            held_messages: 1,
            held_octets: 700,
            staged_octets: 800,
            cold_octets: 300,
            packs: 4,
            pack_octets: 4_000,
            live_octets: 3_000,
            sparse_packs: 1,
            caches: CachesView { memory, disk },
            ..StoreView::default()
        };
        let outcome = StatsOutcome { store: Some(store), ..StatsOutcome::default() };
        let shown = text(&outcome, Language::English);
        for line in [
            "In snapshots alone            0 (0)",
            "Held messages                 1",
            "Their octets                  700",
            "Waiting for the packer        800",
            "Octets in packs/cold          300",
            "Live part                     75 %",
            "Packs live by less than half  1",
            "Cache in memory               2.0 KB of 4.0 KB, 5 chunks; hits 2, misses 1 (66.6 %)",
            "Cache on disk                 0 of 10.0 GB, 0 chunks; hits 0, misses 0 (0.0 %)",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line:?} in {shown}");
        }
    }
}
