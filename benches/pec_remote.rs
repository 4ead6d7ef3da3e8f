//! `pec_remote`: transmissions per second from one provider to another over SMTP and TLS, with one
//! recipient, 20 KB, fully processed and durable on both sides: acceptance receipt, envelope, take-charge
//! receipt, delivery, delivery receipt.
//!
//! The limit is the cryptography that each needs, on as many threads: four RSA-2048 signatures (two
//! at each side); of three messages the verification of the signature; and nine SHA-256 passes over
//! the message's octets (the original; of the envelope its entity and the whole at both sides; the
//! same of the delivery receipt; the take-charge receipt is small). Certificates, TLS, and the octets
//! that pass through sockets are not in the limit. Rounds of the two take turns.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use ceralacca::pec::{
    destination::Target,
    tls_policy::{ConfiguredTls, TlsPolicies},
};
use protocols::net::tls::TlsContext;
use storage::octets::OctetStoreConfig;

use crate::{
    Failure, house,
    line::{Goal, Line},
    messages,
    pec_local::{Cryptography, cryptography},
    provider::{
        ALFA, BETA, MESSAGES_PER_SUBMITTER, Network, Provider, ProviderName, SENDER, authority,
    },
};

const RECIPIENT: &str = "bruno@pec.beta.example";
const SUBMITTERS: usize = 32;
const ROUNDS: usize = 3;
const IDLE_CONNECTIONS: usize = 8;
const NEEDS: Cryptography = Cryptography { signatures: 4, verifications: 3, digests: 9 };

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(rounds)
}

async fn rounds(folder: PathBuf) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let authority = authority(&folder.join("authority"))?;
    let network = Network::of(&authority, &[ALFA, BETA])?;
    let issued = authority.issue_tls(&["localhost"], &[])?;
    let context = TlsContext::from_pem(&issued.certificate.to_pem()?, &issued.key.to_pem()?)?;
    let octets = OctetStoreConfig::default;
    let mut alfa = Provider::of(&folder.join("alfa"), threads, octets(), &network, 0).await?;
    let mut beta = Provider::of(&folder.join("beta"), threads, octets(), &network, 1).await?;
    let to_alfa = route(ALFA, alfa.open_door(context.clone()).await?);
    let to_beta = route(BETA, beta.open_door(context).await?);
    for (provider, routes) in [(&mut alfa, to_beta), (&mut beta, to_alfa)] {
        provider.run_workers();
        let tls = TlsPolicies::new(BTreeMap::new(), ConfiguredTls::Opportunistic, b"")?;
        provider.run_queue_under(routes, tls, IDLE_CONNECTIONS)?;
    }
    let (mut in_engines, mut in_limit) = (Duration::ZERO, Duration::ZERO);
    let count = SUBMITTERS * MESSAGES_PER_SUBMITTER;
    let recipients = [RECIPIENT.to_owned()];
    for round in 1..=ROUNDS {
        let made = messages::make_to(round as u64, count, SENDER, RECIPIENT);
        let began = Instant::now();
        alfa.transmit_to(&recipients, &made, 2 * count * round).await?;
        alfa.wait_for_charges(count * round).await?;
        in_engines += began.elapsed();
        in_limit += cryptography(&alfa.key, &made, threads, NEEDS)?;
    }
    alfa.stop().await?;
    beta.stop().await?;
    let all = f64::from(u32::try_from(count * ROUNDS)?);
    Ok(Line {
        name: "pec_remote",
        unit: "transmissions/s",
        value: all / in_engines.as_secs_f64(),
        limit: all / in_limit.as_secs_f64(),
        goal: Goal::AtLeast(0.7),
    })
}

/// Both domains of `name` at `port` of this machine.
fn route(name: ProviderName, port: u16) -> BTreeMap<String, Target> {
    [name.domain.to_owned(), name.mailboxes()]
        .into_iter()
        .map(|domain| (domain, Target { host: "127.0.0.1".to_owned(), port }))
        .collect()
}
