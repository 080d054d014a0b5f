//! A hub with one shard that the test plays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::config::{CoreOptions, NamespaceOptions};
use tidegate_core::{Channel, Drained, Hub, Inbox, ReplyTo, ShardEvent, Start, Ticket};
use tidegate_protocol::Since;
use tidegate_testkit::hole_log::HoleLog;
use tidegate_types::ChannelName;
use tidegate_types::codes::ErrorCode;

pub(crate) struct Rig {
    pub(crate) log: HoleLog,
    pub(crate) hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) deliveries: Vec<(u64, String)>,
    pub(crate) invalidated: usize,
}

pub(crate) fn options() -> CoreOptions {
    let namespace = NamespaceOptions {
        history_size: 1_000,
        history_ttl: Duration::from_secs(600),
        force_recovery: true,
        ..Default::default()
    };
    let mut options = CoreOptions { default_namespace: Some(namespace), ..Default::default() };
    options.window.dedup_offsets = 20;
    options
}

impl Rig {
    pub(crate) fn new(options: CoreOptions) -> Self {
        Self::over(HoleLog::default(), options)
    }

    pub(crate) fn over(log: HoleLog, options: CoreOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inbox = Arc::new(Inbox::new(10_000, || {}));
        let shards = vec![(inbox.clone(), Arc::default())];
        let hub = Hub::new(options, Arc::new(log.clone()), &"main".into(), shards, runtime.handle().clone());
        runtime.block_on(hub.open()).unwrap();
        Self { log, hub, inbox, runtime, deliveries: Vec::new(), invalidated: 0 }
    }

    pub(crate) fn channel(&self, name: &str) -> Channel {
        self.hub.channel(&ChannelName::parse(name).unwrap()).unwrap()
    }

    /// Subscribes as a shard would, and waits for the start.
    pub(crate) fn subscribe(&mut self, name: &str, since: Option<(u64, &str)>) -> Result<Start, ErrorCode> {
        let channel = self.channel(name);
        self.hub.listen(&channel, 0, 1, 1);
        let since = since.map(|(offset, epoch)| Since { offset, epoch: epoch.to_owned() });
        let reply_to = ReplyTo { shard: 0, ticket: Ticket { connection: 0, generation: 0, command: 1 } };
        match self.hub.subscribe(&channel, since.as_ref(), reply_to) {
            Some(start) => Ok(start),
            None => self.wait_for_start(),
        }
    }

    pub(crate) fn wait_for_start(&mut self) -> Result<Start, ErrorCode> {
        let begun = Instant::now();
        loop {
            if let Some(result) = self.drain() {
                return result;
            }
            assert!(begun.elapsed() < Duration::from_secs(8), "no start");
            std::thread::yield_now();
        }
    }

    /// Waits until the shard is told that positions are void.
    pub(crate) fn wait_for_invalidation(&mut self) {
        let begun = Instant::now();
        while self.invalidated == 0 {
            assert!(begun.elapsed() < Duration::from_secs(8), "nobody says that positions are void");
            self.drain();
            std::thread::yield_now();
        }
    }

    /// Takes what the inbox has; a start is returned, the rest is kept.
    pub(crate) fn drain(&mut self) -> Option<Result<Start, ErrorCode>> {
        let mut drained = Drained::default();
        self.inbox.drain(&mut drained);
        for d in drained.deliveries {
            let json = String::from_utf8(d.publication.payload.json().to_vec()).unwrap();
            self.deliveries.push((d.publication.offset.0, json));
        }
        let mut start = None;
        for event in drained.events {
            match event {
                ShardEvent::Started { result, .. } => start = Some(result),
                ShardEvent::Invalidated { .. } => self.invalidated += 1,
                other => panic!("{other:?}"),
            }
        }
        start
    }
}

pub(crate) fn data(start: &Start) -> Vec<String> {
    start.publications.iter().map(|p| String::from_utf8(p.payload.json().to_vec()).unwrap()).collect()
}
