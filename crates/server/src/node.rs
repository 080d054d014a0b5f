//! One node from start to end: broker, hub, shards, HTTP side, signals.
//!
//! Start: the listener is bound first (a taken port is told before anything else happens), then the broker is built,
//! the shards accept, and the logs are opened; a backbone that is away is tried again while the node runs, unready.
//! End, on SIGTERM or SIGINT: unready, stop accepting, close clients with 3001 at a pace, finish requests, flush the
//! broker, exit 0. A second signal ends it at once. SIGHUP ends a node in
//! development mode alone: see [`crate::tls`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tidegate_broker::{BrokerError, BrokerFactory, BuildContext};
use tidegate_core::{Hub, Verifier};
use tidegate_dialect_centrifuge::{Json, JsonOneWay, Protobuf};
use tidegate_framing::websocket::Origins;
use tidegate_protocol::Dialect;
use tidegate_shard::{Choice, Framing, HandOver, Route, ShardOptions, Shards, ShardsBuilder, Wire, listen};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::config::{Config, ConfigErrors, Problem, TlsSource, VERSION};
use crate::http::{self, AppState, HandedOver, paths};
use crate::registry;
use crate::tls::{self, Tls};

/// Pause between two tries to open the logs of a backbone that is away.
const OPEN_RETRY: Duration = Duration::from_secs(1);

/// Runs a node until it is told to end.
///
/// # Errors
/// When it cannot start; the text says what to do.
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = runtime(config.shards).context("cannot start the runtime")?;
    runtime.block_on(serve(config))
}

/// Looks at what a configuration names, beyond what it says itself: a certificate and its key.
///
/// # Errors
/// When a node could not start with it; the text says what to do.
pub fn check(config: &Config) -> Result<(), ConfigErrors> {
    let Some(tls) = &config.tls else { return Ok(()) };
    let wrong = |error| Problem { path: "tls".to_owned(), text: format!("{error:#}") };
    Tls::load(tls, None).map(drop).map_err(|error| ConfigErrors { problems: vec![wrong(error)] })
}

/// Where brokers, API and history run; what is delivered never does. One thread beside one shard: waking a pool of one
/// costs more than the work of a publish.
fn runtime(shards: usize) -> std::io::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    let mut builder = match shards {
        0 | 1 => Builder::new_current_thread(),
        many => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(many.min(4));
            builder
        }
    };
    builder.thread_name("tidegate-io").enable_all().build()
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Whoever only tries it out ends it by closing the terminal, which is what SIGHUP does where nobody hears it.
    let has_files = config.tls.as_ref().is_some_and(|tls| matches!(tls.source, TlsSource::Files { .. }));
    let hears = has_files || !config.dev;
    // Where files may not grow any more, a write is to fail as on a full disk, and not to end the process.
    let _file_limit = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context("cannot hear SIGXFSZ")?;
    let hangups = hears.then(|| signal(SignalKind::hangup())).transpose().context("cannot hear SIGHUP")?;
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?.as_socket().unwrap_or(config.listen);
    let http2 = config.http2.map(|http2| Arc::new(Semaphore::new(http2.connections_max)));
    let tls = config.tls.as_ref().map(|tls| Tls::load(tls, http2.clone())).transpose()?;
    let factory = registry::factory(&config.broker.url.scheme)?;
    let context = BuildContext { dev: config.dev, settings: config.broker.settings.clone() };
    let broker = factory.build(&config.broker.url, context).await?;

    let builder = ShardsBuilder::new(u16::try_from(config.shards).unwrap_or(u16::MAX))?;
    let default_log = factory.default_log(&config.broker.url);
    let runtime = tokio::runtime::Handle::current();
    let hub = Hub::new(config.core.clone(), broker, &default_log, builder.inboxes(), runtime);
    let origins = Origins::parse(&config.core.client.allowed_origins).context("client.allowed_origins")?;
    let origins = config.origins_of(origins);
    let state = Arc::new(AppState::new(hub.clone(), &config, origins.clone(), address, http2.clone()));

    let (ways, http1, http2_connections) = ways();
    let (shut_down, shutdown) = watch::channel(false);
    let (leave, leaving) = watch::channel(false);
    let http1 = tokio::spawn(http::serve(http1, state.clone(), shutdown.clone()));
    let http2_served = http::http2::serve(http2_connections, state.clone(), leaving, shutdown);
    let http2_served = tokio::spawn(http2_served);
    let verifier = Arc::new(Verifier::new(&config.core.token));
    verifier.start(&tokio::runtime::Handle::current());
    let options = Arc::new(ShardOptions { http2, ..shard_options(&config, origins, &state, ways, tls.as_ref()) });
    let shards = builder.start(&hub, &verifier, &options, listener, VERSION)?;
    state.set_entrance(shards.entrance());

    let opened = open_logs(&hub, &config, factory, &state, address);
    let result = tokio::select! {
        result = opened => result,
        () = tls::watch(tls, hangups, hub.clone()) => Ok(()),
        () = told_to_end() => Ok(()),
    };
    if result.is_ok() {
        tracing::info!("draining: clients are told to connect elsewhere");
    }
    state.set_ready(false);
    leave.send_replace(true);
    drain(shards, &config).await;
    shut_down.send_replace(true);
    let _ = tokio::join!(http1, http2_served);
    hub.shutdown().await;
    result
}

