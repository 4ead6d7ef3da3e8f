//! The exchange, step by step: set up, submit, wait, read back, verify, restart, compare.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};
use trust::{
    clock::{Clock, UnixMillis},
    digest::Sha256Digest,
    random::RandomSource,
};

use super::{
    DemoError, DemoOptions, TrustError,
    authority::DemoAuthority,
    client::{Client, Login},
    document, letter,
    letter::Submitted,
    original, picture,
    ports::Ports,
    provider::{Identity, Provider},
    report,
    screen::Screen,
    tools::ToolError,
    verify::{Verified, Verifier},
    words,
};
use crate::texts::Text;

/// Longest wait for the receipts.
const RECEIPTS_LIMIT: Duration = Duration::from_mins(1);
/// Pause between two looks into the accounts.
const LOOK_PAUSE: Duration = Duration::from_millis(60);
/// Where Italian certified mail writes its times (RFC 6109 §4.2: legal local time).
const LEGAL_TIME: &str = "Europe/Rome";

const ALFA: Identity = Identity {
    name: "Alfa PEC",
    mail_domain: "alfa.example",
    pec_domain: "pec.alfa.example",
    folder: "alfa",
};
const BETA: Identity = Identity {
    name: "Beta PEC",
    mail_domain: "beta.example",
    pec_domain: "pec.beta.example",
    folder: "beta",
};

/// An account of the exchange and what it must receive.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) login: Login,
    pub(super) role: Text,
    pub(super) at_beta: bool,
    /// Messages expected in INBOX.
    expected: usize,
    /// When each of them was first seen, after the submission.
    pub(super) seen: Vec<Duration>,
    /// Files read over IMAP, in the order of UIDs.
    pub(super) files: Vec<PathBuf>,
    /// What verification found in them; a message that does not hold has none.
    pub(super) verified: Vec<Option<Verified>>,
}

/// Everything that the steps share.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) folder: PathBuf,
    pub(super) alfa: Provider,
    pub(super) beta: Provider,
    /// Sender, primary recipient, recipient in copy.
    pub(super) parties: [Party; 3],
    pub(super) submitted: Submitted,
    /// Octets of stored chunks, at Alfa and at Beta.
    pub(super) stored_octets: [u64; 2],
}

impl Exchange {
    fn provider(&self, party: &Party) -> &Provider {
        if party.at_beta { &self.beta } else { &self.alfa }
    }

    fn client<'c>(&'c self, party: &'c Party) -> Client<'c> {
        Client { endpoints: &self.provider(party).endpoints, login: &party.login }
    }
}

/// Runs every step. An error means that the rest could not be done; failed checks are on the screen.
pub(super) async fn run(
    options: &DemoOptions,
    folder: &Path,
    screen: &mut Screen,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
) -> Result<(), DemoError> {
    let mut exchange = set_up(options, folder, screen, &clock, &random).await?;
    submit(&mut exchange, screen, clock.now(), random.as_ref()).await?;
    read_back(&mut exchange, screen).await?;
    verify(&mut exchange, screen).await?;
    restart(&mut exchange, screen).await?;
    report::time_line(&exchange, screen);
    report::octets(&exchange, screen).await;
    if !options.once {
        report::log_in(&exchange, screen);
        // An error means that no signal can be waited for: then there is nothing to stay up for.
        let _ = tokio::signal::ctrl_c().await;
    }
    exchange.alfa.stop().await?;
    exchange.beta.stop().await?;
    Ok(())
}

