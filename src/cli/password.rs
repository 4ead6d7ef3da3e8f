//! Passwords on their way into a command: from standard input, a prompt, or made here.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
};

use nix::sys::termios::{self, LocalFlags, SetArg};
use trust::random::{RandomSource, SystemRandom};

use super::{Site, failure::Failure, output::Output, say};
use crate::{
    registry::{
        address::AccountAddress,
        credential::Credential,
        password::{PASSWORD_OCTETS_MAX, PreparedPassword, generate},
    },
    texts::Text,
};

/// How the password of an account is given.
#[derive(Debug, clap::Args)]
pub(super) struct PasswordSource {
    #[arg(
        long,
        conflicts_with = "generate",
        help = say("Legge la password dalla prima riga di stdin", "Reads the password from the first line of stdin"),
    )]
    password_stdin: bool,
    #[arg(long, help = say("Crea la password e la mostra una volta sola", "Makes the password and shows it once"))]
    generate: bool,
}

impl PasswordSource {
    /// Whether a password is given without asking.
    pub(super) fn is_given(&self) -> bool {
        self.password_stdin || self.generate
    }

    /// Gets the password; the text too when it was made here and has to be shown.
    pub(super) async fn take(
        &self,
        site: &Site<'_>,
        address: &AccountAddress,
        output: &Output,
    ) -> Result<(Credential, Option<String>), Failure> {
        let text = if self.generate {
            generate(&SystemRandom)
        } else if self.password_stdin || !io::stdin().is_terminal() {
            first_line().map_err(|error| Failure::of_machine(&error))?
        } else {
            ask_twice(output)?
        };
        let characters_min = site.config.login.password_characters_min;
        let prepared = PreparedPassword::chosen(&text, address, characters_min)?;
        let random: &'static dyn RandomSource = &SystemRandom;
        let credential = tokio::task::spawn_blocking(move || Credential::make(&prepared, random))
            .await
            .map_err(|error| Failure::of_machine(&error))??;
        Ok((credential, self.generate.then_some(text)))
    }
}

fn first_line() -> io::Result<String> {
    let mut line = String::new();
    // One more than is taken, so that a longer password is refused and not cut.
    let most = u64::try_from(PASSWORD_OCTETS_MAX + 3).unwrap_or(u64::MAX);
    io::stdin().lock().take(most).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_twice(output: &Output) -> Result<String, Failure> {
    let ask = |text: Text| {
        ask_hidden(text.get(output.language())).map_err(|error| Failure::of_machine(&error))
    };
    let first = ask(Text::fixed("Password: ", "Password: "))?;
    let second = ask(Text::fixed("Di nuovo, per conferma: ", "Once more, to confirm: "))?;
    if first == second {
        return Ok(first);
    }
    Err(Failure::invalid(Text::fixed(
        "le due password sono diverse: ripetere il comando",
        "the two passwords differ: repeat the command",
    )))
}

/// Turns the terminal's echo on again, whatever happens in between.
struct Echo {
    terminal: File,
    before: termios::Termios,
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

fn ask_hidden(question: &str) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let before = termios::tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    termios::tcsetattr(&terminal, SetArg::TCSADRAIN, &silent)?;
    let echo = Echo { terminal: terminal.try_clone()?, before };
    let mut line = String::new();
    let read = io::BufReader::new(terminal.try_clone()?).read_line(&mut line);
    drop(echo);
    terminal.write_all(b"\n")?;
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