/// Opens the logs, however long their backbone is away, and then waits for ever.
async fn open_logs(
    hub: &Arc<Hub>,
    config: &Config,
    factory: &dyn BrokerFactory,
    state: &AppState,
    address: std::net::SocketAddr,
) -> anyhow::Result<()> {
    loop {
        match hub.open().await {
            Ok(()) => break,
            Err(error @ BrokerError::Unavailable(_)) => {
                tracing::warn!(broker = factory.name(), "cannot reach the log yet, trying again: {error}");
                tokio::time::sleep(OPEN_RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    state.set_ready(true);
    crate::banner::log(config, address);
    tracing::info!(%address, broker = %config.broker.url_text, shards = config.shards, node = %config.core.node_name, "ready");
    std::future::pending().await
}

async fn told_to_end() {
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be heard, only kill -9 ends this node");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Closes every client at the configured pace, and what is left when the time is over.
async fn drain(shards: Shards, config: &Config) {
    shards.drain();
    let stop = shards.stopper();
    let joined = tokio::task::spawn_blocking(move || shards.join());
    tokio::pin!(joined);
    tokio::select! {
        _ = joined.as_mut() => return,
        () = tokio::time::sleep(config.drain.timeout) => tracing::warn!("drain.timeout is over, closing what is left"),
        () = told_to_end() => tracing::warn!("told again to end, closing what is left"),
    }
    stop.stop();
    let _ = joined.await;
}

/// How shards hand connections over, and where those arrive: of HTTP/1.1 and of HTTP/2, so that neither waits behind the
/// other.
fn ways() -> (HandOver, mpsc::Receiver<HandedOver>, mpsc::Receiver<HandedOver>) {
    let (http1, to_http1) = mpsc::channel(http::HANDED_OVER_MAX);
    let (http2, to_http2) = mpsc::channel(http::HANDED_OVER_MAX);
    let hand_over = move |handed: HandedOver| {
        let way = if handed.http2.is_some() { &http2 } else { &http1 };
        way.try_send(handed).map_err(mpsc::error::TrySendError::into_inner)
    };
    (Arc::new(hand_over), to_http1, to_http2)
}

/// What is spoken, by the index that [`routes`] uses.
fn wires() -> Vec<Wire> {
    let (json, protobuf): (Arc<dyn Dialect>, Arc<dyn Dialect>) = (Arc::new(Json), Arc::new(Protobuf));
    let one_way: Arc<dyn Dialect> = Arc::new(JsonOneWay);
    vec![
        Wire::new(json.clone(), Framing::WebSocket),
        Wire::new(protobuf.clone(), Framing::WebSocket),
        Wire::new(json.clone(), Framing::Stream),
        Wire::new(protobuf, Framing::Stream),
        Wire::new(json, Framing::Events),
        Wire::new(one_way.clone(), Framing::WebSocket),
        Wire::new(one_way.clone(), Framing::Stream),
        Wire::new(one_way, Framing::ResumableEvents),
    ]
}

fn routes() -> Vec<Route> {
    let json = |wire| Choice { wire, protocol: "centrifuge-json", query: &[], content_type: "" };
    let protobuf = |wire| Choice {
        wire,
        protocol: "centrifuge-protobuf",
        query: &["format=protobuf", "cf_protocol=protobuf"],
        content_type: "application/octet-stream",
    };
    vec![
        Route { path: paths::WEBSOCKET.to_owned(), choices: vec![json(0), protobuf(1)] },
        Route { path: paths::HTTP_STREAM.to_owned(), choices: vec![json(2), protobuf(3)] },
        Route { path: paths::SSE.to_owned(), choices: vec![json(4)] },
        Route { path: paths::UNI_WEBSOCKET.to_owned(), choices: vec![json(5)] },
        Route { path: paths::UNI_HTTP_STREAM.to_owned(), choices: vec![json(6)] },
        Route { path: paths::UNI_SSE.to_owned(), choices: vec![json(7)] },
        Route { path: paths::EVENTS.to_owned(), choices: vec![json(7)] },
    ]
}

fn shard_options(
    config: &Config,
    origins: Origins,
    state: &Arc<AppState>,
    hand_over: HandOver,
    tls: Option<&Tls>,
) -> ShardOptions {
    ShardOptions {
        client: config.core.client.clone(),
        origins,
        wires: wires(),
        routes: routes(),
        handler: Some(Arc::new(http::Publishes::new(state.clone(), tokio::runtime::Handle::current()))),
        hand_over,
        tls: tls.map(Tls::acceptor),
        http2: None,
        drain_per_second: config.drain.rate,
    }
}
