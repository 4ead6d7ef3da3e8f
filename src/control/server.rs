//! The server's end of the control socket.
//!
//! * The socket has mode 0600, and a peer that is neither root nor the server's own user is hung
//!   up on. It takes its name when it is ready, in place of one that a crash left behind; it is
//!   removed at the stop.
//! * A path that does not fit into a socket's address (108 octets) is reported and the server
//!   runs without the socket: mail does not depend on it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    error::Error,
    io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{future::BoxFuture, stream};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::Value;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Kind, Line, Operation, OperationError, Progress, REQUEST_OCTETS_MAX, Run, Site};
use crate::{config::LimitSettings, metrics_names, texts::Text};

/// Octets of a path in a socket's address, the last one zero.
const SOCKET_PATH_OCTETS_MAX: usize = 107;

/// How often an answer has a line, news or not: a client that is gone is noticed by it.
const LINE_INTERVAL: Duration = Duration::from_millis(200);

/// Connections beyond those that may have an operation: they are told to come later.
const WAITING_CONNECTIONS_MAX: usize = 8;

/// Octets of a request's line and header fields, and of hyper's buffers.
const HEAD_OCTETS_MAX: usize = 16 * 1024;

type Handler = fn(Bytes, Arc<Site>, Run) -> BoxFuture<'static, Line<Value>>;

/// The operations that a server offers, by name.
#[derive(Debug, Default)]
pub struct Operations(BTreeMap<&'static str, Handler>);

impl Operations {
    /// Offers `O` too.
    #[must_use]
    pub fn with<O: Operation>(mut self) -> Self {
        self.0.insert(O::NAME, handle::<O>);
        self
    }
}

fn handle<O: Operation>(
    request: Bytes,
    site: Arc<Site>,
    run: Run,
) -> BoxFuture<'static, Line<Value>> {
    Box::pin(async move {
        let operation: O = match serde_json::from_slice(&request) {
            Ok(operation) => operation,
            Err(error) => return Line::Error(not_understood(&error)),
        };
        match operation.run(&site, &run).await {
            Ok(outcome) => match serde_json::to_value(outcome) {
                Ok(outcome) => Line::Outcome(outcome),
                Err(error) => Line::Error(OperationError::of_machine(&error)),
            },
            Err(error) => Line::Error(error),
        }
    })
}

fn not_understood(error: &dyn Error) -> OperationError {
    OperationError::new(
        Kind::Invalid,
        Text::filled(
            format!(
                "il server non capisce la richiesta ({error}): usare la stessa versione del programma"
            ),
            format!(
                "the server does not understand the request ({error}): use the same version of the program"
            ),
        ),
    )
}

/// The socket while it is open.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Listens on `path` and answers until [`ControlSocket::close`]. `None`, with a warning in
    /// the log, when the path is too long for a socket.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub fn open(
        path: PathBuf,
        site: Site,
        operations: Operations,
        limits: &LimitSettings,
    ) -> io::Result<Option<Self>> {
        let new = path.with_extension("socket-new");
        if new.as_os_str().as_bytes().len() > SOCKET_PATH_OCTETS_MAX {
            tracing::warn!(
                path = %path.display(),
                octets_max = SOCKET_PATH_OCTETS_MAX,
                "no control socket: its path is too long; choose a shorter data.folder, or stop \
                 the server for the commands on the store"
            );
            return Ok(None);
        }
        let listener = listen(&path, &new)?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            operations,
            site: Arc::new(site),
            places: Arc::new(Semaphore::new(limits.control_requests_max)),
            timeout: limits.http_timeout.duration(),
            stop: stop.clone(),
        });
        let connections = limits.control_requests_max.saturating_add(WAITING_CONNECTIONS_MAX);
        let server = tokio::spawn(serve(listener, shared, connections));
        Ok(Some(Self { path, stop, server }))
    }

    /// Cancels what runs, waits for it and removes the socket.
    pub async fn close(self) {
        // First, so that a command that comes now finds no server instead of a closing one.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the control socket stays");
        }
        self.stop.cancel();
        if let Err(error) = self.server.await {
            tracing::warn!(%error, "the control socket ended badly");
        }
    }
}

