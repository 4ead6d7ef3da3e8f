//! Runs an operation for a command: in the running server, or here when there is none.
//!
//! * Progress is shown on standard error, when that is a terminal and JSON was not asked for.
//! * Ctrl-C cancels the operation between two steps; a second one ends the command at once.
//!
//! Not here: the operations (`control::operations`), what their outcomes look like (one file for
//! each command).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use storage::store::Store;
use tokio_util::sync::CancellationToken;
use trust::{clock::SystemClock, random::SystemRandom};

use super::{failure::Failure, output::Output, runtime};
use crate::{
    config::Config,
    control::{self, Kind, Operation, OperationError, Progress, Run, Site},
    registry::Registry,
    texts::{Language, Text},
};

/// How often the progress is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// The exit code of a command that a signal ended: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Does `operation` in the running server, or here when no server runs.
pub(super) fn run<O: Operation>(
    file: Option<&Path>,
    output: &Output,
    operation: &O,
) -> Result<O::Outcome, Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(async {
        match control::connect(&config.data.control_socket()).await.map_err(Failure::from)? {
            Some(server) => follow(output, async |run| server.ask(operation, run).await).await,
            None => here(config, output, operation).await,
        }
    })
}

/// Where the operations of one command are done.
pub(super) enum Asker {
    /// In the server behind this socket.
    Server(PathBuf),
    /// Here: no server runs.
    Here(Site),
}

impl Asker {
    /// Does one of them.
    pub(super) async fn ask<O: Operation>(
        &self,
        operation: &O,
        run: &Run,
    ) -> Result<O::Outcome, OperationError> {
        match self {
            Self::Here(site) => operation.run(site, run).await,
            Self::Server(path) => match control::connect(path).await? {
                Some(server) => server.ask(operation, run).await,
                None => Err(OperationError::new(
                    Kind::Temporary,
                    Text::fixed(
                        "il server si è fermato: riprovare",
                        "the server has stopped: try again",
                    ),
                )),
            },
        }
    }
}

/// Does several operations, one after the other, in the running server or here.
pub(super) fn several<T>(
    file: Option<&Path>,
    output: &Output,
    work: impl AsyncFnOnce(&Asker, &Run) -> Result<T, OperationError>,
) -> Result<T, Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(async {
        let socket = config.data.control_socket();
        let running = control::connect(&socket).await.map_err(Failure::from)?.is_some();
        let asker =
            if running { Asker::Server(socket) } else { Asker::Here(open_site(config).await?) };
        let result = follow(output, async |run| work(&asker, run).await).await;
        if let Asker::Here(site) = asker {
            close_site(site).await?;
        }
        result
    })
}

/// Does `operation` here: for what must have the store for itself.
pub(super) fn run_alone<O: Operation>(
    file: Option<&Path>,
    output: &Output,
    operation: &O,
) -> Result<O::Outcome, Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(here(config, output, operation))
}

/// Opens the store of the configuration, runs `command`, and closes it: for what needs the store
/// itself, with the server stopped.
pub(super) fn with_store(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&Store) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(async {
        let store = open_store(&config).await?;
        let result = command(&store).await;
        store.close().await.map_err(|error| Failure::of_machine(&error))?;
        result
    })
}

async fn here<O: Operation>(
    config: Config,
    output: &Output,
    operation: &O,
) -> Result<O::Outcome, Failure> {
    let site = open_site(config).await?;
    let result = follow(output, async |run| operation.run(&site, run).await).await;
    close_site(site).await?;
    result
}

async fn open_site(config: Config) -> Result<Site, Failure> {
    let store = open_store(&config).await?;
    let registry = Registry::open(
        &config.data.registry_file(),
        &config.registry,
        config.plans.clone(),
        Arc::new(SystemClock),
    )
    .await?;
    Ok(Site {
        runs: crate::snapshots::open(&store, config.snapshots.limits),
        config: Arc::new(config),
        store,
        registry,
        engine: None,
        backup: None,
        directory: None,
    })
}

