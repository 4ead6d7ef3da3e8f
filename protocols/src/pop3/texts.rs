//! The one catalogue of what people read in answers, Italian first and English second, in ASCII: a
//! session that has not said UTF8 may read nothing else.
//!
//! Not here: log lines.

use std::borrow::Cow;

/// The language of answers (RFC 6856 §3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Language {
    /// Nobody has chosen: Italian and English on one line.
    #[default]
    Both,
    Italian,
    English,
}

impl Language {
    /// What LANG lists: tags, and each language's name in itself.
    pub(super) const LISTED: [(&str, &str); 3] = [
        ("it", "Italiano"),
        ("en", "English"),
        ("i-default", "Italiano ed English insieme / Italian and English together"),
    ];

    /// Finds the language of a range by lookup (RFC 4647 §3.4): `it-CH` is `it`. `*` is the one
    /// that this service prefers.
    pub(super) fn of_range(range: &str) -> Option<Self> {
        let range = range.to_ascii_lowercase();
        let primary = range.split('-').next().unwrap_or_default();
        match (range.as_str(), primary) {
            ("*", _) | (_, "it") => Some(Self::Italian),
            (_, "en") => Some(Self::English),
            ("i-default", _) => Some(Self::Both),
            _ => None,
        }
    }

    /// Its tag.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Both => "i-default",
            Self::Italian => "it",
            Self::English => "en",
        }
    }
}

/// One sentence in both languages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Text(pub(super) &'static str, pub(super) &'static str);

impl Text {
    /// The sentence in `language`.
    pub(super) fn get(self, language: Language) -> Cow<'static, str> {
        let Self(italian, english) = self;
        match language {
            Language::Both => format!("{italian} / {english}").into(),
            Language::Italian => italian.into(),
            Language::English => english.into(),
        }
    }
}

pub(super) const GREETING: Text = Text("pronto", "ready");
pub(super) const PASSWORD: Text = Text("Password, prego", "Password, please");
pub(super) const MESSAGES: Text = Text("messaggi", "messages");
pub(super) const CAPABILITIES: Text = Text("Funzioni disponibili", "Capabilities");
pub(super) const LANGUAGES: Text = Text("Lingue disponibili", "Languages");
pub(super) const LANGUAGE: Text = Text("Lingua delle risposte", "Language of answers");
pub(super) const UNKNOWN_LANGUAGE: Text =
    Text("Lingua non disponibile, vedere LANG", "No such language, see LANG");
pub(super) const UTF8: Text = Text("UTF-8 attivo", "UTF-8 is on");
pub(super) const DONE: Text = Text("Fatto", "Done");
pub(super) const NO_MESSAGE: Text = Text("Messaggio inesistente", "No such message");
pub(super) const UNKNOWN: Text = Text("Comando sconosciuto o errato", "Unknown or wrong command");
pub(super) const WRONG_STATE: Text =
    Text("Comando non ammesso in questo stato", "Command not allowed in this state");
pub(super) const UNDECODABLE: Text =
    Text("Autenticazione interrotta o malformata", "Authentication cancelled or malformed");
pub(super) const NOT_NOW: Text = Text(
    "Servizio momentaneamente non disponibile, riprovare",
    "Not available now, try again later",
);
pub(super) const DAMAGED: Text = Text(
    "Messaggio danneggiato nell'archivio, segnalato ai gestori",
    "Message damaged in the store, reported to the operators",
);
pub(super) const TLS_FIRST: Text = Text("Serve una connessione TLS", "Use TLS first");
pub(super) const USER_FIRST: Text = Text("Prima USER", "USER first");
pub(super) const BEGIN_TLS: Text = Text("Iniziare TLS", "Begin TLS");
pub(super) const NO_START_TLS: Text = Text("STLS non disponibile qui", "STLS is not offered here");
pub(super) const UNKNOWN_MECHANISM: Text =
    Text("Meccanismo non gestito, vedere CAPA", "Unknown mechanism, see CAPA");
pub(super) const BAD_CREDENTIALS: Text =
    Text("Nome utente o password errati", "Wrong user name or password");
pub(super) const BLOCKED: Text =
    Text("Casella bloccata: contattare l'assistenza", "Account blocked: write to the help desk");
pub(super) const TOO_MANY_FAILURES: Text =
    Text("Troppi tentativi: attendere alcuni minuti", "Too many failures: wait some minutes");
pub(super) const IN_USE: Text = Text(
    "Un'altra sessione POP3 di questa casella e' aperta: chiuderla o attendere che finisca",
    "Another POP3 session of this account is open: close it or wait until it ends",
);
pub(super) const TOO_EARLY: Text = Text(
    "L'ultimo accesso e' troppo recente: attendere, vedere LOGIN-DELAY in CAPA",
    "The last login was a moment ago: wait, see LOGIN-DELAY in CAPA",
);
pub(super) const GOODBYE: Text = Text("Arrivederci", "Goodbye");
pub(super) const SOME_KEPT: Text =
    Text("Alcuni messaggi non sono stati eliminati", "Some messages were not removed");
pub(super) const NONE_REMOVED: Text =
    Text("Messaggi non eliminati, riprovare", "Messages not removed, try again");
pub(super) const LINE_TOO_LONG: Text = Text("Riga troppo lunga", "Line too long");
pub(super) const TOO_MANY_ERRORS: Text = Text("Troppi errori", "Too many errors");
pub(super) const STOPPING: Text =
    Text("Server in chiusura, riconnettersi", "Server stops, reconnect");
pub(super) const OCTETS_BEFORE_TLS: Text =
    Text("Nulla puo' seguire STLS prima di TLS", "Nothing may follow STLS before TLS");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_finds_its_language() {
        let found = |range| Language::of_range(range).map(Language::tag);
        assert_eq!(found("it"), Some("it"));
        assert_eq!(found("IT-ch"), Some("it"));
        assert_eq!(found("en-GB"), Some("en"));
        assert_eq!(found("*"), Some("it"));
        assert_eq!(found("I-DEFAULT"), Some("i-default"));
        for unknown in ["", "fr", "i", "ita", "*-IT"] {
            assert_eq!(found(unknown), None, "{unknown}");
        }
    }
}
