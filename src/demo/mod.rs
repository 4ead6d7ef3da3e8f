//! `ceralacca demo`: two providers on loopback exchange a certified message, and public tools check
//! every step.
//!
//! Both providers are processes of this program with folders of their own, seen only from outside: set up
//! by the command line, used through their ports with `curl`, verified with `openssl` and
//! `xmllint`. Nothing that checks shares code with what is checked.
//!
//! | module | what |
//! |---|---|
//! | `letter`, `document`, `picture`, `words` | the message, made anew each time |
//! | `authority`, `ports`, `provider` | the two providers |
//! | `client`, `tools` | the public tools |
//! | `entity`, `verify`, `original` | what is checked |
//! | `exchange` | the exchange, step by step |
//! | `report`, `screen` | what is shown |

mod authority;
mod client;
mod document;
mod entity;
mod exchange;
mod letter;
mod original;
mod picture;
mod ports;
mod provider;
mod report;
mod screen;
mod tools;
mod verify;
mod words;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use trust::{clock::Clock, random::RandomSource};

use crate::texts::{Language, Text};

pub use authority::TrustError;
pub use provider::ProviderError;
pub use tools::ToolError;

/// How the demo runs.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Ends after the checks instead of staying up.
    pub once: bool,
    /// Where everything is kept; a new folder under the system's temporary folder when absent.
    pub folder: Option<PathBuf>,
    /// What is shown is in this language.
    pub language: Language,
    /// The `ceralacca` program.
    pub program: PathBuf,
}

/// Why the demo ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder cannot be used.
    #[error("cannot use the folder {path}: give an empty one with --folder", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// No free loopback port.
    #[error("no free port on 127.0.0.1: close other servers and try again")]
    Ports(#[source] std::io::Error),
    /// Certificates could not be made.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A provider is not there.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A file of the demo cannot be read or written.
    #[error("cannot use the file {path}: check the disk", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The picture could not be made.
    #[error("cannot make the picture")]
    Picture(#[from] png::EncodingError),
    /// A tool that everything afterwards needs has failed.
    #[error("{step}")]
    Tool {
        /// What was being done.
        step: &'static str,
        /// What the tool said.
        #[source]
        source: ToolError,
    },
    /// Receipts did not arrive in time.
    #[error("after {seconds} s still missing: {missing}")]
    Missing {
        /// How long the demo waited.
        seconds: u64,
        /// Accounts and how many messages they lack.
        missing: String,
    },
}

/// What the checks found.
#[derive(Debug)]
pub struct DemoOutcome {
    /// How many checks were made.
    pub checks: usize,
    /// Those that failed, each with its reason.
    pub failures: Vec<String>,
}

/// Runs the demo to its end: after the checks with [`DemoOptions::once`], else until Ctrl-C.
///
/// The folder is removed when it was made here and every check passed; otherwise it stays to be looked
/// at, and its place is shown.
pub async fn run(
    options: &DemoOptions,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
) -> Result<DemoOutcome, DemoError> {
    let (folder, temporary) = folder(options)?;
    let mut screen = screen::Screen::new(options.language);
    screen.title(&Text::fixed(
        "Ceralacca: due gestori PEC su questa macchina si scambiano un messaggio certificato",
        "Ceralacca: two certified-mail providers on this machine exchange a certified message",
    ));
    let result = exchange::run(options, &folder, &mut screen, clock, random).await;
    let outcome = DemoOutcome { checks: screen.checks(), failures: screen.failures().to_vec() };
    report::verdict(&screen, result.is_err(), &folder);
    if temporary && result.is_ok() && outcome.failures.is_empty() {
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&folder);
    }
    result.map(|()| outcome)
}

fn folder(options: &DemoOptions) -> Result<(PathBuf, bool), DemoError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DemoError::Folder { path, source }
    };
    if let Some(path) = &options.folder {
        std::fs::create_dir_all(path).map_err(failed(path))?;
        return Ok((path.clone(), false));
    }
    let base = std::env::temp_dir();
    let made = tempfile::Builder::new().prefix("ceralacca-demo-").tempdir_in(&base);
    Ok((made.map_err(failed(&base))?.keep(), true))
}
