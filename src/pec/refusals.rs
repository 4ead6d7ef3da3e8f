//! Refusals that SMTP peers read: reply code, enhanced status code (RFC 3463), and one line in
//! Italian and English that says what to do.
//!
//! The line is printable ASCII (RFC 5321 §4.2), so Italian accents become apostrophes. What only
//! the log may know never stands in it.

use protocols::smtp::transport::Refusal;
use storage::error::StoreError;

use super::{engine::PecError, sending::Full};
use crate::content::CheckError;

/// No login yet.
pub fn login_first() -> Refusal {
    Refusal::new(530, "5.7.0", "Accedere prima con nome utente e password / Log in first")
}

/// The account cannot send.
pub fn account_blocked() -> Refusal {
    Refusal::new(
        550,
        "5.7.1",
        "Casella bloccata: scrivere all'assistenza / Account blocked: write to the help desk",
    )
}

/// The reverse path is not the login.
pub fn sender_is_not_login(address: &str) -> Refusal {
    Refusal::new(
        553,
        "5.7.1",
        format!(
            "Il mittente deve essere {address}, la casella con cui si accede / Sender must be {address}"
        ),
    )
}

/// The message exceeds the limit.
pub fn message_too_large(octets_max: u64) -> Refusal {
    let megabytes = octets_max >> 20;
    Refusal::new(
        552,
        "5.3.4",
        format!(
            "Messaggio oltre {megabytes} MB: ridurre gli allegati / Message over {megabytes} MB: reduce attachments"
        ),
    )
}

/// The transaction has as many recipients as the plan allows.
pub fn too_many_recipients(recipients_max: u64) -> Refusal {
    Refusal::new(
        452,
        "4.5.3",
        format!(
            "Al massimo {recipients_max} destinatari: dividere l'invio / At most {recipients_max} recipients: split"
        ),
    )
}

/// The plan's messages of a minute or of a day are used up. RFC 5321 §4.2.3: 450, blocked for
/// policy reasons for a while.
pub fn sending_limit_reached(full: Full) -> Refusal {
    let text = match full {
        Full::Minute { limit, seconds } => format!(
            "Limite di {limit} invii al minuto raggiunto: riprovare tra {seconds} secondi / {limit} messages a minute reached: try again in {seconds} seconds"
        ),
        Full::Day { limit, next_day } => {
            let (italian, english) = (next_day.strftime("%d/%m/%Y"), next_day.strftime("%Y-%m-%d"));
            format!(
                "Limite di {limit} invii al giorno raggiunto: riprovare dalle 00:00 del {italian}, ora italiana / {limit} messages a day reached: try again from 00:00 of {english}, Rome time"
            )
        }
    };
    Refusal::new(450, "4.7.1", text)
}

/// The forward path is no address.
pub fn invalid_recipient() -> Refusal {
    Refusal::new(
        553,
        "5.1.3",
        "Indirizzo del destinatario non valido / Recipient address is not valid",
    )
}

/// Nobody could be told at this reverse path what becomes of the message.
pub fn unreachable_sender() -> Refusal {
    Refusal::new(
        553,
        "5.1.7",
        "Indirizzo del mittente non raggiungibile: controllare il dominio / Sender address cannot be reached: check its domain",
    )
}

/// No mailbox has this address.
pub fn unknown_recipient() -> Refusal {
    Refusal::new(
        550,
        "5.1.1",
        "Casella inesistente: controllare l'indirizzo / No such mailbox: check the address",
    )
}

/// The mailbox has no room for a message that is not certified.
pub fn mailbox_full() -> Refusal {
    Refusal::new(
        452,
        "4.2.2",
        "Casella piena: riprovare quando e' stata svuotata / Mailbox full: try later",
    )
}

/// The domain is not ours.
pub fn relaying_denied() -> Refusal {
    Refusal::new(550, "5.7.1", "Dominio non gestito qui / This domain is not served here")
}

/// Ordinary mail is not taken.
pub fn certified_mail_only() -> Refusal {
    Refusal::new(
        550,
        "5.7.1",
        "Si accetta solo posta certificata / Only certified mail is taken here",
    )
}

/// The domain of the sender asks that mail is refused which nothing speaks for (RFC 7372 §3.2).
pub fn dmarc(domain: &str) -> Refusal {
    Refusal::new(
        550,
        "5.7.26",
        format!(
            "DMARC: {domain} chiede di rifiutare questo messaggio / its policy is to refuse this message"
        ),
    )
}

/// The message says in more than one place who wrote it (RFC 5322 §3.6), or of too many domains, or of one
/// that is no DNS name.
pub fn authors() -> Refusal {
    Refusal::new(
        550,
        "5.6.0",
        "Campo From ripetuto, con troppi domini o con uno non valido / From field repeated, with too many domains or an invalid one",
    )
}

/// The domain of the reverse path excludes the server (RFC 7372 §3.2).
pub fn spf(domain: &str) -> Refusal {
    Refusal::new(
        550,
        "5.7.23",
        format!("SPF: {domain} non autorizza questo server / it does not authorize this server"),
    )
}

