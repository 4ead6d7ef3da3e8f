//! Runs the public tools that the demo trusts: `curl`, `openssl`, `xmllint`, `du`.
//!
//! Every run has a time limit and is killed with the demo. Passwords go through standard input,
//! never through arguments, where every user of the machine could read them.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    time::{error::Elapsed, timeout},
};

/// Longest run of one tool.
const RUN_LIMIT: Duration = Duration::from_mins(1);
/// Characters of a tool's complaint that are shown.
const COMPLAINT_MAX: usize = 600;

/// Why a tool gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("{program} does not start: run `scripts/bootstrap demo`, which installs it")]
    Absent {
        /// Its name.
        program: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// It ended with a complaint.
    #[error("{program} failed with status {status}: {complaint}")]
    Failed {
        /// Its name.
        program: String,
        /// Its exit status; -1 after a signal.
        status: i32,
        /// What it wrote to standard error.
        complaint: String,
    },
    /// It took too long and was killed.
    #[error("{program} did not end within {} s", RUN_LIMIT.as_secs())]
    TooSlow {
        /// Its name.
        program: String,
        /// The time limit's mark.
        #[source]
        source: Elapsed,
    },
}

/// Runs `program` with `input` on its standard input; returns what it wrote to standard output.
pub(super) async fn run<S: AsRef<std::ffi::OsStr>>(
    program: impl AsRef<Path>,
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Result<Vec<u8>, ToolError> {
    let name = || {
        let file = program.as_ref().file_name().unwrap_or_default();
        file.to_string_lossy().into_owned()
    };
    let absent = |source| ToolError::Absent { program: name(), source };
    let mut command = Command::new(program.as_ref());
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(absent)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A tool may end before it has read everything; its status then says why.
            let _ = stdin.write_all(input).await;
        }
    };
    let whole = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = timeout(RUN_LIMIT, whole)
        .await
        .map_err(|source| ToolError::TooSlow { program: name(), source })?
        .map_err(absent)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(ToolError::Failed {
        program: name(),
        status: output.status.code().unwrap_or(-1),
        complaint: complaint.trim().chars().take(COMPLAINT_MAX).collect(),
    })
}

/// Runs `curl` with options of a configuration file given on standard input.
pub(super) async fn curl(options: &str) -> Result<Vec<u8>, ToolError> {
    run("curl", ["--silent", "--show-error", "--config", "-"], options.as_bytes()).await
}

/// `text` as a quoted value of curl's configuration file.
pub(super) fn curl_quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Octets that a folder takes on the disk.
pub(super) async fn disk_usage(folder: &Path) -> Result<u64, ToolError> {
    let printed =
        run("du", ["-s".as_ref(), "--block-size=1".as_ref(), folder.as_os_str()], &[]).await?;
    let text = String::from_utf8_lossy(&printed);
    Ok(text.split_whitespace().next().and_then(|octets| octets.parse().ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_that_fails_tells_its_status_and_complaint() {
        let error = run("sh", ["-c", "echo wrong >&2; exit 3"], &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "sh failed with status 3: wrong");
    }

    #[tokio::test]
    async fn a_tool_that_is_absent_names_the_remedy() {
        let error = run("ceralacca-no-such-tool", ["x"], &[]).await.unwrap_err();
        assert!(error.to_string().contains("scripts/bootstrap demo"));
    }

    #[tokio::test]
    async fn input_larger_than_a_pipe_goes_through() {
        let input = vec![7; 1 << 20];
        assert_eq!(run("cat", ["-"], &input).await.unwrap(), input);
    }

    #[test]
    fn quotes_and_backslashes_survive_curls_configuration() {
        assert_eq!(curl_quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
