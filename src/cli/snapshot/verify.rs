//! `ceralacca snapshot verify`.

use std::path::PathBuf;

use crate::{
    cli::{failure::Failure, output::Output, say},
    texts::Text,
};

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArguments {
    #[arg(value_name = "FILE", help = say("Il file di prova", "The proof file"))]
    proof: PathBuf,
    #[arg(long, value_name = "FILE", help = say("Il messaggio di cui si tratta", "The message that it is about"))]
    message: Option<PathBuf>,
    #[arg(long, value_name = "FILE", help = say("Le autorità in cui si ha fiducia (PEM)", "The authorities that are trusted (PEM)"))]
    ca: Option<PathBuf>,
}

impl VerifyArguments {
    pub(super) fn run(self, _output: &Output) -> Result<(), Failure> {
        let Self { proof, message: _, ca: _ } = self;
        let name = proof.display();
        Err(Failure::failed(Text::filled(format!("{name}"), format!("{name}"))))
    }
}
