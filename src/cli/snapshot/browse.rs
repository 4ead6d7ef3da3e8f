//! `snapshot list` and `snapshot browse`.

use std::path::Path;

use trust::clock::UnixMillis;

use super::super::{
    failure::Failure,
    operation,
    output::{Output, Shown, instant},
    say,
};
use crate::{
    control::operations::snapshot::{
        MailboxRow, MessageView, SnapshotBrowse, SnapshotList, SnapshotView,
    },
    texts::{Language, Text},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
}

impl ListArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let request = SnapshotList { account: self.account };
        output.list(&operation::run(file, output, &request)?);
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct BrowseArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(value_name = "INSTANT", help = say("Quale istantanea", "Which snapshot"))]
    instant: String,
    #[arg(value_name = "MAILBOX", help = say("I messaggi di questa cartella", "The messages of this mailbox"))]
    mailbox: Option<String>,
    #[arg(long, value_name = "UID", help = say("I messaggi dopo questo UID", "The messages above this UID"))]
    after_uid: Option<u32>,
    #[arg(long, value_name = "N", default_value_t = 1_000, help = say("Quanti al più", "How many at most"))]
    limit: usize,
}

impl BrowseArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, instant, mailbox, after_uid, limit } = self;
        let of_mailbox = mailbox.is_some();
        let request = SnapshotBrowse { account, instant, mailbox, after_uid, limit };
        let found = operation::run(file, output, &request)?;
        if !output.wants_json() {
            let name = &found.snapshot;
            output.note(&Text::filled(format!("Istantanea {name}"), format!("Snapshot {name}")));
        }
        output.notes(&found.note);
        if output.wants_json() {
            Output::json(&found);
        } else if of_mailbox {
            output.list(&found.messages);
        } else {
            output.list(&found.mailboxes);
        }
        output.notes(&unreadable(found.unreadable));
        if let (true, Some(last)) = (found.more, found.messages.last()) {
            let last = last.uid;
            output.note(&Text::filled(
                format!("ce ne sono altri: --after-uid {last}"),
                format!("there are more: --after-uid {last}"),
            ));
        }
        Ok(())
    }
}

/// That the headers of so many messages cannot be read, when there are any.
pub(super) fn unreadable(messages: u64) -> Option<Text> {
    let italian = format!(
        "di {messages} messaggi non si leggono le intestazioni: `ceralacca store check` li nomina"
    );
    let english = format!(
        "the headers of {messages} messages cannot be read: `ceralacca store check` names them"
    );
    (messages > 0).then(|| Text::filled(italian, english))
}

impl Shown for SnapshotView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("istantanea", "snapshot"),
            Text::fixed("presa", "taken"),
            Text::fixed("cartelle", "mailboxes"),
            Text::fixed("messaggi", "messages"),
            Text::fixed("ottetti", "octets"),
            Text::fixed("trattenuta", "held"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let kind = match self.kind.as_str() {
            "on_demand" => Text::fixed("a richiesta", "on demand"),
            "operator" => Text::fixed("dal gestore", "by the operator"),
            _ => Text::fixed("a orario", "by schedule"),
        };
        vec![
            self.name.clone(),
            kind.get(Language::of_process()).to_owned(),
            self.mailboxes.to_string(),
            self.messages.to_string(),
            self.octets.to_string(),
            self.hold.clone().unwrap_or_default(),
        ]
    }
}

impl Shown for MailboxRow {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("cartella", "mailbox"),
            Text::fixed("messaggi", "messages"),
            Text::fixed("ottetti", "octets"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![self.name.clone(), self.messages.to_string(), self.octets.to_string()]
    }
}

impl Shown for MessageView {
    fn columns() -> Vec<Text> {
        vec![
            Text::fixed("UID", "UID"),
            Text::fixed("ricevuto", "received"),
            Text::fixed("ottetti", "octets"),
            Text::fixed("stato", "flags"),
            Text::fixed("oggetto", "subject"),
        ]
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.uid.to_string(),
            instant(UnixMillis(self.internal_date_millis)),
            self.octets.to_string(),
            self.flags.clone(),
            self.subject.clone(),
        ]
    }
}
