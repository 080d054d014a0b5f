//! From the sources to a [`Config`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use tidegate_api::{Method, Scope};
use tidegate_broker::Secret;
use tidegate_core::ChannelPattern;
use tidegate_core::config::{
    ClientOptions, ControlOptions, CoreOptions, NamespaceOptions, RulesOptions, WindowOptions,
};
use tidegate_framing::websocket::Origins;

use super::BrokerConfig;
use super::reader::{Reader, Section, Sources};
use super::value::Bytes;
use super::{ApiConfig, Config, ConfigErrors, DrainConfig, VERSION, broker, client, file, http2, namespaces, tls};
use crate::{host, registry};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

impl Sources {
    /// Reads the file, if any, and the variables of this process.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML; the text names the place.
    pub fn gather(path: Option<&Path>) -> Result<Self, ConfigErrors> {
        let mut sources = Self::default();
        if let Some(path) = path {
            sources.file = file::read(path).map_err(|problem| ConfigErrors { problems: vec![problem] })?;
        }
        // What is not Unicode cannot be a setting of ours, except as a value, which is then reported as missing.
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        sources.environment = variables.collect();
        // Without a file the server is for trying out.
        if path.is_none() && !sources.environment.contains_key("TIDEGATE_DEV") {
            sources.environment.insert("TIDEGATE_DEV".to_owned(), "true".to_owned());
        }
        Ok(sources)
    }
}

impl Config {
    /// Whose pages may ask, given the list. In development mode whoever reaches the node may do everything, and only its
    /// own machine does: no page gets there under a name of its own.
    pub fn origins_of(&self, list: Origins) -> Origins {
        if self.dev { list.local() } else { list }
    }

    /// Reads and checks everything.
    ///
    /// With `dev` the defaults change: anonymous clients may subscribe, publish, recover and read history, the API
    /// asks for no key, the demo page is on; and only loopback can be served.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(sources: Sources) -> Result<Self, ConfigErrors> {
        let (config, reader) = Reader::run(sources, read);
        if reader.problems.is_empty() {
            Ok(Self { entries: reader.entries, ..config })
        } else {
            Err(ConfigErrors { problems: reader.problems })
        }
    }
}

pub(super) fn read(top: &mut Section<'_>) -> Config {
    let dev = top.get(
        "dev",
        false,
        "Development mode: everything is open, on loopback only. On when there is no configuration file.",
    );
    let listen = listen(top, dev);
    let shards =
        top.get("shards", 0usize, "Event loops, each with its own thread and connections; 0 = one for each CPU.");
    let demo = top.get("demo", dev, "Serve the demo page at / and run its worker.");
    let broker = broker::read(top, dev);
    let (mut client, token) = client::read(top, dev);
    let window = top.child("window", window);
    let api = top.child("api", |section| api(section, dev));
    let tls = top.child("tls", tls::read);
    let http2 = top.child("http2", http2::read);
    let (node_name, drain) = top.child("node", node);
    let control = top.child("control", control);
    let (default_namespace, namespaces) = namespaces::read(top, dev);
    if demo && api.keys.is_empty() && !api.insecure {
        top.problem("demo", "its jobs publish by the server API: set api.keys");
    }
    if demo && !namespaces.iter().any(|(name, _)| name == namespaces::DEMO) {
        top.problem("demo", format!("its jobs publish to {0}:NAME: configure [namespaces.{0}]", namespaces::DEMO));
    }
    if demo {
        // The demo page shows where it hangs. Only the answer to connect can say so through a balancer.
        client.connect_data = serde_json::json!({ "node": node_name }).to_string().into();
    }
    let rules = top.child("rules", |section| rules(section, &broker));
    personal_channel(top, &client, default_namespace.as_ref(), &namespaces, control.is_some());
    if control.is_none() {
        let needs = |o: &NamespaceOptions| o.presence;
        let named = namespaces.iter().map(|(name, o)| (format!("namespaces.{name}.presence"), o));
        let all = default_namespace.iter().map(|o| ("channel.without_namespace.presence".to_owned(), o)).chain(named);
        for (path, _) in all.filter(|(_, o)| needs(o)) {
            top.problem(&path, "needs the control log: take control.enabled = false away");
        }
    }
    let core = CoreOptions {
        node_name,
        version: VERSION,
        client,
        token,
        window,
        control,
        rules,
        default_namespace,
        namespaces,
    };
    Config {
        listen,
        shards: shards_or_cpus(top, shards),
        dev,
        demo,
        broker,
        core,
        api,
        tls,
        http2,
        drain,
        entries: Vec::new(),
    }
}