async fn set_up(
    options: &DemoOptions,
    folder: &Path,
    screen: &mut Screen,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn RandomSource>,
) -> Result<Exchange, DemoError> {
    screen.step(&Text::fixed(
        "Due gestori: autorità, certificati, indice, configurazione, caselle",
        "Two providers: authority, certificates, directory, configuration, accounts",
    ));
    let shared = folder.join("authority");
    let authority = DemoAuthority::open(&shared, clock.clone(), random.clone())?;
    let mut alfa = provider(options, folder, ALFA, 10_000, &authority, screen)?;
    let mut beta = provider(options, folder, BETA, 20_000, &authority, screen)?;
    issue(&authority, &[&alfa, &beta])?;
    alfa.configure(&beta, &shared)?;
    beta.configure(&alfa, &shared)?;

    let tool = |source| DemoError::Tool { step: "adding an account", source };
    let password = || format!("{:016x}", random.next_u64());
    let anna = alfa
        .add_account("anna.verdi", ("Anna", "Verdi", "VRDNNA80A41F205K"), password())
        .await
        .map_err(tool)?;
    let bruno = beta
        .add_account("bruno.neri", ("Bruno", "Neri", "NREBRN80A01F205H"), password())
        .await
        .map_err(tool)?;
    let carla = beta
        .add_account("carla.bianchi", ("Carla", "Bianchi", "BNCCRL80A41F205I"), password())
        .await
        .map_err(tool)?;
    screen.step(&Text::fixed("Due processi in ascolto", "Two processes listening"));
    alfa.start().await?;
    beta.start().await?;
    for provider in [&alfa, &beta] {
        let (name, folder) = (provider.identity.name, provider.folder.display());
        screen.say(&Text::filled(format!("{name}: {folder}"), format!("{name}: {folder}")));
    }
    let party = |login, role, at_beta, expected| Party {
        login,
        role,
        at_beta,
        expected,
        seen: Vec::new(),
        files: Vec::new(),
        verified: Vec::new(),
    };
    let parties = [
        // The acceptance receipt and a delivery receipt from each recipient.
        party(anna, Text::fixed("mittente", "sender"), false, 3),
        party(bruno, Text::fixed("destinatario", "recipient"), true, 1),
        party(carla, Text::fixed("in copia", "in copy"), true, 1),
    ];
    let submitted = Submitted { octets: Vec::new(), message_id: String::new() };
    let stored_octets = [0; 2];
    Ok(Exchange { folder: folder.to_owned(), alfa, beta, parties, submitted, stored_octets })
}

fn provider(
    options: &DemoOptions,
    folder: &Path,
    identity: Identity,
    base: u16,
    authority: &DemoAuthority,
    screen: &Screen,
) -> Result<Provider, DemoError> {
    let own = folder.join(identity.folder);
    let made = std::fs::create_dir_all(&own);
    made.map_err(|source| DemoError::Folder { path: own.clone(), source })?;
    let (ports, told) = Ports::choose(base).map_err(DemoError::Ports)?;
    for text in &told {
        screen.say(text);
    }
    let trusted = authority.certificate_file();
    Ok(Provider::new(identity, own, ports, trusted, options.program.clone()))
}

/// Issues every provider's certificates and writes the directory that names them.
fn issue(authority: &DemoAuthority, providers: &[&Provider]) -> Result<(), TrustError> {
    let mut records = Vec::new();
    for provider in providers {
        let Identity { name, mail_domain, pec_domain, .. } = provider.identity;
        let service = provider.identity.service_address();
        let domains = [mail_domain, pec_domain];
        records.push(authority.signing(&provider.folder, name, &domains, &service)?);
        authority.tls(&provider.folder, &provider.identity.host())?;
    }
    authority.write_directory(records)
}

async fn submit(
    exchange: &mut Exchange,
    screen: &mut Screen,
    now: UnixMillis,
    random: &dyn RandomSource,
) -> Result<(), DemoError> {
    screen.step(&Text::fixed(
        "Invio di un messaggio mai esistito prima: PDF, immagine, testo accentato",
        "Submission of a message that never existed before: PDF, picture, accented text",
    ));
    exchange.submitted = message(&exchange.parties, now, random)?;
    let file = exchange.folder.join("submitted.eml");
    write(&file, &exchange.submitted.octets)?;
    let octets = exchange.submitted.octets.len();
    let [sender, to, cc] = &exchange.parties;
    let recipients = [to.login.address.as_str(), cc.login.address.as_str()];
    let began = Instant::now();
    let sent = exchange.client(sender).submit(&file, &recipients).await;
    sent.map_err(|source| DemoError::Tool { step: "submitting the message", source })?;
    let ms = began.elapsed().as_millis();
    screen.say(&Text::filled(
        format!("{octets} ottetti accettati con SMTPS in {ms} ms"),
        format!("{octets} octets accepted over SMTPS in {ms} ms"),
    ));
    screen.step(&Text::fixed("Attesa di buste e ricevute", "Waiting for envelopes and receipts"));
    wait(exchange, began).await?;
    let ms = began.elapsed().as_millis();
    screen.say(&Text::filled(
        format!("tutte arrivate {ms} ms dopo l'inizio dell'invio"),
        format!("all there {ms} ms after the submission began"),
    ));
    Ok(())
}

