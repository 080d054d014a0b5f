//! What the routes share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tidegate_api::{Api, Keys};
use tidegate_core::Hub;
use tidegate_demo::Jobs;
use tidegate_framing::websocket::Origins;
use tidegate_shard::Entrance;
use tokio::sync::Semaphore;

use super::{BODIES_MAX, metrics};
use crate::config::{Config, Http2Config};

/// What the routes share.
pub struct AppState {
    pub(super) hub: Arc<Hub>,
    pub(super) api: Api,
    pub(super) body_bytes_max: usize,
    /// Who may connect from a browser.
    pub(super) origins: Origins,
    /// Pages of this server alone.
    pub(super) own_host: Origins,
    /// Bytes of the commands in one request of a client.
    pub(super) message_bytes_max: usize,
    /// Anybody may call the API: then pages of other origins are kept out.
    pub(super) is_open: bool,
    /// With the demo page, its jobs.
    pub(super) demo: Option<Arc<Jobs>>,
    pub(super) metrics: Registry,
    pub(super) http2: Option<Http2Config>,
    /// Places of bodies of the server API that are waited for: those who hold a key.
    pub(super) api_bodies: Semaphore,
    /// Places of all others.
    pub(super) bodies: Semaphore,
    /// How long a client may take nothing of what is sent to it.
    pub(super) unread_max: Duration,
    /// Takes connections back that ask for what shards serve, once there are shards.
    pub(super) entrance: OnceLock<Entrance>,
    address: SocketAddr,
    ready: AtomicBool,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("api", &self.api).field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl AppState {
    /// Not ready yet: see [`AppState::set_ready`]. `address` is where the listener really listens, and `http2` are the
    /// connections that may still begin to speak it.
    pub fn new(
        hub: Arc<Hub>,
        config: &Config,
        origins: Origins,
        address: SocketAddr,
        http2: Option<Arc<Semaphore>>,
    ) -> Self {
        let most = config.http2.map_or(0, |http2| http2.connections_max);
        let open = move || http2.as_ref().map_or(0, |left| most.saturating_sub(left.available_permits()));
        let keys = match config.api.insecure {
            true => Keys::insecure(),
            false => {
                let full = Keys::new(config.api.keys.iter().map(|key| key.0.clone().into_bytes()));
                let scoped = config.api.scoped.iter();
                scoped.fold(full, |keys, (key, scope)| keys.with(key.0.clone().into_bytes(), scope.clone()))
            }
        };
        Self {
            api: Api::new(hub.clone(), keys),
            is_open: config.api.insecure,
            demo: config.demo.then(|| Arc::new(jobs(config, address))),
            body_bytes_max: config.api.body_bytes_max,
            own_host: config.origins_of(Origins::default()),
            origins,
            message_bytes_max: config.core.client.message_bytes_max,
            metrics: metrics::registry(hub.clone(), Box::new(open)),
            http2: config.http2,
            api_bodies: Semaphore::new(BODIES_MAX),
            bodies: Semaphore::new(BODIES_MAX),
            unread_max: config.core.client.write_stall_max,
            hub,
            entrance: OnceLock::new(),
            address,
            ready: AtomicBool::new(false),
        }
    }

    /// Whether a balancer should send new connections here: true once the logs are open, false from SIGTERM on. A
    /// backbone that is away later does not count: cutting connections would not bring it back.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// From here on connections that ask for what shards serve are given to them.
    pub fn set_entrance(&self, entrance: Entrance) {
        // There is one set of shards in the life of a node.
        let _ = self.entrance.set(entrance);
    }

    /// Where the listener listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }
}

/// Jobs that publish to this node.
fn jobs(config: &Config, mut address: SocketAddr) -> Jobs {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    Jobs::new(format!("{scheme}://{address}"), config.api.keys.first().map(|key| key.0.clone()))
}