/// The personal channel is one of a namespace, and who may have one session only hears of it by the control log.
fn personal_channel(
    top: &mut Section<'_>,
    client: &ClientOptions,
    default: Option<&NamespaceOptions>,
    namespaces: &[(String, NamespaceOptions)],
    control: bool,
) {
    const SECTION: &str = "client.subscribe_to_user_personal_channel";
    let Some(personal) = &client.personal_channel else { return };
    let problem = match &personal.namespace {
        None if default.is_none() => Some("its channels need a [channel.without_namespace]".to_owned()),
        None => None,
        Some(name) => match namespaces.iter().find(|(known, _)| known == name) {
            None => Some(format!("its channels need a [namespaces.{name}]")),
            Some((_, options)) => options.pattern.as_ref().map(|_| {
                format!("its channels need a [namespaces.{name}] without a pattern: their names are {name}:#USER")
            }),
        },
    };
    if let Some(problem) = problem {
        top.problem(&format!("{SECTION}.enabled"), problem);
    }
    if personal.single_connection && !control {
        let why = "needs the control log: take control.enabled = false away";
        top.problem(&format!("{SECTION}.single_connection"), why);
    }
}

fn listen(top: &mut Section<'_>, dev: bool) -> SocketAddr {
    let doc = "Address and port for everything: WebSocket, HTTP API, metrics. Port 0 takes any free one.";
    let text = top.get("listen", DEFAULT_LISTEN.to_string(), doc);
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.replace("localhost:", "127.0.0.1:") };
    let Ok(listen) = full.parse::<SocketAddr>() else {
        top.problem("listen", format!("expected ADDRESS:PORT like \"127.0.0.1:8000\", found {text:?}"));
        return DEFAULT_LISTEN;
    };
    if dev && !listen.ip().is_loopback() {
        let why = "development mode is open to everybody and serves loopback only: listen on 127.0.0.1, or leave it: give a \
                   configuration file (--config) without dev = true";
        top.problem("listen", why);
    }
    listen
}

/// More threads than this help nobody.
const SHARDS_MAX: usize = 256;

fn shards_or_cpus(top: &mut Section<'_>, shards: usize) -> usize {
    if shards > SHARDS_MAX {
        top.problem("shards", format!("{shards} is more than {SHARDS_MAX}"));
    }
    match shards {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get).min(SHARDS_MAX),
        given => given,
    }
}

fn window(section: &mut Section<'_>) -> WindowOptions {
    let default = WindowOptions::default();
    let bytes = section.get(
        "payload_bytes_max",
        Bytes(default.payload_bytes_max),
        "Payload bytes of the recent log that this node keeps in memory, shared by all partitions.",
    );
    let window = WindowOptions {
        payload_bytes_max: bytes.0,
        index_keys_max: section.get(
            "index_keys_max",
            default.index_keys_max,
            "Channels whose last offset this node remembers; about 40 bytes each.",
        ),
        dedup_offsets: section.get(
            "dedup_offsets",
            default.dedup_offsets,
            "On Kafka an idempotency key or a version counts as seen when it occurs among this many preceding offsets of its \
             partition, of whatever channels and however long ago: the same on every node. The brokers memory and embedded \
             look back 50000 records.",
        ),
        linger: section.get(
            "linger",
            default.linger,
            "How long a partition is still read when its last subscriber left.",
        ),
    };
    if window.payload_bytes_max < 1 << 20 {
        section.problem("payload_bytes_max", "must be at least \"1MiB\"");
    }
    if window.index_keys_max == 0 {
        section.problem("index_keys_max", "must be at least 1");
    }
    window
}

/// Larger bodies are no requests.
const BODY_BYTES_LIMIT: usize = 256 << 20;

fn api(section: &mut Section<'_>, dev: bool) -> ApiConfig {
    let keys = section.get(
        "keys",
        Vec::<Secret>::new(),
        "Keys that open the server API; several let them be rotated. None = it is off.",
    );
    let scoped = section.child("scoped", |section| {
        let names = section.keys();
        names
            .into_iter()
            .filter_map(|name| section.child(&name, |section| scoped_key(section, &name)))
            .collect::<Vec<_>>()
    });
    let mut secrets: Vec<&str> =
        keys.iter().chain(scoped.iter().map(|(key, _)| key)).map(|key| key.0.as_str()).collect();
    secrets.sort_unstable();
    if secrets.windows(2).any(|two| two[0] == two[1]) {
        section
            .problem("keys", "a key stands here twice, or under a scope too: what it may do would be anybody's guess");
    }
    let any_key = !keys.is_empty() || !scoped.is_empty();
    let insecure = section.get("insecure", dev && !any_key, "Answer the server API without a key.");
    let body = section.get("body_bytes_max", Bytes(1 << 20), "Bytes of one API request.");
    if insecure && any_key {
        section.problem("insecure", "contradicts api.keys: take one of them away");
    }
    if !(1..=BODY_BYTES_LIMIT).contains(&body.0) {
        section.problem("body_bytes_max", "must be between \"1B\" and \"256MiB\"");
    }
    ApiConfig { keys, scoped, insecure, body_bytes_max: body.0 }
}

