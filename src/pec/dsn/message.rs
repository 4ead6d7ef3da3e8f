//! The form of a delivery status notification (RFC 3464, RFC 6522).
//!
//! ```text
//! multipart/signed
//! └─ multipart/report; report-type=delivery-status
//!    ├─ text/plain                  Italian, then English
//!    ├─ message/delivery-status     for programs
//!    └─ message/rfc822              all of the message, or
//!       text/rfc822-headers         its header
//! ```
//!
//! To an address outside ASCII, which is reached by SMTPUTF8 only, the parts for programs have the types
//! of RFC 6533: message/global-delivery-status, and message/global or message/global-headers for what is
//! outside ASCII itself.
//!
//! Invariant: what others have written (an answer of a server, an address) is printable ASCII on
//! lines of its own field before it stands in the machine's part.

use crate::pec::{
    dsn::{Report, Returned},
    frame::transfer_encoding,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed, prefixed_subject},
    mime::encode_quoted_printable,
};

/// What became of recipients (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// The message will not reach them.
    Failed,
    /// It is late, and tried again.
    Delayed,
    /// It is in their mailboxes.
    Delivered,
    /// A server that makes no reports has it.
    Relayed,
}

impl Action {
    /// The word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }

    fn subject_prefix(self) -> &'static str {
        match self {
            Self::Failed => "Rapporto di mancato recapito: ",
            Self::Delayed => "Rapporto di recapito in ritardo: ",
            Self::Delivered => "Rapporto di recapito: ",
            Self::Relayed => "Rapporto di inoltro: ",
        }
    }

    fn italian(self) -> [&'static str; 2] {
        match self {
            Self::Failed => [
                "non è stato recapitato a:",
                "Cosa fare: controllare l'indirizzo e la risposta del server, poi inviare di nuovo.",
            ],
            Self::Delayed => [
                "non è ancora stato recapitato a:",
                "Non occorre fare nulla: il gestore continua a provare e informerà del mancato recapito.",
            ],
            Self::Delivered => ["è stato recapitato a:", "Non occorre fare nulla."],
            Self::Relayed => [
                "è stato inoltrato al server di:",
                "Quel server non invia conferme: altri rapporti arriveranno solo in caso di errore.",
            ],
        }
    }

    fn english(self) -> [&'static str; 2] {
        match self {
            Self::Failed => [
                "was not delivered to:",
                "What to do: check the address and the server's answer, then send it again.",
            ],
            Self::Delayed => [
                "is not delivered so far to:",
                "Nothing need be done: the provider goes on trying and will tell of a failure.",
            ],
            Self::Delivered => ["was delivered to:", "Nothing need be done."],
            Self::Relayed => [
                "was handed to the server of:",
                "That server confirms nothing: further reports come only of an error.",
            ],
        }
    }
}

/// What became of one recipient.
#[derive(Clone, Debug)]
pub struct RecipientReport {
    /// The forward path.
    pub address: String,
    /// Whom the first sender named: type, semicolon, address.
    pub original: Option<String>,
    /// Enhanced status code (RFC 3463).
    pub status: String,
    /// The server that has answered, and its answer.
    pub answer: Option<(String, String)>,
    /// When it was tried last.
    pub last_attempt: Option<CertifiedInstant>,
    /// Why, when no server has said so: Italian, English.
    pub reason: Option<(String, String)>,
}

