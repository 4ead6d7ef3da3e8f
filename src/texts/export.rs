//! `LEGGIMI.txt`: what an export says of itself to whoever opens it, the holder first of all. Beside it, why
//! `index.csv` has no file of a message.
//!
//! Not here: what is exported (`snapshots::export`).

use snapshots::export::{Exported, Format};

use super::snapshots as of_snapshots;

/// What of the account was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent<'a> {
    /// All of it.
    Account,
    /// A mailbox with those below it.
    Below(&'a str),
    /// A mailbox alone.
    Mailbox(&'a str),
    /// One message of a mailbox, by its UID.
    Message(&'a str, u32),
}

impl Extent<'_> {
    /// As the lines behind "Contenuto" and "Content" say it.
    fn said(self) -> (String, String) {
        match self {
            Self::Account => ("tutta la casella".to_owned(), "the whole account".to_owned()),
            Self::Below(mailbox) => (
                format!("solo la cartella \"{mailbox}\", con quelle sotto"),
                format!("only the mailbox \"{mailbox}\", with those below it"),
            ),
            Self::Mailbox(mailbox) => (
                format!("solo la cartella \"{mailbox}\", senza quelle sotto"),
                format!("only the mailbox \"{mailbox}\", without those below it"),
            ),
            Self::Message(mailbox, uid) => (
                format!("solo il messaggio con UID {uid} della cartella \"{mailbox}\""),
                format!("only the message with UID {uid} of the mailbox \"{mailbox}\""),
            ),
        }
    }
}

/// The text, Italian first, for the account and the snapshot of these names. Its lines end in CR LF, as
/// every system's editor shows them.
#[must_use]
pub fn readme(
    account: &str,
    snapshot: &str,
    extent: Extent<'_>,
    format: Format,
    done: &Exported,
) -> String {
    let Exported { messages, octets, unreadable, .. } = done;
    let (said, of_said) = extent.said();
    let (title, of_title) = match extent {
        Extent::Account => ("ESPORTAZIONE DI UNA CASELLA", "EXPORT OF AN ACCOUNT"),
        _ => ("ESPORTAZIONE DI UNA PARTE DI UNA CASELLA", "EXPORT OF A PART OF AN ACCOUNT"),
    };
    let (italian, english) = forms(format);
    let missing = match unreadable {
        0 => ("nessuno", "none"),
        _ => (
            "vedere la colonna \"missing\" di index.csv",
            "see the column \"missing\" of index.csv",
        ),
    };
    let text = format!(
        "{title}\n\n\
         Casella:      {account}\n\
         Istantanea:   {snapshot} (ora UTC): come era in quel momento\n\
         Contenuto:    {said}\n\
         Messaggi:     {messages}, {octets} ottetti\n\
         Illeggibili:  {unreadable} ({})\n\n\
         Che cosa c'è qui\n\n\
         {italian}\
         - index.csv: una riga per messaggio. Colonne: cartella, UID, contrassegni, data di ricezione (UTC),\n  \
           Message-ID, SHA-256 e ottetti del messaggio, file, motivo se manca. Si apre con un foglio di\n  \
           calcolo: codifica UTF-8, separatore virgola.\n\
         - SHA256SUMS: l'impronta di ogni file.\n\n\
         Come scoprire errori di copia\n\n\
         In questa cartella:  sha256sum -c SHA256SUMS   (macOS: shasum -a 256 -c SHA256SUMS)\n\
         Le impronte non sono firmate: chi cambia un file può cambiarle insieme. Che un messaggio era nella\n\
         casella, e come, lo prova il file che il gestore fa con \"ceralacca snapshot prove\".\n\n\
         Nei nomi delle cartelle i caratteri che non tutti i sistemi ammettono sono diventati \"_\"; il nome\n\
         vero è in index.csv. Chi riceve questi file può leggere tutta la posta che contengono.\n\n\n\
         {of_title}\n\n\
         Account:      {account}\n\
         Snapshot:     {snapshot} (UTC): as it was then\n\
         Content:      {of_said}\n\
         Messages:     {messages}, {octets} octets\n\
         Unreadable:   {unreadable} ({})\n\n\
         What is here\n\n\
         {english}\
         - index.csv: one line a message. Columns: mailbox, UID, flags, date of reception (UTC), Message-ID,\n  \
           SHA-256 and octets of the message, file, why it is missing. Encoding UTF-8, separated by commas.\n\
         - SHA256SUMS: the digest of every file.\n\n\
         How to find errors of copying\n\n\
         In this folder:  sha256sum -c SHA256SUMS   (macOS: shasum -a 256 -c SHA256SUMS)\n\
         The digests are not signed: whoever changes a file can change them with it. That a message was in\n\
         the account, and as what, is proven by the file that the provider makes with\n\
         \"ceralacca snapshot prove\".\n\n\
         In names of folders, characters that not every system allows have become \"_\"; the true name is in\n\
         index.csv. Whoever gets these files can read all mail in them.\n",
        missing.0, missing.1,
    );
    text.replace('\n', "\r\n")
}

/// What stands in the column `missing`, by the English of the reason: both languages, as in the text above,
/// for nobody knows who opens it.
#[must_use]
pub fn missing(reason: &str) -> String {
    of_snapshots::trouble(reason).both()
}

/// What the messages are.
fn forms(format: Format) -> (&'static str, &'static str) {
    match format {
        Format::Tar | Format::Zip => (
            "- Una cartella per ogni cartella esportata, anche vuota, un file .eml per messaggio, ottetto per\n  \
               ottetto come è arrivato: firma e ricevute PEC restano verificabili. Si aprono con i programmi di\n  \
               posta (Thunderbird, Outlook, Mail).\n",
            "- One folder for each mailbox, also for an empty one, one .eml file for each message, octet by\n  \
               octet as it came: signatures and receipts can still be verified. Mail programs open them\n  \
               (Thunderbird, Outlook, Mail).\n",
        ),
        Format::Maildir => (
            "- Un Maildir++: INBOX in questa cartella (cur, new, tmp), le altre in .Nome.Sotto, con nomi in UTF-8.\n  \
               I messaggi sono ottetto per ottetto come sono arrivati; i contrassegni sono nel nome del file, ma\n  \
               le parole chiave diverse da $Forwarded solo in index.csv.\n",
            "- A Maildir++: INBOX in this folder (cur, new, tmp), the others in .Name.Below, with names in UTF-8.\n  \
               Messages are octet by octet as they came; flags are in the name of the file, but keywords other\n  \
               than $Forwarded only in index.csv.\n",
        ),
        Format::Mbox | Format::OneMbox => (
            "- Un file .mbox (mboxrd) per ogni cartella esportata. Le righe finiscono in LF e quelle che\n  \
               cominciano con \"From \" hanno un \">\" davanti: lo SHA-256 in index.csv è del messaggio come è\n  \
               arrivato. Per le firme PEC meglio l'esportazione in zip o tar.\n",
            "- One .mbox file (mboxrd) for each mailbox. Lines end in LF, and those that begin with \"From \" have\n  \
               a \">\" before them: the SHA-256 in index.csv is of the message as it came. For signatures of\n  \
               certified mail better export as zip or tar.\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use snapshots::export::OTHER_OCTETS;
    use storage::{
        error::StoreError,
        ids::{AccountId, EmailNumber},
    };
    use trust::clock::UnixMillis;

    use super::*;

    #[test]
    fn an_export_says_what_it_is_in_italian_first() {
        let done = Exported { messages: 7, octets: 900, unreadable: 1, ..Exported::default() };
        let of =
            |extent| readme("anna@pec.example", "2026-11-21T06:00:17Z", extent, Format::Zip, &done);
        let text = of(Extent::Account);
        let (italian, english) = text.split_once("EXPORT OF AN ACCOUNT").expect("both languages");
        assert!(
            italian
                .starts_with("ESPORTAZIONE DI UNA CASELLA\r\n\r\nCasella:      anna@pec.example")
        );
        assert!(
            italian.contains("Messaggi:     7, 900 ottetti\r\nIlleggibili:  1 (vedere"),
            "{italian}"
        );
        assert!(
            english.contains("Messages:     7, 900 octets\r\nUnreadable:   1 (see"),
            "{english}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        for (extent, said, of_said) in [
            (Extent::Account, "tutta la casella", "the whole account"),
            (
                Extent::Below("Lavori"),
                "solo la cartella \"Lavori\", con quelle sotto",
                "only the mailbox \"Lavori\", with those below it",
            ),
            (
                Extent::Mailbox("Lavori"),
                "solo la cartella \"Lavori\", senza quelle sotto",
                "only the mailbox \"Lavori\", without those below it",
            ),
            (
                Extent::Message("Lavori", 7),
                "solo il messaggio con UID 7 della cartella \"Lavori\"",
                "only the message with UID 7 of the mailbox \"Lavori\"",
            ),
        ] {
            let text = of(extent);
            assert!(text.contains(&format!("\r\nContenuto:    {said}\r\n")), "{text}");
            assert!(text.contains(&format!("\r\nContent:      {of_said}\r\n")), "{text}");
            let is_part = text.contains("DI UNA PARTE") && text.contains("OF A PART");
            assert_eq!(is_part, extent != Extent::Account, "{text}");
        }
    }

    #[test]
    fn why_a_message_is_missing_is_said_in_both_languages_italian_first() {
        let erased =
            StoreError::Erased { object: "message 3 of account 7".to_owned(), at: UnixMillis(1) };
        let damaged = StoreError::Damaged {
            object: "message 3 of account 7".to_owned(),
            detail: "the record is empty".to_owned(),
        };
        let account = AccountId(7);
        let gone = StoreError::NoSuchMessage { account, email_number: EmailNumber(3) };
        for (english, italian) in [
            (erased.to_string(), "cancellato per un motivo che sta nel giornale"),
            (damaged.to_string(), "danneggiato: messaggio 3 della casella 7 (la riga è vuota)"),
            (gone.to_string(), "il messaggio 3 della casella 7 non esiste"),
            (OTHER_OCTETS.to_owned(), "i suoi ottetti non sono quelli che l'istantanea nomina"),
        ] {
            let said = missing(&english);
            assert!(said.starts_with(italian), "{said}");
            assert!(said.ends_with(&format!(" / {english}")), "{said}");
        }
    }

    #[test]
    fn digests_without_a_signature_are_said_to_find_errors_of_copying_only() {
        let done = Exported::default();
        let text = readme("anna@pec.example", "x", Extent::Account, Format::Tar, &done);
        assert!(text.contains("errori di copia") && text.contains("errors of copying"), "{text}");
        assert_eq!(text.matches("ceralacca snapshot prove").count(), 2, "{text}");
        assert!(!text.contains("nulla sia cambiato"), "{text}");
    }

    #[test]
    fn beside_a_maildir_it_is_said_which_flags_are_in_the_index_alone() {
        let done = Exported::default();
        let text = readme("anna@pec.example", "x", Extent::Account, Format::Maildir, &done);
        assert_eq!(text.matches("$Forwarded").count(), 2, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    }
}
