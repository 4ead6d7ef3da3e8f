//! `snapshot restore`, `restore-status`, `restore-cancel` and `restore-resume`.

use std::path::Path;

use trust::clock::UnixMillis;

use super::super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    control::operations::snapshot::restore::{
        RestoreChange, RestoreStatus, RestoreView, SnapshotRestore,
    },
    texts::{Language, Text, snapshots},
};

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "INSTANT", help = say("Da quale istantanea", "From which snapshot"))]
    instant: String,
    #[arg(long, value_name = "MAILBOX", help = say("Solo questa cartella, con quelle sotto", "This mailbox only, with those below it"))]
    mailbox: Option<String>,
    #[arg(long, requires = "mailbox", help = say("Senza le cartelle sotto", "Without the mailboxes below"))]
    only: bool,
    #[arg(long, value_name = "N", requires = "mailbox", help = say("Solo questo messaggio della cartella", "This message of the mailbox only"))]
    uid: Option<u32>,
    #[arg(long, help = say("Dove era, invece che sotto \"Ripristino …\"", "Where it was, instead of below \"Ripristino …\""))]
    in_place: bool,
}

impl RestoreArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, instant, mailbox, only, uid, in_place } = self;
        let request = SnapshotRestore { account, instant, mailbox, only, uid, in_place };
        let begun = operation::run(file, output, &request)?;
        output.notes(&begun.note);
        output.notes(&begun.waits);
        output.one(&begun);
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "N", help = say("Solo questo ripristino", "This restore only"))]
    number: Option<u64>,
}

impl StatusArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let request = RestoreStatus { account: self.account, number: self.number };
        let restores = operation::run(file, output, &request)?;
        output.notes(restores.iter().find_map(|one| one.waits.as_ref()));
        output.list(&restores);
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct JobArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "N", help = say("Il numero del ripristino", "The restore's number"))]
    number: u64,
}

impl JobArguments {
    pub(super) fn run(
        self,
        file: Option<&Path>,
        output: &Output,
        resume: bool,
    ) -> Result<(), Failure> {
        let request = RestoreChange { account: self.account, number: self.number, resume };
        let changed = operation::run(file, output, &request)?;
        output.notes(&changed.waits);
        output.one(&changed);
        Ok(())
    }
}

impl Shown for RestoreView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("n.", "no."),
            Text::fixed("stato", "state"),
            Text::fixed("chiesto", "asked for"),
            Text::fixed("esaminati", "looked at"),
            Text::fixed("riportati", "restored"),
            Text::fixed("presenti", "present"),
            Text::fixed("cancellati", "erased"),
            Text::fixed("illeggibili", "unreadable"),
            Text::fixed("in", "into"),
            Text::fixed("motivo", "reason"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let state = match self.state.as_str() {
            "running" => Text::fixed("in corso", "running"),
            "done" => Text::fixed("finito", "done"),
            "stopped" => Text::fixed("fermo", "stopped"),
            _ => Text::fixed("annullato", "cancelled"),
        };
        let in_place = Text::fixed("(dove erano)", "(where they were)");
        let language = Language::of_process();
        let trouble = self.trouble.as_deref().map(snapshots::trouble);
        vec![
            self.number.to_string(),
            state.get(language).to_owned(),
            instant(UnixMillis(self.begun_millis)),
            format!("{} / {}", self.done, self.total),
            self.restored.to_string(),
            self.present.to_string(),
            self.erased.to_string(),
            self.unreadable.to_string(),
            self.into.clone().unwrap_or_else(|| in_place.get(language).to_owned()),
            trouble.map(|trouble| trouble.get(language).to_owned()).unwrap_or_default(),
        ]
    }

    fn details(&self) -> Vec<(Text, String)> {
        Self::columns().into_iter().zip(self.row()).collect()
    }
}