/// Binds beside `path`, closes it to others and gives it its name. Whoever has the store open is
/// the only server, so a socket that has the name already is a dead one.
fn listen(path: &Path, new: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(new)?;
    std::fs::set_permissions(new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(new, path)?;
    Ok(listener)
}

struct Shared {
    operations: Operations,
    site: Arc<Site>,
    places: Arc<Semaphore>,
    timeout: Duration,
    stop: CancellationToken,
}

async fn serve(listener: UnixListener, shared: Arc<Shared>, connections_max: usize) {
    let router = Router::new().route("/{*name}", post(answer)).with_state(Arc::clone(&shared));
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < connections_max => match accepted {
                Ok((stream, _)) if may_ask(&stream) => {
                    open.spawn(connection(stream, router.clone(), shared.timeout));
                }
                Ok(_) => tracing::warn!("another user tried the control socket"),
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(LINE_INTERVAL).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = open.join_next().await {
        if let Err(error) = ended {
            tracing::warn!(%error, "a request on the control socket ended badly");
        }
    }
}

/// The mode keeps others out; this also does while the folder is open to everybody.
fn may_ask(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own.as_raw())
}

async fn connection(stream: UnixStream, router: Router, timeout: Duration) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .keep_alive(false)
        .max_buf_size(HEAD_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn Error, "a control connection broke");
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().trim_start_matches('/');
    let Some((&name, &handler)) = shared.operations.0.get_key_value(name) else {
        return refusal(StatusCode::NOT_FOUND, unknown(name));
    };
    let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, busy());
    };
    let body = tokio::time::timeout(shared.timeout, to_bytes(body, REQUEST_OCTETS_MAX)).await;
    let request = match body {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, not_understood(&error));
        }
        Err(error) => return refusal(StatusCode::REQUEST_TIMEOUT, not_understood(&error)),
    };
    let lines = start(&shared, name, handler, request, place);
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(stream::unfold(Some(lines), Lines::next))).into_response()
}

fn refusal(status: StatusCode, error: OperationError) -> Response {
    (status, line(&Line::<Value>::Error(error))).into_response()
}

fn unknown(name: &str) -> OperationError {
    OperationError::new(
        Kind::Invalid,
        Text::filled(
            format!("il server non conosce \"{name}\": usare la stessa versione del programma"),
            format!("the server does not know \"{name}\": use the same version of the program"),
        ),
    )
}

fn busy() -> OperationError {
    OperationError::new(
        Kind::Temporary,
        Text::fixed(
            "il server sta già eseguendo altri comandi: riprovare più tardi (limits.control_requests_max)",
            "the server is busy with other commands: try again later (limits.control_requests_max)",
        ),
    )
}

/// Begins an operation in a task of its own.
fn start(
    shared: &Arc<Shared>,
    name: &'static str,
    handler: Handler,
    request: Bytes,
    place: OwnedSemaphorePermit,
) -> Lines {
    let cancelled = shared.stop.child_token();
    let (run, progress) = Run::new(cancelled.clone());
    let (run, octets) = run.with_octets();
    let (end, ended) = oneshot::channel();
    let site = Arc::clone(&shared.site);
    tracing::info!(operation = name, "begun by a command");
    tokio::spawn(async move {
        let last = handler(request, site, run).await;
        drop(place);
        let outcome = match &last {
            Line::Error(error) if error.kind == Kind::Cancelled => "cancelled",
            Line::Error(_) => "failed",
            Line::Outcome(_) | Line::Progress(_) | Line::Octets(_) => "done",
        };
        tracing::info!(operation = name, outcome, "ended");
        metrics::counter!(metrics_names::CONTROL_OPERATIONS, "operation" => name, "outcome" => outcome)
            .increment(1);
        // Nobody may be left to hear it.
        let _ = end.send(last);
    });
    Lines { progress, octets, ended, last: None, _cancel: cancelled.drop_guard() }
}

/// The answer as it grows. Dropping it, because the client is gone, cancels the operation.
struct Lines {
    progress: watch::Receiver<Progress>,
    octets: mpsc::Receiver<Bytes>,
    /// The last line, while octets are left.
    last: Option<Line<Value>>,
    ended: oneshot::Receiver<Line<Value>>,
    _cancel: DropGuard,
}

impl Lines {
    async fn next(this: Option<Self>) -> Option<(Result<Bytes, Infallible>, Option<Self>)> {
        let mut this = this?;
        if let Some(last) = this.last.take() {
            return Some(this.finish(last));
        }
        tokio::select! {
            biased;
            Some(octets) = this.octets.recv() => Some((Ok(octets_line(&octets)), Some(this))),
            last = &mut this.ended => {
                // The sender is dropped only when the operation panicked.
                let last = last.unwrap_or_else(|error| {
                    Line::Error(OperationError::of_machine(&error))
                });
                Some(this.finish(last))
            }
            () = tokio::time::sleep(LINE_INTERVAL) => {
                let progress = this.progress.borrow().clone();
                Some((Ok(line(&Line::<Value>::Progress(progress))), Some(this)))
            }
        }
    }

    /// What the operation had put out before it ended, then the last line.
    fn finish(mut self, last: Line<Value>) -> (Result<Bytes, Infallible>, Option<Self>) {
        match self.octets.try_recv() {
            Ok(octets) => {
                self.last = Some(last);
                (Ok(octets_line(&octets)), Some(self))
            }
            Err(_) => (Ok(line(&last)), None),
        }
    }
}

fn octets_line(octets: &Bytes) -> Bytes {
    line(&Line::Octets(STANDARD.encode(octets)))
}

fn line(line: &Line<Value>) -> Bytes {
    // Plain structs and JSON values: serialising them cannot fail.
    let mut octets = serde_json::to_vec(line).unwrap_or_default();
    octets.push(b'\n');
    octets.into()
}