/// `[api.scoped.NAME]`: a key for some methods or some channels.
pub(super) fn scoped_key(section: &mut Section<'_>, name: &str) -> Option<(Secret, Scope)> {
    let key = section.optional::<Secret>("key", "The key.");
    let words = section.get(
        "methods",
        Vec::<String>::new(),
        "Methods that it may call; absent = all, or all that name a channel where channels are given.",
    );
    let patterns = section.get(
        "channels",
        Vec::<String>::new(),
        "Channels that its calls may name, with * for any run of characters; absent = any.",
    );
    let mut methods = Vec::new();
    for word in &words {
        match Method::parse(word).filter(|method| *method != Method::Batch) {
            Some(method) => methods.push(method),
            None => {
                let known = Method::ALL.iter().filter(|m| **m != Method::Batch).map(|m| m.name());
                let known: Vec<_> = known.collect();
                section.problem("methods", format!("{word:?} is no method: there are {}", known.join(", ")));
            }
        }
    }
    let parsed: Result<Vec<_>, _> = patterns.iter().map(|pattern| ChannelPattern::parse(pattern)).collect();
    let channels = parsed.map_err(|error| section.problem("channels", error.to_string())).unwrap_or_default();
    if key.as_ref().is_none_or(|key| key.0.is_empty()) {
        section.problem("key", "is missing: a scope is of a key");
        return None;
    }
    if methods.is_empty() && channels.is_empty() {
        section.problem("methods", "or channels must be given: a key for everything stands in api.keys");
    }
    Some((key?, Scope { name: name.to_owned(), methods, channels }))
}

fn control(section: &mut Section<'_>) -> Option<ControlOptions> {
    let default = ControlOptions::default();
    let enabled = section.get(
        "enabled",
        true,
        "Nodes tell each other who is there, who is present, and bring commands to connections elsewhere, by a log of \
         their own. Without it a node knows itself alone.",
    );
    let log = section.optional(
        "log",
        "Name of that log, the same on every node; by default that of the broker's own with .control behind it.",
    );
    let lease =
        section.get("lease", default.lease, "A node that is silent for so long has lapsed, with all it announced.");
    let grace = section.get(
        "grace",
        default.grace,
        "How long a client whose connection broke is still present: a user who is back before neither leaves nor joins.",
    );
    if lease < LEASE_MIN {
        section.problem("lease", "must be at least \"1s\"");
    }
    if grace > lease {
        section.problem("grace", "must not be longer than lease");
    }
    enabled.then(|| ControlOptions { log: log.map(|name: String| name.into()), lease, grace })
}

fn rules(section: &mut Section<'_>, broker: &BrokerConfig) -> Option<RulesOptions> {
    let shared = registry::factory(&broker.url.scheme).is_ok_and(|factory| factory.capabilities().shared);
    let enabled = section.get(
        "enabled",
        !shared,
        "Backends can revoke tokens and block users: by a log of their own, which on a broker that nodes share is to be made. \
         On by default where there is one node.",
    );
    let log = section.optional(
        "log",
        "Name of that log, the same on every node; by default that of the broker's own with .rules behind it.",
    );
    enabled.then(|| RulesOptions { log: log.map(|name: String| name.into()) })
}

/// A shorter one would lapse by a pause of the system.
const LEASE_MIN: Duration = Duration::from_secs(1);

fn node(section: &mut Section<'_>) -> (String, DrainConfig) {
    let host = host::name().unwrap_or_else(|| "tidegate".to_owned());
    let name =
        section.get("name", host, "Name of this node in answers, logs and the demo page; the host's name by default.");
    let drain = section.child("drain", |section| DrainConfig {
        rate: section.get("rate", 1_000, "Clients closed per second after SIGTERM, by the whole node."),
        timeout: section.get("timeout", Duration::from_secs(30), "After this who is left is told to go at once."),
    });
    if drain.rate == 0 {
        section.problem("drain.rate", "must be at least 1");
    }
    (name, drain)
}
