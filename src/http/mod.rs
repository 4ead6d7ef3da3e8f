//! The operations port: is the process alive, is it ready, what does it count.
//!
//! * `GET /healthz`: 200 as long as the process answers.
//! * `GET /readyz`: 200 when every dependency is ready, else 503; the body names each with its
//!   state. 503 while the process drains, so that a load balancer sends nobody any more.
//! * `GET /metrics`: Prometheus text.
//!
//! Invariants: a connection carries one request and lives at most `http_timeout`; at most
//! `http_requests_max` are open; no body is read. There is no authentication: the port belongs on
//! loopback or a management network, and says nothing about holders.
//!
//! Not here: REST and pages.

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{config::LimitSettings, metrics_names};

/// Octets of a request's line and header fields.
const HEAD_OCTETS_MAX: usize = 16 * 1024;

/// How often gathered histogram values are folded away, so that they do not pile up unread.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Something that must work before mail is taken.
#[async_trait::async_trait]
pub trait ReadinessCheck: Send + Sync {
    /// Its name in the answer: `registry`, `catalog`, `signer`.
    fn name(&self) -> &'static str;

    /// Whether it works now. Answers within a second.
    async fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>>;
}

#[async_trait::async_trait]
impl ReadinessCheck for crate::registry::Registry {
    fn name(&self) -> &'static str {
        "registry"
    }

    async fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.ping().await?)
    }
}

/// Whether the process takes work.
pub struct Readiness {
    checks: Vec<Arc<dyn ReadinessCheck>>,
    draining: AtomicBool,
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Readiness")
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}

impl Readiness {
    /// Ready when all of `checks` are.
    #[must_use]
    pub fn new(checks: Vec<Arc<dyn ReadinessCheck>>) -> Arc<Self> {
        Arc::new(Self { checks, draining: AtomicBool::new(false) })
    }

    /// From now on the process is not ready: it finishes what it has.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether all dependencies are ready and the process is not draining.
    pub async fn is_ready(&self) -> bool {
        self.report().await.0
    }

    /// One line per dependency, and whether all are ready.
    async fn report(&self) -> (bool, String) {
        let draining = self.draining.load(Ordering::Relaxed);
        let mut ready = !draining;
        let mut lines = String::new();
        if draining {
            lines.push_str("process: draining\n");
        }
        for check in &self.checks {
            let state = match check.check().await {
                Ok(()) => "ready",
                Err(error) => {
                    ready = false;
                    // The cause goes to the log; the port says only which dependency it is.
                    tracing::warn!(
                        dependency = check.name(),
                        error = &*error as &dyn Error,
                        "not ready"
                    );
                    "not ready"
                }
            };
            lines.push_str(check.name());
            lines.push_str(": ");
            lines.push_str(state);
            lines.push('\n');
        }
        (ready, lines)
    }
}

/// Starts counting in this process, and returns the handle that `/metrics` reads from.
///
/// # Errors
///
/// When this process counts already.
pub fn install_metrics() -> Result<PrometheusHandle, Box<dyn Error + Send + Sync>> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    metrics_names::describe();
    Ok(handle)
}

fn recorder() -> Result<metrics_exporter_prometheus::PrometheusRecorder, BuildError> {
    const SECONDS: [f64; 12] =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
    let builder = PrometheusBuilder::new();
    let seconds = Matcher::Suffix("_seconds".to_owned());
    Ok(builder.set_buckets_for_metric(seconds, &SECONDS)?.build_recorder())
}

/// Sets the metrics that are read off somewhere and not counted as things happen. Called before
/// metrics are shown: it must not block.
pub type ReadOff = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
struct Shared {
    readiness: Arc<Readiness>,
    metrics: PrometheusHandle,
    read_off: ReadOff,
}

/// Answers on `listener` until `stop` is cancelled, then lets open requests finish.
pub async fn serve_operations(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    (metrics, read_off): (PrometheusHandle, ReadOff),
    limits: &LimitSettings,
    stop: CancellationToken,
) {
    let timeout = limits.http_timeout.duration();
    let places = Arc::new(Semaphore::new(limits.http_requests_max));
    let router = router(Shared { readiness, metrics: metrics.clone(), read_off });
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    let mut open = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            _ = upkeep.tick() => metrics.run_upkeep(),
            Some(_) = open.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = answer(stream, router.clone(), timeout);
                    open.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => pause_after(&error).await,
            },
        }
    }
    open.join_all().await;
}

