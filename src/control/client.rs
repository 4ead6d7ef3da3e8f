//! A command's end of the control socket.

use std::{io, path::Path, time::Duration};

use axum::body::{Body, BodyDataStream};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, TryFutureExt as _};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{Kind, Line, Operation, OperationError, Run};
use crate::texts::Text;

/// A server sends a line several times a second.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Octets of one line: reports have at most some thousand entries.
const LINE_OCTETS_MAX: usize = 64 << 20;

/// A server that answered.
#[derive(Debug)]
pub struct Connection(UnixStream);

/// Finds the server that listens on `path`; `None` when there is none.
///
/// # Errors
///
/// When the socket belongs to another user.
pub async fn connect(path: &Path) -> Result<Option<Connection>, OperationError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(Connection(stream))),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(OperationError::new(
            Kind::Invalid,
            Text::filled(
                format!(
                    "{} è dell'utente del server: eseguire il comando con quell'utente (sudo -u ceralacca …)",
                    path.display()
                ),
                format!(
                    "{} belongs to the server's user: run the command as that user (sudo -u ceralacca …)",
                    path.display()
                ),
            ),
        )),
        // No socket, a dead one, or a path that no server can listen on.
        Err(_) => Ok(None),
    }
}

impl Connection {
    /// Has the server do `operation`. Cancelling `run` hangs up, which cancels it there.
    ///
    /// # Errors
    ///
    /// Those of the operation; [`Kind::Temporary`] when the server went away.
    pub async fn ask<O: Operation>(
        self,
        operation: &O,
        run: &Run,
    ) -> Result<O::Outcome, OperationError> {
        run.reading(self.exchange(operation, run)).await?
    }

    async fn exchange<O: Operation>(
        self,
        operation: &O,
        run: &Run,
    ) -> Result<O::Outcome, OperationError> {
        let request =
            serde_json::to_vec(operation).map_err(|error| OperationError::of_machine(&error))?;
        let request = Request::post(format!("/{}", O::NAME))
            .header("host", "ceralacca")
            .header("content-type", "application/json")
            .body(Body::from(request))
            .map_err(|error| OperationError::of_machine(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(self.0)).await.map_err(|error| gone(&error))?;
        let connection = connection.map_err(|error| gone(&error));
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| gone(&error))?;
            follow::<O>(Body::new(response.into_body()).into_data_stream(), run).await
        };
        let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(answer));
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The whole answer may have been read already when the connection ends.
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error),
            },
        }
    }
}

/// Reads lines until the last one.
async fn follow<O: Operation>(
    mut body: BodyDataStream,
    run: &Run,
) -> Result<O::Outcome, OperationError> {
    let mut read = Vec::new();
    // Before this no line ends: a long one is not looked through again with each piece of it.
    let mut searched = 0;
    loop {
        let octets = tokio::time::timeout(SILENCE_MAX, body.next()).await;
        let octets = octets.map_err(|error| gone(&error))?.ok_or_else(cut_short)?;
        read.extend_from_slice(&octets.map_err(|error| gone(&error))?);
        while let Some(end) = read.iter().skip(searched).position(|octet| *octet == b'\n') {
            let line: Vec<u8> = read.drain(..=searched + end).collect();
            searched = 0;
            match serde_json::from_slice::<Line<O::Outcome>>(&line) {
                Ok(Line::Progress(progress)) => run.tell(progress),
                Ok(Line::Octets(octets)) => {
                    let octets = STANDARD.decode(octets);
                    let octets = octets.map_err(|error| OperationError::of_machine(&error))?;
                    run.put_out(octets.into()).await?;
                }
                Ok(Line::Outcome(outcome)) => return Ok(outcome),
                Ok(Line::Error(error)) => return Err(error),
                Err(error) => return Err(OperationError::of_machine(&error)),
            }
        }
        searched = read.len();
        if read.len() > LINE_OCTETS_MAX {
            return Err(cut_short());
        }
    }
}

fn gone(error: &dyn std::error::Error) -> OperationError {
    OperationError::new(
        Kind::Temporary,
        Text::filled(
            format!("il server non risponde più ({error}): riprovare"),
            format!("the server does not answer any more ({error}): try again"),
        ),
    )
}

fn cut_short() -> OperationError {
    OperationError::new(
        Kind::Temporary,
        Text::fixed(
            "il server ha chiuso prima della fine: riprovare",
            "the server closed before the end: try again",
        ),
    )
}