/// It is not known who sent the message, because DNS does not answer.
pub fn sender_unknown_now() -> Refusal {
    Refusal::new(
        451,
        "4.4.3",
        "Mittente non verificabile al momento: riprovare / Sender cannot be checked now: try later",
    )
}

/// It is not known whether the message has a virus, or whether it is wanted. What went wrong is for the log
/// alone.
pub fn not_checked(error: &CheckError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "a message could not be checked");
    not_checked_now()
}

/// The same, when that is nobody's fault.
pub fn not_checked_now() -> Refusal {
    Refusal::new(
        451,
        "4.7.0",
        "Controllo del contenuto non disponibile: riprovare / Content cannot be checked now: try later",
    )
}

/// Ordinary mail with a virus.
pub fn infected() -> Refusal {
    Refusal::new(550, "5.7.1", "Il messaggio contiene un virus / The message contains a virus")
}

/// The filter of ordinary mail refuses the message.
pub fn unwanted() -> Refusal {
    Refusal::new(
        550,
        "5.7.1",
        "Messaggio rifiutato dal filtro / The message is refused by the filter",
    )
}

/// The filter of ordinary mail wants to see the message again.
pub fn unwanted_now() -> Refusal {
    Refusal::new(451, "4.7.1", "Riprovare tra qualche minuto / Try again in a few minutes")
}

/// Memory for messages is used up.
pub fn busy() -> Refusal {
    Refusal::new(
        452,
        "4.3.1",
        "Sistema occupato: riprovare tra poco / System busy: try again shortly",
    )
}

/// The mailbox of this recipient, or of the one before, has no room, or takes certified mail only: what becomes
/// of the message for it must not hold for others.
pub fn one_at_a_time() -> Refusal {
    Refusal::new(
        452,
        "4.5.3",
        "Casella quasi piena o riservata alla posta certificata: inviare a un destinatario per volta / Mailbox short of space or for certified mail only: send to one recipient at a time",
    )
}

/// The disk has no room for messages.
pub fn disk_full() -> Refusal {
    Refusal::new(
        452,
        "4.3.1",
        "Spazio esaurito sul server: riprovare piu' tardi / Server out of disk space: try later",
    )
}

/// A message on its way could not be kept on disk. What went wrong is for the log alone.
pub fn cannot_keep(error: &std::io::Error) -> Refusal {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "a message on its way cannot be kept: check disk space and the rights of the folder arriving in the data folder"
    );
    disk_full()
}

/// The store takes longer than it may.
pub fn store_slow() -> Refusal {
    Refusal::new(451, "4.3.0", "Server rallentato: riprovare tra poco / Server is slow: try again")
}

/// The store takes nothing.
pub fn store_refuses() -> Refusal {
    Refusal::new(
        451,
        "4.3.0",
        "Servizio temporaneamente non disponibile: riprovare / Try again later",
    )
}

/// The signature cannot be judged at the moment.
pub fn cannot_verify(error: &trust::smime::verify::VerifyError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "a signature cannot be judged");
    Refusal::new(
        451,
        "4.7.5",
        "Firma non verificabile al momento: riprovare / Signature cannot be checked now",
    )
}

/// The store refused: the peer tries again unless the fault is lasting.
pub fn store(error: &StoreError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "a message could not be stored");
    Refusal::new(
        451,
        "4.3.0",
        "Servizio temporaneamente non disponibile: riprovare / Try again later",
    )
}

/// The engine refused. Even a lasting fault is answered with "later": it is ours, not the peer's,
/// and the message must not be lost for it.
pub fn engine(error: &PecError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "a message could not be taken");
    Refusal::new(
        451,
        "4.3.0",
        "Servizio temporaneamente non disponibile: riprovare / Try again later",
    )
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn every_line_is_printable_ascii_and_fits_a_reply() {
        let refusals = [
            login_first(),
            account_blocked(),
            sender_is_not_login("mario.rossi@pec.alfa.example"),
            message_too_large(50 << 20),
            too_many_recipients(50),
            sending_limit_reached(Full::Minute { limit: 2_500, seconds: 60 }),
            sending_limit_reached(Full::Day { limit: 25_000, next_day: date(2026, 11, 28) }),
            invalid_recipient(),
            unknown_recipient(),
            mailbox_full(),
            relaying_denied(),
            certified_mail_only(),
            dmarc(&"d".repeat(253)),
            spf(&"d".repeat(253)),
            sender_unknown_now(),
            not_checked_now(),
            infected(),
            unwanted(),
            unwanted_now(),
            busy(),
            one_at_a_time(),
            disk_full(),
            store_slow(),
            store_refuses(),
            store(&StoreError::Closed),
            engine(&PecError::Stopping),
        ];
        for refusal in refusals {
            assert!(refusal.text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{refusal}");
            // Code, enhanced code, spaces and CR LF within 512 octets (RFC 5321 §4.5.3.1.5).
            assert!(refusal.text.len() <= 400, "{refusal}");
            assert_eq!(
                refusal.code / 100,
                u16::from(refusal.enhanced.as_bytes()[0] - b'0'),
                "{refusal}"
            );
        }
    }
}