async fn close_site(site: Site) -> Result<(), Failure> {
    site.registry.close().await;
    site.store.close().await.map_err(|error| Failure::of_machine(&error))
}

async fn open_store(config: &Config) -> Result<Arc<Store>, Failure> {
    let folder = config.data.catalog_folder();
    if !folder.exists() {
        return Err(Failure::not_found(Text::filled(
            format!("non c'è un archivio in {}: controllare data.folder", folder.display()),
            format!("there is no store in {}: check data.folder", folder.display()),
        )));
    }
    crate::serve::store::open(config, Arc::new(SystemClock), Arc::new(SystemRandom)).await.map_err(
        |error| {
            Failure::failed(Text::filled(
                format!(
                    "l'archivio non si apre: se il server è acceso, fermarlo prima ({error:#})"
                ),
                format!(
                    "the store cannot be opened: when the server runs, stop it first ({error:#})"
                ),
            ))
        },
    )
}

/// Does `operation` in the running server, or here, and gives what it puts out to `write`, piece by
/// piece, on a thread of its own. `write` must be done with a piece before it takes the next.
pub(super) fn stream<O: Operation>(
    file: Option<&Path>,
    output: &Output,
    operation: &O,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()> + Send + 'static,
) -> Result<O::Outcome, Failure> {
    let config = Config::load(file, std::env::vars()).map_err(Failure::from)?;
    runtime()?.block_on(async {
        let server = control::connect(&config.data.control_socket()).await?;
        let site = match &server {
            Some(_) => None,
            None => Some(open_site(config).await?),
        };
        let (outcome, written) = follow_octets(output, async |run| {
            let (run, mut octets) = run.with_octets();
            let writing = tokio::task::spawn_blocking(move || {
                while let Some(piece) = octets.blocking_recv() {
                    write(&piece)?;
                }
                Ok::<(), std::io::Error>(())
            });
            let outcome = match (server, &site) {
                (Some(server), _) => server.ask(operation, &run).await,
                (None, Some(site)) => operation.run(site, &run).await,
                (None, None) => Err(OperationError::cancelled()),
            };
            drop(run);
            (outcome, writing.await)
        })
        .await;
        if let Some(site) = site {
            close_site(site).await?;
        }
        written
            .map_err(|error| Failure::of_machine(&error))?
            .map_err(|error| Failure::of_machine(&error))?;
        outcome.map_err(Failure::from)
    })
}

/// As [`follow`], for work that owns its run.
async fn follow_octets<T>(output: &Output, work: impl AsyncFnOnce(Run) -> T) -> T {
    let cancelled = CancellationToken::new();
    let (run, progress) = Run::new(cancelled.clone());
    let bar = Bar::new(output);
    let mut work = std::pin::pin!(work(run));
    let mut draw = tokio::time::interval(DRAW_INTERVAL);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = draw.tick() => bar.draw(&progress.borrow().clone()),
            signal = tokio::signal::ctrl_c() => {
                if signal.is_ok() && cancelled.is_cancelled() {
                    std::process::exit(INTERRUPTED);
                }
                cancelled.cancel();
            }
        }
    };
    bar.clear();
    result
}

/// Waits for `work`, shows how far it is and passes Ctrl-C on.
async fn follow<T>(
    output: &Output,
    work: impl AsyncFnOnce(&Run) -> Result<T, OperationError>,
) -> Result<T, Failure> {
    let cancelled = CancellationToken::new();
    let (run, progress) = Run::new(cancelled.clone());
    let bar = Bar::new(output);
    let mut work = std::pin::pin!(work(&run));
    let mut draw = tokio::time::interval(DRAW_INTERVAL);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = draw.tick() => bar.draw(&progress.borrow().clone()),
            signal = tokio::signal::ctrl_c() => {
                if signal.is_ok() && cancelled.is_cancelled() {
                    std::process::exit(INTERRUPTED);
                }
                cancelled.cancel();
            }
        }
    };
    bar.clear();
    result.map_err(Failure::from)
}

