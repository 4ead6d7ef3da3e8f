//! What the demo tells at its end: the time line, the octets, how to log in, the verdict.

use std::path::Path;

use super::{
    exchange::{Exchange, Party},
    provider::Provider,
    screen::{Screen, grouped},
    tools::disk_usage,
};
use crate::texts::Text;

/// When each message was first seen in its account, and the instant that it certifies.
pub(super) fn time_line(exchange: &Exchange, screen: &mut Screen) {
    screen.step(&Text::fixed("La trasmissione nel tempo", "The transmission in time"));
    let mut rows: Vec<(u128, [String; 4])> = Vec::new();
    for party in &exchange.parties {
        for (seen, verified) in party.seen.iter().zip(&party.verified) {
            let Some(verified) = verified else { continue };
            let kind = [verified.kind.as_str(), &verified.recipient].join(" ");
            let row = [
                format!("{} {}", party.login.address, kind.trim_end()),
                format!("+{} ms", seen.as_millis()),
                verified.instant.clone(),
                verified.receipt.clone(),
            ];
            rows.push((seen.as_millis(), row));
        }
    }
    rows.sort_by_key(|(seen, _)| *seen);
    let rows: Vec<[String; 4]> = rows.into_iter().map(|(_, row)| row).collect();
    screen.table(
        &[
            Text::fixed("casella, messaggio", "account, message"),
            Text::fixed("visto", "seen"),
            Text::fixed("istante certificato", "certified instant"),
            Text::fixed("tipo", "type"),
        ],
        &rows,
    );
    let identifier =
        exchange.parties[0].verified.iter().flatten().next().map(|found| found.identifier.clone());
    let identifier = identifier.unwrap_or_default();
    screen.say(&Text::filled(
        format!("identificativo: {identifier}"),
        format!("identifier: {identifier}"),
    ));
}

/// What the messages weigh, against what the folders take.
pub(super) async fn octets(exchange: &Exchange, screen: &mut Screen) {
    screen.step(&Text::fixed("Gli ottetti", "The octets"));
    let mut rows = Vec::new();
    for party in &exchange.parties {
        let row =
            [party.login.address.clone(), party.files.len().to_string(), grouped(logical(party))];
        rows.push(row);
    }
    let count = |parties: &[Party]| parties.iter().map(|party| party.files.len()).sum::<usize>();
    let total: u64 = exchange.parties.iter().map(logical).sum();
    let whole = "=".to_owned();
    rows.push([whole, count(&exchange.parties).to_string(), grouped(total)]);
    screen.table(
        &[
            Text::fixed("casella", "account"),
            Text::fixed("messaggi", "messages"),
            Text::fixed("ottetti logici", "logical octets"),
        ],
        &rows,
    );
    let mut rows = Vec::new();
    let providers = [(&exchange.alfa, false), (&exchange.beta, true)];
    for ((provider, at_beta), stored) in providers.into_iter().zip(exchange.stored_octets) {
        let parties = exchange.parties.iter().filter(|party| party.at_beta == at_beta);
        rows.push(folder_row(provider, parties.map(logical).sum(), stored).await);
    }
    screen.table(
        &[
            Text::fixed("gestore", "provider"),
            Text::fixed("ottetti logici", "logical octets"),
            Text::fixed("conservati", "stored"),
            Text::fixed("du dei pack", "du of packs"),
            Text::fixed("du del catalogo", "du of catalog"),
            Text::fixed("du in tutto", "du in all"),
        ],
        &rows,
    );
}

async fn folder_row(provider: &Provider, logical: u64, stored: u64) -> [String; 6] {
    let data = provider.data_folder();
    let mut taken = Vec::new();
    for folder in [data.join("objects"), data.join("catalog"), data] {
        taken.push(disk_usage(&folder).await.map_or_else(|_| "-".to_owned(), grouped));
    }
    let mut taken = taken.into_iter();
    let mut next = || taken.next().unwrap_or_default();
    let name = provider.identity.name.to_owned();
    [name, grouped(logical), grouped(stored), next(), next(), next()]
}

fn logical(party: &Party) -> u64 {
    party.files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

/// How to look with one's own mail client.
pub(super) fn log_in(exchange: &Exchange, screen: &mut Screen) {
    screen.step(&Text::fixed(
        "Da qui con il proprio programma di posta",
        "From here with your own mail client",
    ));
    let rows: Vec<[String; 5]> = exchange
        .parties
        .iter()
        .map(|party| {
            let provider = if party.at_beta { &exchange.beta } else { &exchange.alfa };
            let ports = provider.ports;
            [
                party.login.address.clone(),
                party.login.password.clone(),
                ports.imaps.to_string(),
                ports.pop3s.to_string(),
                ports.submissions.to_string(),
            ]
        })
        .collect();
    screen.table(
        &[
            Text::fixed("utente", "user"),
            Text::fixed("password", "password"),
            Text::fixed("IMAP, TLS", "IMAP, TLS"),
            Text::fixed("POP3, TLS", "POP3, TLS"),
            Text::fixed("SMTP, TLS", "SMTP, TLS"),
        ],
        &rows,
    );
    let authority = exchange.alfa.endpoints.authority.display();
    screen.say(&Text::filled(
        format!("Server: localhost. Autorità da importare (Thunderbird: Impostazioni, Privacy e sicurezza, Certificati, Autorità): {authority}"),
        format!("Server: localhost. Authority to import (Thunderbird: Settings, Privacy & Security, Certificates, Authorities): {authority}"),
    ));
    let [sender, ..] = &exchange.parties;
    let user = sender.login.address.replace('@', "%40");
    let ports = exchange.alfa.ports;
    screen.say(&Text::fixed("Con mutt:", "With mutt:"));
    screen.print(&format!(
        "     mutt -e 'set ssl_ca_certificates_file={authority}; set smtp_url=smtps://{user}@localhost:{}; set from={}' \\\n          -f imaps://{user}@localhost:{}/INBOX",
        ports.submissions, sender.login.address, ports.imaps,
    ));
    screen.say(&Text::fixed("Ctrl-C ferma entrambi i gestori.", "Ctrl-C stops both providers."));
}

/// The last lines: how many checks held, or what failed and where to look. What ended the demo
/// early is told by the caller.
pub(super) fn verdict(screen: &Screen, ended_early: bool, folder: &Path) {
    let (checks, failures) = (screen.checks(), screen.failures());
    let seconds = screen.elapsed().as_secs_f64();
    screen.print("");
    if failures.is_empty() && !ended_early {
        screen.title(&Text::filled(
            format!("Tutte le {checks} verifiche sono riuscite, in {seconds:.1} s."),
            format!("All {checks} checks passed, in {seconds:.1} s."),
        ));
        return;
    }
    if !failures.is_empty() {
        screen.title(&Text::filled(
            format!("{} verifiche su {checks} non sono riuscite:", failures.len()),
            format!("{} of {checks} checks failed:", failures.len()),
        ));
    }
    for failure in failures {
        screen.print(&format!("  ✗ {failure}"));
    }
    if ended_early {
        screen.title(&Text::fixed(
            "La dimostrazione si è interrotta prima della fine.",
            "The demo ended before its end.",
        ));
    }
    let folder = folder.display();
    screen.title(&Text::filled(
        format!("Messaggi, configurazioni e registri restano in {folder}"),
        format!("Messages, configurations and logs stay in {folder}"),
    ));
}
