//! `ceralacca snapshot forget`.

use std::path::Path;

use crate::{
    cli::{
        failure::Failure,
        operation,
        output::{Output, Shown},
        say,
    },
    control::operations::snapshot::{ForgottenView, SnapshotForget},
    texts::Text,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ForgetArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(long, value_name = "N", help = say("Il suo numero, come lo dice `store check`", "Its number, as `store check` says it"))]
    number: u64,
}

impl ForgetArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, number } = self;
        output.one(&operation::run(file, output, &SnapshotForget { account, number })?);
        Ok(())
    }
}

impl Shown for ForgottenView {
    fn details(&self) -> Vec<(Text, String)> {
        vec![
            (Text::fixed("Casella", "Account"), self.account.clone()),
            (Text::fixed("Istantanea tolta", "Snapshot taken out"), self.number.to_string()),
            (
                Text::fixed("Messaggi rimossi", "Messages removed"),
                self.messages_removed.to_string(),
            ),
            (Text::fixed("Pagine rimosse", "Pages removed"), self.pages_removed.to_string()),
        ]
    }
}
