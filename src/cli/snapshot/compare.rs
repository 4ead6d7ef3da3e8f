//! `snapshot diff` and `snapshot search`.

use std::path::Path;

use super::{
    super::{
        failure::Failure,
        operation,
        output::{Output, Shown},
        say,
    },
    browse::unreadable,
};
use crate::{
    control::operations::snapshot::compare::{ChangeView, FoundView, SnapshotDiff, SnapshotSearch},
    texts::{Language, Text},
};

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "INSTANT", help = say("Il primo istante", "The first instant"))]
    from: String,
    #[arg(value_name = "INSTANT|now", help = say("Il secondo istante, o `now`", "The second instant, or `now`"))]
    to: String,
    #[arg(long, value_name = "N", default_value_t = 1_000, help = say("Quante differenze al più", "How many differences at most"))]
    limit: usize,
}

impl DiffArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, from, to, limit } = self;
        let request = SnapshotDiff { account, from, to, limit };
        let found = operation::run(file, output, &request)?;
        output.notes(&found.notes);
        if output.wants_json() {
            Output::json(&found);
            return Ok(());
        }
        output.list(&found.changes);
        let (added, removed, moved, flags) = (found.added, found.removed, found.moved, found.flags);
        output.note(&Text::filled(
            format!(
                "{} → {}: {added} aggiunti, {removed} tolti, {moved} spostati, {flags} con altro stato",
                found.from, found.to
            ),
            format!(
                "{} → {}: {added} added, {removed} removed, {moved} moved, {flags} with other flags",
                found.from, found.to
            ),
        ));
        if found.more {
            output.note(&Text::fixed("ce ne sono altre: --limit", "there are more: --limit"));
        }
        Ok(())
    }
}

impl Shown for ChangeView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("che cosa", "what"),
            Text::fixed("cartella", "mailbox"),
            Text::fixed("UID", "UID"),
            Text::fixed("prima", "before"),
            Text::fixed("dopo", "after"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let what = match self.change.as_str() {
            "added" => Text::fixed("aggiunto", "added"),
            "removed" => Text::fixed("tolto", "removed"),
            "moved" => Text::fixed("spostato", "moved"),
            "flags" => Text::fixed("stato", "flags"),
            "mailbox_created" => Text::fixed("cartella creata", "mailbox created"),
            "mailbox_deleted" => Text::fixed("cartella eliminata", "mailbox deleted"),
            _ => Text::fixed("cartella rinominata", "mailbox renamed"),
        };
        let uid = if self.uid == 0 { String::new() } else { self.uid.to_string() };
        let what = what.get(Language::of_process()).to_owned();
        vec![what, self.mailbox.clone(), uid, self.before.clone(), self.after.clone()]
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(long, value_name = "ID", help = say("Con questo Message-ID", "With this Message-ID"))]
    message_id: Option<String>,
    #[arg(long, value_name = "SHA256", help = say("Con questo SHA-256", "Of this SHA-256"))]
    sha256: Option<String>,
    #[arg(long, value_name = "TEXT", help = say("Con questo testo in oggetto o indirizzi", "With this text in subject or addresses"))]
    text: Option<String>,
    #[arg(long, value_name = "N", default_value_t = 100, help = say("Quanti al più", "How many at most"))]
    limit: usize,
}

impl SearchArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, message_id, sha256, text, limit } = self;
        let request = SnapshotSearch { account, message_id, sha256, text, limit };
        let found = operation::run(file, output, &request)?;
        if output.wants_json() {
            Output::json(&found);
        } else {
            output.list(&found.messages);
        }
        output.notes(&unreadable(found.unreadable));
        if found.more {
            output.note(&Text::fixed("ce ne sono altri: --limit", "there are more: --limit"));
        }
        Ok(())
    }
}

impl Shown for FoundView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("ultima istantanea", "last snapshot"),
            Text::fixed("cartella", "mailbox"),
            Text::fixed("UID", "UID"),
            Text::fixed("prima istantanea", "first snapshot"),
            Text::fixed("c'è ancora", "still there"),
            Text::fixed("oggetto", "subject"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let is_there =
            if self.is_there { Text::fixed("sì", "yes") } else { Text::fixed("no", "no") };
        vec![
            self.last.snapshot.clone(),
            self.last.mailbox.clone(),
            self.last.uid.to_string(),
            self.first.snapshot.clone(),
            is_there.get(Language::of_process()).to_owned(),
            self.subject.clone(),
        ]
    }
}
