//! HTTP, for those who watch over the supervisor: `/metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! ```text
//!   a thread of its own: accept ─► one request a connection ─┬─► /healthz: does the registry answer
//!                                                            ├─► /readyz:  is everything taken over
//!                                                            └─► /metrics: figures (registry) + histograms + process
//! ```
//!
//! **Invariants.** Listens before the recovery, so that who asks meanwhile is told. Answers also while an arbiter stands still. The number of
//! connections is bounded, and the time of each: one who dawdles costs a place for a while, and no actor notices.

mod listen;
mod scrape;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::Addr;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use kaval_actors::registry::{Figures, Registry, TakeFigures};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

pub use self::listen::{HttpError, Port, start};
use self::scrape::Scraper;

/// How long a connection may take, its request, the answer and the client's reading of it together.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// How long the registry may take to answer: beyond, the main thread stands still.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// What Prometheus calls its text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the endpoint shares with the rest of the process.
#[derive(Default)]
pub struct Endpoint {
    address: OnceLock<SocketAddr>,
    registry: OnceLock<Addr<Registry>>,
    ready: AtomicBool,
}

impl Endpoint {
    /// Where it listens; `None` if nowhere, or not yet.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// Tells it whom to ask.
    pub fn set_registry(&self, registry: Addr<Registry>) {
        let _ = self.registry.set(registry);
    }

    /// Tells it that everything has been taken over.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// What the registry says; `None` while there is none, and an error when it does not answer.
    async fn figures(&self, terms: bool) -> Result<Option<Figures>, &'static str> {
        let Some(registry) = self.registry.get() else { return Ok(None) };
        match timeout(ANSWER_MAX, registry.send(TakeFigures { terms })).await {
            Ok(Ok(figures)) => Ok(Some(figures)),
            Ok(Err(_)) => Err("the registry has died"),
            Err(_) => Err("the main thread does not answer"),
        }
    }
}

/// Serves one connection, one request long.
async fn serve(stream: TcpStream, endpoint: &Endpoint, scraper: &Scraper) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, endpoint, scraper).await));
    let mut server = http1::Builder::new();
    let connection = server
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an http request was not answered"),
        Err(_) => tracing::debug!("an http client was too slow"),
    }
}

async fn answer(request: &Request<Incoming>, endpoint: &Endpoint, scraper: &Scraper) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        return text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz");
    }
    if request.method() != Method::GET {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed");
        refusal.headers_mut().insert(ALLOW, "GET".parse().expect("a header's value"));
        return refusal;
    }
    match path {
        "/metrics" => metrics(endpoint, scraper).await,
        "/readyz" if !endpoint.ready.load(Ordering::Acquire) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "terminals are still being taken over")
        }
        _ => match endpoint.figures(false).await {
            Ok(_) => text(StatusCode::OK, "ok"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
    }
}

async fn metrics(endpoint: &Endpoint, scraper: &Scraper) -> Response<Full<Bytes>> {
    match endpoint.figures(true).await {
        Ok(figures) => {
            let mut response = Response::new(Full::from(scraper.render(figures.as_ref())));
            response.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE.parse().expect("a header's value"));
            response
        }
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

fn text(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{what}\n")));
    *response.status_mut() = status;
    response
}

/// Lets histograms take in what was recorded, which grows until then, also when nobody scrapes.
async fn keep_up(scraper: &Scraper) {
    const EVERY: Duration = Duration::from_secs(10);
    loop {
        sleep(EVERY).await;
        scraper.keep_up();
    }
}

/// What all of the thread's tasks share.
type Shared = Arc<(Arc<Endpoint>, Scraper)>;