fn message(
    parties: &[Party; 3],
    now: UnixMillis,
    random: &dyn RandomSource,
) -> Result<Submitted, DemoError> {
    let subject = format!("Perizia: {}", words::sentence(random));
    let pages = 5 + u8::try_from(words::below(random, 4)).unwrap_or_default();
    let attachments = vec![
        ("application/pdf", "perizia.pdf".to_owned(), document::write(random, "Perizia", pages)),
        ("image/png", "facciata.png".to_owned(), picture::draw(random, 480, 320)?),
    ];
    let text = format!(
        "Buongiorno,\n\n{}\n\n{}\n\nCordialità,\nAnna Verdi",
        words::paragraph(random, 3),
        words::paragraph(random, 3),
    );
    let [from, to, cc] = parties.each_ref().map(|party| party.login.address.clone());
    let letter = letter::Letter { from, to, cc, subject, text, date: date(now), attachments };
    Ok(letter.build(random))
}

/// The Date field for `now` in legal local time.
fn date(now: UnixMillis) -> String {
    let instant = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    let zone = jiff::tz::TimeZone::get(LEGAL_TIME).unwrap_or(jiff::tz::TimeZone::UTC);
    instant.to_zoned(zone).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

/// Looks into every account until all messages are there.
async fn wait(exchange: &mut Exchange, began: Instant) -> Result<(), DemoError> {
    loop {
        let mut missing = Vec::new();
        for index in 0..exchange.parties.len() {
            let party = &exchange.parties[index];
            if party.seen.len() < party.expected {
                let found = exchange.client(party).imap_uids().await;
                let step = "looking into an account";
                let count = found.map_err(|source| DemoError::Tool { step, source })?.len();
                let party = &mut exchange.parties[index];
                party.seen.resize(count.max(party.seen.len()), began.elapsed());
                if count < party.expected {
                    missing.push(format!("{} ({count}/{})", party.login.address, party.expected));
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if began.elapsed() > RECEIPTS_LIMIT {
            let missing = missing.join(", ");
            return Err(DemoError::Missing { seconds: RECEIPTS_LIMIT.as_secs(), missing });
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// Reads every account over IMAP and POP3; both must give the same octets.
async fn read_back(exchange: &mut Exchange, screen: &mut Screen) -> Result<(), DemoError> {
    screen.step(&Text::fixed(
        "Rilettura con IMAPS e con POP3S (curl)",
        "Reading back over IMAPS and over POP3S (curl)",
    ));
    for index in 0..exchange.parties.len() {
        let party = &exchange.parties[index];
        let folder = exchange.folder.join("read").join(&party.login.address);
        let made = std::fs::create_dir_all(&folder);
        made.map_err(|source| DemoError::File { path: folder.clone(), source })?;
        let tool = |source| DemoError::Tool { step: "reading an account", source };
        let (imap, pop3) = fetch(&exchange.client(party), &folder).await.map_err(tool)?;
        let address = &party.login.address;
        screen.compare(
            &Text::filled(
                format!("{address}: IMAP ha i messaggi attesi"),
                format!("{address}: IMAP has the expected messages"),
            ),
            &party.expected,
            &imap.len(),
        );
        screen.compare(
            &Text::filled(
                format!("{address}: IMAP e POP3 danno gli stessi ottetti"),
                format!("{address}: IMAP and POP3 give the same octets"),
            ),
            &digests(&imap)?,
            &digests(&pop3)?,
        );
        exchange.parties[index].files = imap;
    }
    Ok(())
}

/// Reads a whole account over both protocols.
async fn fetch(
    client: &Client<'_>,
    folder: &Path,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), ToolError> {
    let uids = client.imap_uids().await?;
    let imap = client.imap_fetch(&uids, folder).await?;
    let numbers = client.pop3_numbers().await?;
    let pop3 = client.pop3_retrieve(&numbers, folder).await?;
    Ok((imap, pop3))
}

/// The SHA-256 of each file, in order, in one text.
fn digests(files: &[PathBuf]) -> Result<String, DemoError> {
    let mut digests = Vec::new();
    for file in files {
        digests.push(hex::encode(Sha256Digest::of(&read(file)?).0));
    }
    Ok(digests.join(" "))
}

/// Verifies every message, and the originals inside.
async fn verify(exchange: &mut Exchange, screen: &mut Screen) -> Result<(), DemoError> {
    screen.step(&Text::fixed(
        "Verifica di firme (openssl cms -verify) e dati di certificazione (xmllint --dtdvalid)",
        "Verification of signatures (openssl cms -verify) and certification data (xmllint --dtdvalid)",
    ));
    let authority = &exchange.alfa.endpoints.authority;
    let verifier = Verifier::new(authority, &exchange.folder);
    let what = Text::fixed("DTD delle regole", "document type of the rules");
    let Some(verifier) = screen.check(&what, verifier) else { return Ok(()) };
    for party in &mut exchange.parties {
        for (index, file) in party.files.iter().enumerate() {
            let (number, address) = (index + 1, &party.login.address);
            let what = Text::filled(
                format!("{address}, messaggio {number}: firma, catena, firmatario, daticert.xml"),
                format!("{address}, message {number}: signature, chain, signer, daticert.xml"),
            );
            party.verified.push(screen.check(&what, verifier.verify(file).await));
        }
    }
    expected_kinds(exchange, screen);
    originals(exchange, screen);
    Ok(())
}

/// Every party has exactly the messages that the rules prescribe, all of one transmission.
fn expected_kinds(exchange: &Exchange, screen: &mut Screen) {
    let [sender, to, cc] = &exchange.parties;
    let kinds = |party: &Party| {
        let mut kinds: Vec<String> = party
            .verified
            .iter()
            .flatten()
            .map(|verified| {
                let Verified { kind, error, receipt, recipient, .. } = verified;
                [kind.as_str(), error, receipt, recipient].join(" ").trim_end().replace("  ", " ")
            })
            .collect();
        kinds.sort();
        kinds.join(", ")
    };
    // A recipient in To gets the complete receipt for the sender, one in Cc the concise one; what was asked
    // for stands in `ricevuta` (RFC 6109 §3.3.2).
    let (to_address, cc_address) = (&to.login.address, &cc.login.address);
    screen.compare(
        &Text::fixed(
            "il mittente ha accettazione e due consegne",
            "the sender has acceptance and two deliveries",
        ),
        &format!(
            "accettazione nessuno, avvenuta-consegna nessuno completa {to_address}, \
             avvenuta-consegna nessuno completa {cc_address}"
        ),
        &kinds(sender),
    );
    for (party, role) in [(to, &to.role), (cc, &cc.role)] {
        let role = role.clone();
        let texts = Text::filled(
            format!("{} ha la busta di trasporto", role.get(crate::texts::Language::Italian)),
            format!("{} has the transport envelope", role.get(crate::texts::Language::English)),
        );
        screen.compare(&texts, &"posta-certificata nessuno completa".to_owned(), &kinds(party));
    }
    let mut identifiers: Vec<&str> = exchange
        .parties
        .iter()
        .flat_map(|party| party.verified.iter().flatten())
        .map(|verified| verified.identifier.as_str())
        .collect();
    identifiers.dedup();
    screen.compare(
        &Text::fixed("un solo identificativo in tutti", "one identifier in all of them"),
        &1,
        &identifiers.len(),
    );
}

/// The original inside envelopes and the complete receipt is the submitted one; nothing else has one.
fn originals(exchange: &Exchange, screen: &mut Screen) {
    let mut inside = 0;
    for party in &exchange.parties {
        for verified in party.verified.iter().flatten() {
            let Some(found) = &verified.original else { continue };
            inside += 1;
            let Submitted { octets, message_id } = &exchange.submitted;
            let (address, kind) = (&party.login.address, &verified.kind);
            screen.check(
                &Text::filled(
                    format!("{address}, {kind}: l'originale è quello inviato, ottetto per ottetto"),
                    format!(
                        "{address}, {kind}: the original is the submitted one, octet for octet"
                    ),
                ),
                original::compare(octets, message_id, found),
            );
        }
    }
    screen.compare(
        &Text::fixed(
            "l'originale è nelle due buste e nella ricevuta completa",
            "the original is in both envelopes and the complete receipt",
        ),
        &3,
        &inside,
    );
}

/// Restarts both: whatever they gave before they must give again. While they stand still their stores
/// are checked and measured.
async fn restart(exchange: &mut Exchange, screen: &mut Screen) -> Result<(), DemoError> {
    screen.step(&Text::fixed(
        "Riavvio dei gestori e confronto degli SHA-256",
        "Restart of the providers and comparison of SHA-256",
    ));
    exchange.alfa.stop().await?;
    exchange.beta.stop().await?;
    for provider in [&exchange.alfa, &exchange.beta] {
        let name = provider.identity.name;
        let checked = provider.administer(&["store", "check"], &[]).await;
        let what =
            Text::filled(format!("archivio di {name} integro"), format!("store of {name} intact"));
        screen.check(&what, checked);
    }
    for at_beta in [false, true] {
        let measured = stored_octets(exchange, at_beta).await;
        let tool = |source| DemoError::Tool { step: "measuring a message", source };
        exchange.stored_octets[usize::from(at_beta)] = measured.map_err(tool)?;
    }
    exchange.alfa.start().await?;
    exchange.beta.start().await?;
    for party in &exchange.parties {
        let folder = exchange.folder.join("read-again").join(&party.login.address);
        let made = std::fs::create_dir_all(&folder);
        made.map_err(|source| DemoError::File { path: folder.clone(), source })?;
        let tool = |source| DemoError::Tool { step: "reading an account again", source };
        let (imap, pop3) = fetch(&exchange.client(party), &folder).await.map_err(tool)?;
        let address = &party.login.address;
        let before = digests(&party.files)?;
        for (protocol, files) in [("IMAP", imap), ("POP3", pop3)] {
            let what = Text::filled(
                format!("{address}: {protocol} dà gli stessi ottetti di prima"),
                format!("{address}: {protocol} gives the same octets as before"),
            );
            screen.compare(&what, &before, &digests(&files)?);
        }
    }
    Ok(())
}

/// The octets that the chunks of every message of one provider take, each chunk once.
async fn stored_octets(exchange: &Exchange, at_beta: bool) -> Result<u64, ToolError> {
    let mut chunks = BTreeMap::new();
    for party in exchange.parties.iter().filter(|party| party.at_beta == at_beta) {
        for number in 1..=party.files.len() {
            let (address, number) = (&party.login.address, number.to_string());
            let show = ["message", "show", address, &number, "--json"];
            let printed = exchange.provider(party).administer(&show, &[]).await?;
            let message: Value = serde_json::from_slice(&printed).unwrap_or_default();
            for chunk in message["chunks"].as_array().into_iter().flatten() {
                let id = chunk["stored_id"].as_str().unwrap_or_default().to_owned();
                chunks.insert(id, chunk["stored_octets"].as_u64().unwrap_or_default());
            }
        }
    }
    Ok(chunks.values().sum())
}

fn read(path: &Path) -> Result<Vec<u8>, DemoError> {
    std::fs::read(path).map_err(|source| DemoError::File { path: path.to_owned(), source })
}

fn write(path: &Path, octets: &[u8]) -> Result<(), DemoError> {
    std::fs::write(path, octets).map_err(|source| DemoError::File { path: path.to_owned(), source })
}
