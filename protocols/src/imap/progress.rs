//! Where a command stands that takes its time (RFC 9585).
//!
//! Invariants:
//!
//! * `INPROGRESS` is told between responses of the command that is carried out, never behind its end,
//!   and at most once in a period.
//! * The period is counted by the timer that counts every other time of a session, which no correction
//!   of the clock moves.
//! * What is waited for is waited for to its end, even when the client has gone away meanwhile.
//!
//! Not here: what is worth counting (`found`, `command`).

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::session::Context;
use crate::lines::{Disconnect, Stream};

/// How far the present command is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// `None` = no command is carried out that may be told of.
    running: Option<Running>,
    /// How many were dealt with, and of how many.
    counted: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    period: Duration,
    next: Instant,
}

impl Progress {
    /// A command begins.
    pub(crate) fn begun(period: Duration) -> Self {
        Self { running: Some(Running { period, next: Instant::now() + period }), counted: None }
    }

    /// Counts up to `goal` from now on; says no where somebody counts already.
    pub(crate) fn counts(&mut self, goal: usize) -> bool {
        let free = self.counted.is_none();
        if free {
            self.counted = Some((0, goal));
        }
        free
    }

    /// Says how many were dealt with.
    pub(crate) fn reached(&mut self, done: usize) {
        if let Some((counted, _)) = &mut self.counted {
            *counted = done;
        }
    }

    fn is_due(&self) -> bool {
        self.running.is_some_and(|running| running.next <= Instant::now())
    }

    /// The response for the command `tag`; the next is due a period later. A tag that could end the
    /// code is left out, and counts that have come to their end say nothing (RFC 9585 §4).
    fn line(&mut self, tag: &str) -> String {
        if let Some(running) = &mut self.running {
            running.next = Instant::now() + running.period;
        }
        let tag = if tag.contains(']') { "NIL".to_owned() } else { format!("\"{tag}\"") };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let counts = match self.counted.map(|(done, goal)| (number(done), number(goal))) {
            Some((done, goal)) if done < goal => format!("{done} {goal}"),
            _ => "NIL NIL".to_owned(),
        };
        format!("* OK [INPROGRESS ({tag} {counts})] In corso / In progress\r\n")
    }
}

/// Waits for `work`, and tells the client meanwhile that it goes on.
pub(crate) async fn during<S: Stream, T>(
    context: &mut Context<S>,
    work: impl Future<Output = T>,
) -> Result<T, Disconnect> {
    let mut work = pin!(work);
    let mut failed = None;
    loop {
        let next = context.progress.running.filter(|_| failed.is_none()).map(|one| one.next);
        let wake = next.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            done = &mut work => {
                return match failed {
                    Some(disconnect) => Err(disconnect),
                    None => Ok(done),
                };
            }
            () = sleep_until(wake), if next.is_some() => failed = say(context).await.err(),
        }
    }
}

/// Tells the client how far its command is, where that is due.
pub(crate) async fn tell<S: Stream>(context: &mut Context<S>) -> Result<(), Disconnect> {
    if context.progress.is_due() { say(context).await } else { Ok(()) }
}

async fn say<S: Stream>(context: &mut Context<S>) -> Result<(), Disconnect> {
    let line = context.progress.line(&context.tag);
    context.frame.put(line.as_bytes()).await?;
    context.frame.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_told_stays_within_rfc_9585_section_4() {
        let mut progress = Progress::begun(Duration::from_secs(12));
        let code = |progress: &mut Progress, tag: &str| {
            let line = progress.line(tag);
            let code = line.strip_prefix("* OK [INPROGRESS ").expect("an untagged OK");
            code.split_once(']').expect("a code").0.to_owned()
        };
        assert!(!progress.is_due());
        assert_eq!(code(&mut progress, "a1"), "(\"a1\" NIL NIL)");
        assert!(progress.counts(1_000));
        assert!(!progress.counts(5), "one count at a time");
        progress.reached(175);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(progress.is_due());
        assert_eq!(code(&mut progress, "a1"), "(\"a1\" 175 1000)");
        assert!(!progress.is_due(), "once in a period");
        assert_eq!(code(&mut progress, "a]1"), "(NIL 175 1000)");
        progress.reached(1_000);
        assert_eq!(code(&mut progress, "a1"), "(\"a1\" NIL NIL)", "more than PROGRESS, or unknown");
        assert!(!Progress::default().is_due(), "no command");
    }
}