/// Where progress is drawn: nowhere for programs, nor where standard error is no terminal.
fn target(output: &Output) -> ProgressDrawTarget {
    if output.wants_json() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// The line that a person watches.
pub(super) struct Bar {
    bar: ProgressBar,
    language: Language,
}

impl Bar {
    pub(super) fn new(output: &Output) -> Self {
        Self::on(target(output), output.language())
    }

    fn on(target: ProgressDrawTarget, language: Language) -> Self {
        Self { bar: ProgressBar::with_draw_target(None, target), language }
    }

    pub(super) fn draw(&self, progress: &Progress) {
        let template = match (progress.total, self.language) {
            (None, _) => "{spinner} {msg} {human_pos}  ({elapsed})",
            (Some(_), Language::Italian) => {
                "{msg} [{wide_bar}] {human_pos} / {human_len}  (mancano {eta})"
            }
            (Some(_), Language::English) => {
                "{msg} [{wide_bar}] {human_pos} / {human_len}  ({eta} left)"
            }
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        let what = progress.what.get(self.language);
        let message = match (progress.troubles, self.language) {
            (0, _) => what.to_owned(),
            (troubles, Language::Italian) => format!("{what}, problemi {troubles},"),
            (troubles, Language::English) => format!("{what}, troubles {troubles},"),
        };
        if message != self.bar.message() {
            self.bar.set_message(message);
        }
        match progress.total {
            Some(total) => self.bar.set_length(total.max(progress.done)),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(progress.done);
        self.bar.tick();
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Mutex, PoisonError},
    };

    use indicatif::TermLike;

    use super::*;

    /// A terminal of one line, 100 columns wide.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn text(&self) -> String {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).trim_end().to_owned()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the line shows after each of `steps`, in order.
    fn drawn(language: Language, steps: &[Progress]) -> Vec<String> {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let bar = Bar::on(target, language);
        let shown = steps.iter().map(|step| {
            bar.draw(step);
            screen.text()
        });
        let shown = shown.collect();
        bar.clear();
        assert_eq!(screen.text(), "", "the line goes when the work is done");
        shown
    }

    fn chunks(done: u64, total: Option<u64>) -> Progress {
        Progress::new(Text::fixed("chunk verificati", "chunks verified"), done, total)
    }

    #[test]
    fn the_line_says_what_is_counted_how_many_there_are_and_what_was_found_wrong() {
        let steps = [chunks(2_500, Some(10_000)).with_troubles(3), chunks(12_000, Some(10_000))];
        let shown = drawn(Language::Italian, &steps);
        assert!(shown[0].starts_with("chunk verificati, problemi 3, [=="), "{shown:?}");
        assert!(shown[0].contains("] 2,500 / 10,000  (mancano "), "{shown:?}");
        assert!(shown[1].starts_with("chunk verificati [=="), "{shown:?}");
        assert!(shown[1].contains("] 12,000 / 12,000  ("), "more than was thought: {shown:?}");
        let shown = drawn(Language::English, &steps);
        assert!(shown[0].starts_with("chunks verified, troubles 3, [=="), "{shown:?}");
        assert!(shown[0].ends_with(" left)"), "{shown:?}");
    }

    #[test]
    fn without_a_total_the_line_counts_and_says_for_how_long_and_a_bar_may_follow() {
        let shown = drawn(Language::Italian, &[chunks(7, None), chunks(1, Some(4))]);
        assert!(shown[0].contains(" chunk verificati 7  (0"), "{shown:?}");
        assert!(!shown[0].contains('['), "{shown:?}");
        assert!(shown[1].contains("] 1 / 4  ("), "{shown:?}");
    }
}
