//! The endpoint's thread: listens, now or once the address can be had, and accepts.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread,
    time::Duration,
};

use metrics_exporter_prometheus::BuildError;
use tokio::{net::TcpListener, sync::Semaphore, task::LocalSet, time::sleep};

use super::{Endpoint, Scraper, Shared, keep_up, serve};

/// Connections that are served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 32;
/// How often an address that is taken is tried again, and how often one that must be had is, while a child of the supervisor before this one may
/// hold it between its fork and its exec.
const TAKEN_RETRY: Duration = Duration::from_secs(5);
const HELD_RETRY: Duration = Duration::from_millis(20);
const HELD_TRIES: usize = 25;
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Where to listen, and how much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// There, or the start fails.
    Required(SocketAddr),
    /// There, as soon as that can be had.
    Wanted(SocketAddr),
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be had.
    #[error("metrics cannot be served at {address}: give another with --metrics or metrics.address, or off")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no thread to be had.
    #[error("metrics cannot be served")]
    Thread(#[from] io::Error),
    /// There are metrics already.
    #[error("metrics cannot be recorded")]
    Recorder(#[from] BuildError),
}

/// Starts the endpoint on a thread of its own.
///
/// # Errors
/// [`HttpError`].
pub fn start(port: Port) -> Result<Arc<Endpoint>, HttpError> {
    let (address, listener) = match port {
        Port::Required(address) => (address, Some(bind_soon(address)?)),
        Port::Wanted(address) => (address, bind(address).ok()),
    };
    let endpoint = Arc::new(Endpoint::default());
    let shared: Shared = Arc::new((endpoint.clone(), Scraper::install()?));
    match &listener {
        Some(listener) => note(&endpoint, listener.local_addr()?),
        None => tracing::warn!(%address, "the default address of metrics is taken: it is tried again and again"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("kaval-http".into()).spawn(move || {
        let work = async {
            tokio::task::spawn_local({
                let shared = shared.clone();
                async move { keep_up(&shared.1).await }
            });
            match listen(address, listener, &shared.0).await {
                Ok(listener) => accept(listener, &shared).await,
                Err(error) => tracing::error!(%error, "metrics are not served"),
            }
        };
        LocalSet::new().block_on(&runtime, work);
    })?;
    Ok(endpoint)
}

fn note(endpoint: &Endpoint, address: SocketAddr) {
    let _ = endpoint.address.set(address);
    tracing::info!(%address, "metrics are served");
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind_soon(address: SocketAddr) -> Result<StdListener, HttpError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < HELD_TRIES => thread::sleep(HELD_RETRY),
            result => return result.map_err(|source| HttpError::Bind { address, source }),
        }
    }
}

async fn listen(address: SocketAddr, mut bound: Option<StdListener>, endpoint: &Endpoint) -> io::Result<TcpListener> {
    loop {
        if let Some(listener) = bound {
            return TcpListener::from_std(listener);
        }
        sleep(TAKEN_RETRY).await;
        bound = bind(address).ok();
        if let Some(listener) = &bound {
            note(endpoint, listener.local_addr()?);
        }
    }
}

async fn accept(listener: TcpListener, shared: &Shared) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::task::spawn_local(async move {
                    serve(stream, &shared.0, &shared.1).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an http connection could not be accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