/// Out of file descriptors and the like: trying again at once would only burn time.
async fn pause_after(error: &io::Error) {
    tracing::warn!(error = error as &dyn Error, "the operations port cannot accept");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn answer(stream: TcpStream, router: Router, timeout: Duration) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .keep_alive(false)
        .max_buf_size(HEAD_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(timeout, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = &error as &dyn Error, "bad request"),
        Err(_) => tracing::debug!("a request on the operations port took too long"),
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .layer(middleware::from_fn(count))
        .layer(DefaultBodyLimit::max(0))
        .with_state(shared)
}

async fn ready(State(shared): State<Shared>) -> Response {
    let (ready, lines) = shared.readiness.report().await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, lines).into_response()
}

async fn render(State(shared): State<Shared>) -> Response {
    (shared.read_off)();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shared.metrics.render()).into_response()
}

async fn count(request: Request, next: Next) -> Response {
    let path = match request.uri().path() {
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        "/metrics" => "/metrics",
        _ => "other",
    };
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    metrics::counter!(metrics_names::HTTP_REQUESTS, "path" => path, "status" => status)
        .increment(1);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::config::{Config, units::Millis};

    struct Switch(AtomicBool);

    #[async_trait::async_trait]
    impl ReadinessCheck for Switch {
        fn name(&self) -> &'static str {
            "switch"
        }

        async fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
            if self.0.load(Ordering::Relaxed) { Ok(()) } else { Err("it is off".into()) }
        }
    }

    struct Port {
        address: std::net::SocketAddr,
        readiness: Arc<Readiness>,
        switch: Arc<Switch>,
        /// Whether what is read off was read off.
        shown: Arc<AtomicBool>,
        stop: CancellationToken,
    }

    async fn open() -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let switch = Arc::new(Switch(AtomicBool::new(true)));
        let readiness = Readiness::new(vec![switch.clone()]);
        let stop = CancellationToken::new();
        let mut limits = Config::default().limits;
        limits.http_timeout = Millis(300);
        limits.http_requests_max = 2;
        let handle = recorder().expect("a recorder").handle();
        let shown = Arc::new(AtomicBool::new(false));
        let (of_server, stopped) = (Arc::clone(&readiness), stop.clone());
        let read_off: ReadOff = {
            let shown = Arc::clone(&shown);
            Arc::new(move || shown.store(true, Ordering::Relaxed))
        };
        tokio::spawn(async move {
            serve_operations(listener, of_server, (handle, read_off), &limits, stopped).await;
        });
        Port { address, readiness, switch, shown, stop }
    }

    async fn ask(port: &Port, request: &str) -> String {
        let mut stream = TcpStream::connect(port.address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    async fn get(port: &Port, path: &str) -> String {
        ask(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    #[tokio::test]
    async fn alive_is_not_ready_when_a_dependency_fails_or_the_process_drains() {
        let port = open().await;
        assert!(get(&port, "/healthz").await.starts_with("HTTP/1.1 200"));
        let ready = get(&port, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("switch: ready"), "{ready}");
        port.switch.0.store(false, Ordering::Relaxed);
        let failing = get(&port, "/readyz").await;
        assert!(failing.starts_with("HTTP/1.1 503"), "{failing}");
        assert!(failing.contains("switch: not ready") && !failing.contains("off"), "{failing}");
        port.switch.0.store(true, Ordering::Relaxed);
        port.readiness.drain();
        assert!(get(&port, "/readyz").await.contains("process: draining"));
        assert!(get(&port, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(!port.shown.load(Ordering::Relaxed));
        assert!(get(&port, "/metrics").await.contains("text/plain; version=0.0.4"));
        assert!(port.shown.load(Ordering::Relaxed));
        assert!(get(&port, "/nothing").await.starts_with("HTTP/1.1 404"));
        port.stop.cancel();
    }

    #[tokio::test]
    async fn peers_that_send_nothing_or_too_much_are_cut_off_and_others_get_through() {
        let port = open().await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(TcpStream::connect(port.address).await.expect("connected"));
        }
        let started = tokio::time::Instant::now();
        assert!(get(&port, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(started.elapsed() < Duration::from_secs(5));
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(100_000));
        let answer = ask(&port, &endless).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}