impl Issuer {
    /// A report on a message that this server, `host`, has had.
    pub(super) fn status_notification(
        &self,
        report: &Report,
        returned: &Returned,
        host: &str,
        at: &CertifiedInstant,
    ) -> Unsealed {
        let message_id = report.message_id.clone().unwrap_or_default();
        let mut markers = vec![("Return-Path", "<>"), ("Auto-Submitted", "auto-replied")];
        if !message_id.is_empty() {
            markers.push(("In-Reply-To", message_id.as_str()));
        }
        let subject = prefixed_subject(report.action.subject_prefix(), report.subject.as_deref());
        let (header, message_id) = self.notice_header(&markers, at, subject, &report.to, None);
        let boundary = self.identifiers.boundary();
        let global = !report.to.is_ascii();
        let status = if global { "global-delivery-status" } else { "delivery-status" };
        let (kind, octets) = match returned {
            Returned::Whole(octets) if global && !octets.is_ascii() => ("message/global", octets),
            Returned::Whole(octets) => ("message/rfc822", octets),
            Returned::Header(octets) if global && !octets.is_ascii() => {
                ("message/global-headers", octets)
            }
            Returned::Header(octets) => ("text/rfc822-headers", octets),
        };
        let needed = transfer_encoding(&[octets]);
        let mut entity = format!(
            "Content-Type: multipart/report; report-type={status};\r\n boundary=\"{boundary}\"\r\n\
             Content-Transfer-Encoding: {needed}\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        )
        .into_bytes();
        entity.extend(encode_quoted_printable(text(&self.name, report).as_bytes()));
        entity.extend(
            format!(
                "\r\n--{boundary}\r\nContent-Type: message/{status}\r\n\r\n{}\
                 \r\n--{boundary}\r\nContent-Type: {kind}\r\n\
                 Content-Transfer-Encoding: {needed}\r\n\r\n",
                fields(report, host)
            )
            .into_bytes(),
        );
        entity.extend_from_slice(octets);
        entity.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        Unsealed { header: header.to_octets(), entity, message_id, data: None }
    }
}

fn text(provider: &str, report: &Report) -> String {
    let subject = report.subject.as_deref().unwrap_or_default();
    let arrived = CertifiedInstant::new(report.arrived);
    let (day, time) = (arrived.day(), arrived.time());
    let [italian, italian_advice] = report.action.italian();
    let [english, english_advice] = report.action.english();
    let until = report.retried_until.map(CertifiedInstant::new);
    let (italian_until, english_until) = until.map_or_else(Default::default, |until| {
        let (day, time) = (until.day(), until.time());
        (
            format!("I tentativi continuano fino al giorno {day} alle ore {time}.\r\n"),
            format!("It is tried until {day} {time}.\r\n"),
        )
    });
    format!(
        "Questo è un rapporto automatico di {provider}: non occorre rispondere.\r\n\r\n\
         Il messaggio \"{subject}\" del giorno {day} alle ore {time}\r\n{italian}\r\n\r\n{}\r\n\
         {italian_until}{italian_advice}\r\n\
         \r\n------------------------------------------------------------\r\n\r\n\
         This is an automatic report of {provider}: it needs no answer.\r\n\r\n\
         The message \"{subject}\" of {day} {time}\r\n{english}\r\n\r\n{}\r\n\
         {english_until}{english_advice}\r\n",
        recipients(report, true),
        recipients(report, false),
    )
}

fn recipients(report: &Report, italian: bool) -> String {
    let mut lines = String::new();
    for recipient in &report.recipients {
        lines.push_str("  ");
        lines.push_str(&recipient.address);
        lines.push_str("\r\n");
        if let Some((server, answer)) = &recipient.answer {
            let server = printable(server);
            let said = if italian { "risponde" } else { "says" };
            lines.push_str(&line_of(&format!("    {server} {said}: {}", printable(answer))));
        } else if let Some((in_italian, in_english)) = &recipient.reason {
            let reason = if italian { in_italian } else { in_english };
            lines.push_str(&line_of(&format!("    {} {reason}", recipient.status)));
        }
    }
    lines
}

fn line_of(text: &str) -> String {
    format!("{text}\r\n")
}

/// The fields for programs (RFC 3464 §2.1.1).
fn fields(report: &Report, host: &str) -> String {
    let mut fields = String::new();
    if let Some(envelope_id) = &report.envelope_id {
        put(&mut fields, "Original-Envelope-Id", envelope_id);
    }
    put(&mut fields, "Reporting-MTA", &format!("dns; {host}"));
    let arrived = CertifiedInstant::new(report.arrived).header_date();
    put(&mut fields, "Arrival-Date", &arrived);
    for recipient in &report.recipients {
        fields.push_str("\r\n");
        if let Some(original) = &recipient.original {
            // The form of RFC 3464 §2.3.1 has a space that xtext has not.
            put(&mut fields, "Original-Recipient", &original.replacen(';', "; ", 1));
        }
        put(&mut fields, "Final-Recipient", &format!("rfc822; {}", recipient.address));
        put(&mut fields, "Action", report.action.word());
        put(&mut fields, "Status", &recipient.status);
        if let Some((server, answer)) = &recipient.answer {
            put(&mut fields, "Remote-MTA", &format!("dns; {server}"));
            put(&mut fields, "Diagnostic-Code", &format!("smtp; {answer}"));
        }
        if let Some(last) = &recipient.last_attempt {
            put(&mut fields, "Last-Attempt-Date", &last.header_date());
        }
        if let Some(until) = report.retried_until {
            let until = CertifiedInstant::new(until).header_date();
            put(&mut fields, "Will-Retry-Until", &until);
        }
    }
    fields
}

/// Octets of one line of a field.
const FIELD_LINE_OCTETS: usize = 76;

/// Writes a field, folded between words.
fn put(fields: &mut String, name: &str, value: &str) {
    let mut line = format!("{name}:");
    for word in printable(value).split(' ').filter(|word| !word.is_empty()) {
        if line.len() + 1 + word.len() > FIELD_LINE_OCTETS && line.len() > name.len() + 1 {
            fields.push_str(&line);
            fields.push_str("\r\n");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    fields.push_str(&line);
    fields.push_str("\r\n");
}

/// Other people's words on one line of ASCII, of bounded length.
fn printable(text: &str) -> String {
    const CHARACTERS_MAX: usize = 900;
    let replaced = |character: char| match character {
        ' '..='~' => character,
        _ if character.is_whitespace() || character.is_control() => ' ',
        _ => '?',
    };
    text.chars().take(CHARACTERS_MAX).map(replaced).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use trust::clock::UnixMillis;

    use super::*;
    use crate::pec::{
        fixture::{issuer, noon},
        header::Header,
        mime::{Entity, decode_quoted_printable},
    };

    fn recipient() -> RecipientReport {
        RecipientReport {
            address: "carla@gamma.example".to_owned(),
            original: Some("rfc822;Carla@gamma.example".to_owned()),
            status: "5.1.1".to_owned(),
            answer: Some((
                "mx.gamma.example".to_owned(),
                "550 5.1.1 no such user\r\nAction: delivered\u{e8} ".to_owned() + &"x ".repeat(60),
            )),
            last_attempt: Some(noon()),
            reason: None,
        }
    }

    fn report(action: Action) -> Report {
        Report {
            to: "anna@alfa.example".to_owned(),
            arrived: noon().unix(),
            envelope_id: Some("QQ314159".to_owned()),
            subject: Some("Città".to_owned()),
            message_id: Some("<1@alfa.example>".to_owned()),
            action,
            recipients: vec![recipient()],
            retried_until: None,
        }
    }

    /// The parts of a report: text, fields, what is returned with its type.
    fn parts(report: &Report, returned: &Returned) -> (String, String, String, Vec<u8>) {
        let unsealed = issuer().status_notification(report, returned, "mail.alfa.example", &noon());
        let octets = unsealed.entity.as_slice();
        let entity = Entity::parse(octets, 0..octets.len()).expect("an entity");
        let kind = entity.content_type();
        assert_eq!(kind.value, "multipart/report");
        let status = if report.to.is_ascii() { "" } else { "global-" };
        let status = format!("{status}delivery-status");
        // The parameter is the subtype of the second part (RFC 6522 §3).
        assert_eq!(kind.parameter("report-type").as_deref(), Some(status.as_str()));
        let parts = entity.parts(octets).expect("parts");
        let parts: Vec<Entity> =
            parts.into_iter().map(|part| Entity::parse(octets, part).expect("a part")).collect();
        let types: Vec<String> = parts.iter().map(|part| part.content_type().value).collect();
        assert_eq!(types[..2], ["text/plain", &format!("message/{status}")]);
        let body = |part: &Entity| octets[part.body.clone()].to_vec();
        let text = String::from_utf8(decode_quoted_printable(&body(&parts[0]))).expect("UTF-8");
        let fields = String::from_utf8(body(&parts[1])).expect("ASCII");
        (text, fields, types[2].clone(), body(&parts[2]))
    }

    #[test]
    fn a_report_of_a_failure_says_it_to_people_and_to_programs() {
        let header = Bytes::from_static(b"Subject: prova\r\n");
        let (text, fields, kind, returned) =
            parts(&report(Action::Failed), &Returned::Header(header.clone()));
        let (italian, english) = (text.find("non è stato recapitato a:"), text.find("was not"));
        assert!(italian.expect("Italian") < english.expect("English"), "{text}");
        assert_eq!(text.matches("mx.gamma.example").count(), 2, "{text}");
        assert!(text.contains("Città"));
        let expected = "Original-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mail.alfa.example\r\n\
            Arrival-Date: Sat, 21 Nov 2026 12:00:00 +0100\r\n\r\n\
            Original-Recipient: rfc822; Carla@gamma.example\r\n\
            Final-Recipient: rfc822; carla@gamma.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
            Remote-MTA: dns; mx.gamma.example\r\n\
            Diagnostic-Code: smtp; 550 5.1.1 no such user Action: delivered? x x x x x x\r\n x";
        assert!(fields.starts_with(expected), "{fields}");
        assert!(fields.ends_with("Last-Attempt-Date: Sat, 21 Nov 2026 12:00:00 +0100\r\n"));
        let actions = fields.lines().filter(|line| line.starts_with("Action:")).count();
        assert_eq!(actions, 1, "a server's words begin no field: {fields}");
        assert_eq!((kind.as_str(), returned.as_slice()), ("text/rfc822-headers", &header[..]));
    }

    #[test]
    fn the_message_comes_back_as_it_was_when_it_was_asked_for() {
        let whole = Bytes::from_static("Subject: prova\r\n\r\ncaff\u{e8}\r\n".as_bytes());
        let (_, _, kind, returned) =
            parts(&report(Action::Failed), &Returned::Whole(whole.clone()));
        assert_eq!((kind.as_str(), returned.as_slice()), ("message/rfc822", &whole[..]));
    }

    /// RFC 6533 §4.
    #[test]
    fn a_report_to_an_address_outside_ascii_has_types_of_its_own() {
        let report = Report { to: "josé@bücher.example".to_owned(), ..report(Action::Failed) };
        let foreign = Bytes::from_static("Subject: caff\u{e8}\r\n\r\n".as_bytes());
        let plain = Bytes::from_static(b"Subject: x\r\n\r\n");
        for (returned, expected) in [
            (Returned::Whole(foreign.clone()), "message/global"),
            (Returned::Header(foreign), "message/global-headers"),
            (Returned::Whole(plain.clone()), "message/rfc822"),
            (Returned::Header(plain), "text/rfc822-headers"),
        ] {
            let (_, fields, kind, _) = parts(&report, &returned);
            assert!(
                fields.contains("Final-Recipient: rfc822; carla@gamma.example\r\n"),
                "{fields}"
            );
            assert_eq!(kind, expected);
        }
        let returned = Returned::Header(Bytes::new());
        let unsealed = issuer().status_notification(&report, &returned, "mail", &noon());
        let to = "\r\nTo: josé@bücher.example\r\n".as_bytes();
        assert!(unsealed.header.windows(to.len()).any(|octets| octets == to));
    }

    #[test]
    fn each_action_has_its_words() {
        for (action, subject, italian, english) in [
            (Action::Failed, "Rapporto di mancato recapito: ", "non è stato", "was not"),
            (Action::Delayed, "Rapporto di recapito in ritardo: ", "non è ancora", "is not"),
            (Action::Delivered, "Rapporto di recapito: ", "è stato recapitato", "was delivered"),
            (Action::Relayed, "Rapporto di inoltro: ", "è stato inoltrato", "was handed"),
        ] {
            let mut report = report(action);
            let until = UnixMillis(noon().unix().0 + 3_600_000);
            report.retried_until = (action == Action::Delayed).then_some(until);
            let returned = Returned::Header(Bytes::new());
            let (text, fields, ..) = parts(&report, &returned);
            assert!(text.contains(italian) && text.contains(english), "{text}");
            assert!(fields.contains(&format!("Action: {}\r\n", action.word())), "{fields}");
            let retried = fields.contains("Will-Retry-Until: Sat, 21 Nov 2026 13:00:00 +0100\r\n");
            assert_eq!(retried, action == Action::Delayed, "{fields}");
            let unsealed = issuer().status_notification(&report, &returned, "mail", &noon());
            let (header, _) = Header::parse(&[&unsealed.header[..], b"\r\n"].concat()).unwrap();
            let found = crate::pec::encoded_word::decode(&header.value("Subject").unwrap());
            assert_eq!(found, format!("{subject}Città"));
            assert_eq!(header.text("Return-Path").as_deref(), Some("<>"));
            assert_eq!(header.text("Auto-Submitted").as_deref(), Some("auto-replied"));
            assert_eq!(header.text("In-Reply-To").as_deref(), Some("<1@alfa.example>"));
            assert_eq!(header.text("X-Ricevuta"), None, "it is no receipt of certified mail");
        }
    }
}
