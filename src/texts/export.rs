//! `LEGGIMI.txt`: what an export says of itself to whoever opens it, the holder first of all.
//!
//! Not here: what is exported (`snapshots::export`).

use snapshots::export::{Exported, Format};

/// The text, Italian first, for the account and the snapshot of these names. Its lines end in CR LF, as
/// every system's editor shows them.
#[must_use]
pub fn readme(account: &str, snapshot: &str, format: Format, done: &Exported) -> String {
    let Exported { messages, octets, unreadable, .. } = done;
    let (italian, english) = forms(format);
    let missing = match unreadable {
        0 => ("nessuno", "none"),
        _ => (
            "vedere la colonna \"missing\" di index.csv",
            "see the column \"missing\" of index.csv",
        ),
    };
    let text = format!(
        "ESPORTAZIONE DI UNA CASELLA\n\n\
         Casella:      {account}\n\
         Istantanea:   {snapshot} (ora UTC): la casella come era in quel momento\n\
         Messaggi:     {messages}, {octets} ottetti\n\
         Illeggibili:  {unreadable} ({})\n\n\
         Che cosa c'è qui\n\n\
         {italian}\
         - index.csv: una riga per messaggio. Colonne: cartella, UID, contrassegni, data di ricezione (UTC),\n  \
           Message-ID, SHA-256 e ottetti del messaggio, file, motivo se manca. Si apre con un foglio di\n  \
           calcolo: codifica UTF-8, separatore virgola.\n\
         - SHA256SUMS: l'impronta di ogni file.\n\n\
         Come verificare che nulla sia cambiato\n\n\
         In questa cartella:  sha256sum -c SHA256SUMS   (macOS: shasum -a 256 -c SHA256SUMS)\n\n\
         Nei nomi delle cartelle i caratteri che non tutti i sistemi ammettono sono diventati \"_\"; il nome\n\
         vero è in index.csv. Chi riceve questi file può leggere tutta la posta che contengono.\n\n\n\
         EXPORT OF AN ACCOUNT\n\n\
         Account:      {account}\n\
         Snapshot:     {snapshot} (UTC): the account as it was then\n\
         Messages:     {messages}, {octets} octets\n\
         Unreadable:   {unreadable} ({})\n\n\
         What is here\n\n\
         {english}\
         - index.csv: one line a message. Columns: mailbox, UID, flags, date of reception (UTC), Message-ID,\n  \
           SHA-256 and octets of the message, file, why it is missing. Encoding UTF-8, separated by commas.\n\
         - SHA256SUMS: the digest of every file.\n\n\
         How to verify that nothing has changed\n\n\
         In this folder:  sha256sum -c SHA256SUMS   (macOS: shasum -a 256 -c SHA256SUMS)\n\n\
         In names of folders, characters that not every system allows have become \"_\"; the true name is in\n\
         index.csv. Whoever gets these files can read all mail in them.\n",
        missing.0, missing.1,
    );
    text.replace('\n', "\r\n")
}

/// What the messages are.
fn forms(format: Format) -> (&'static str, &'static str) {
    match format {
        Format::Tar | Format::Zip => (
            "- Una cartella per ogni cartella della casella, un file .eml per messaggio, ottetto per ottetto\n  \
               come è arrivato: firma e ricevute PEC restano verificabili. Si aprono con i programmi di posta\n  \
               (Thunderbird, Outlook, Mail).\n",
            "- One folder for each mailbox, one .eml file for each message, octet by octet as it came:\n  \
               signatures and receipts can still be verified. Mail programs open them (Thunderbird, Outlook,\n  \
               Mail).\n",
        ),
        Format::Maildir => (
            "- Un Maildir++: INBOX in questa cartella (cur, new, tmp), le altre in .Nome.Sotto, con nomi in UTF-8.\n  \
               I messaggi sono ottetto per ottetto come sono arrivati; i contrassegni sono nel nome del file.\n",
            "- A Maildir++: INBOX in this folder (cur, new, tmp), the others in .Name.Below, with names in UTF-8.\n  \
               Messages are octet by octet as they came; flags are in the name of the file.\n",
        ),
        Format::Mbox | Format::OneMbox => (
            "- Un file .mbox (mboxrd) per ogni cartella della casella. Le righe finiscono in LF e quelle che\n  \
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
    use super::*;

    #[test]
    fn an_export_says_what_it_is_in_italian_first() {
        let done = Exported { messages: 7, octets: 900, unreadable: 1, ..Exported::default() };
        let text = readme("anna@pec.example", "2026-11-21T06:00:17Z", Format::Zip, &done);
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
    }
}
