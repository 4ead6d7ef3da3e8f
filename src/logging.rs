//! Structured logs on standard error.
//!
//! What is logged never contains a password, a token, or the text of a message. Addresses of
//! holders stay out too: an account is its number.

use tracing_subscriber::{
    Layer as _, filter::targets::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::LogSettings;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed; [`crate::config::Config::load`] refuses it with its line.
    #[error("the filter of [log] is malformed: write a level such as info")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Logging has been started before in this process.
    #[error("logging runs already")]
    Running(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process, as `settings` say.
pub fn start(settings: &LogSettings) -> Result<(), LoggingError> {
    let filter: Targets = settings.filter.parse().map_err(LoggingError::Filter)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if settings.json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(LoggingError::Running)
}
