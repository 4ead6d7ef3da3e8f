//! `ceralacca snapshot take`.

use std::path::Path;

use crate::{
    cli::{failure::Failure, operation, output::Output, say},
    control::operations::snapshot::SnapshotTake,
    texts::Text,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TakeArguments {
    #[arg(value_name = "ADDRESS", help = say("L'indirizzo della casella", "The account's address"))]
    account: String,
    #[arg(long, help = say("A richiesta del titolare: entro il limite di un giorno", "At the holder's request: within the limit of a day"))]
    holder: bool,
}

impl TakeArguments {
    pub(super) fn run(self, file: Option<&Path>, output: &Output) -> Result<(), Failure> {
        let Self { account, holder } = self;
        let taken = operation::run(file, output, &SnapshotTake { account, holder })?;
        if output.wants_json() {
            Output::json(&taken);
            return Ok(());
        }
        let (name, messages) = (&taken.name, taken.messages);
        let text = if taken.new {
            Text::filled(
                format!("Istantanea {name}: {messages} messaggi."),
                format!("Snapshot {name}: {messages} messages."),
            )
        } else {
            Text::filled(
                format!("La casella non è cambiata dall'istantanea {name}: {messages} messaggi."),
                format!(
                    "The account has not changed since the snapshot {name}: {messages} messages."
                ),
            )
        };
        Output::raw(format!("{}\n", text.get(output.language())).as_bytes());
        Ok(())
    }
}
