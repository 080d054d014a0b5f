//! Bytes in any pieces, and bytes that no client sends.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConnection, ServerConfig};
use tidegate_tls_client::{Trust, client_config_with};

use super::*;

/// A small fixed sequence (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}

fn server_config() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    Arc::new(config)
}

/// A session, its client, and what goes between them.
struct Pair {
    client: ClientConnection,
    session: TlsSession,
    /// What the session heard.
    plain: Vec<u8>,
    heard_by_client: Vec<u8>,
}

impl Pair {
    fn new(config: &Arc<ServerConfig>, nth: u64) -> Self {
        let version = if nth.is_multiple_of(2) { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
        let trusting = client_config_with(&Trust::Anybody, aws_lc_rs::default_provider(), &[version]).unwrap();
        Self {
            client: ClientConnection::new(Arc::new(trusting), "localhost".try_into().unwrap()).unwrap(),
            session: TlsSession::new(config.clone()).unwrap(),
            plain: Vec::new(),
            heard_by_client: Vec::new(),
        }
    }

    fn client_records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Brings bytes to the session as a shard does: behind what is held, in the buffer of the thread.
    fn bring(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut scratch = vec![0; 64 << 10];
        let held = self.session.put_held(&mut scratch);
        scratch[held..held + bytes.len()].copy_from_slice(bytes);
        let mut records = Vec::new();
        let taken = self.session.take(&mut scratch[..held + bytes.len()], &mut self.plain, &mut records);
        self.deliver(&records);
        taken
    }

    fn deliver(&mut self, mut records: &[u8]) {
        while !records.is_empty() && self.client.read_tls(&mut records).is_ok() {
            if self.client.process_new_packets().is_err() {
                return;
            }
            let mut buffer = [0; 4_096];
            while let Ok(count @ 1..) = std::io::Read::read(&mut self.client.reader(), &mut buffer) {
                self.heard_by_client.extend_from_slice(&buffer[..count]);
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.client.writer(), bytes).unwrap();
    }

    /// The session says something; whether it could.
    fn answer(&mut self, bytes: &[u8]) -> bool {
        let mut records = Vec::new();
        let sealed = self.session.seal(bytes, &mut records).is_ok();
        self.deliver(&records);
        sealed
    }

    fn shake_hands(&mut self) {
        for _ in 0..4 {
            let records = self.client_records();
            self.bring(&records).unwrap();
        }
        assert_eq!(self.session.stage, Stage::Open);
    }
}

#[test]
fn bytes_may_come_in_any_pieces() {
    let config = server_config();
    for seed in 1..60 {
        let (mut random, mut pair) = (Random(seed), Pair::new(&config, seed));
        let mut said = Vec::new();
        let mut answered = Vec::new();
        for round in 0..12 {
            let records = pair.client_records();
            let mut rest = &records[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + random.below(rest.len().min(3_000)));
                pair.bring(piece).unwrap();
                rest = behind;
                if pair.session.stage == Stage::Open && random.below(3) == 0 {
                    let text = vec![b'0' + round; random.below(500)];
                    assert!(pair.answer(&text));
                    answered.extend_from_slice(&text);
                }
            }
            if pair.session.stage == Stage::Open {
                let text = vec![b'a' + round; random.below(20_000)];
                pair.say(&text);
                if random.below(3) == 0 && seed.is_multiple_of(2) {
                    pair.client.refresh_traffic_keys().unwrap();
                }
                said.extend_from_slice(&text);
            }
        }
        let last = pair.client_records();
        pair.bring(&last).unwrap();
        assert!(!said.is_empty() && pair.plain == said, "seed {seed}");
        assert_eq!(pair.heard_by_client, answered, "seed {seed}");
    }
}

/// Changes, doubles, swaps or leaves out some bytes.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..bytes.len().min(at + random.below(200)))),
            3 => bytes.splice(at..at, (0..random.below(40)).map(|n| u8::try_from(n).unwrap())).for_each(drop),
            _ => {
                let part = bytes[at..].to_vec();
                bytes.extend_from_slice(&part);
            }
        }
    }
    bytes.truncate(30_000);
}

#[test]
fn no_bytes_make_it_panic() {
    let config = server_config();
    let (mut refused, mut open) = (0, 0);
    for seed in 1..600 {
        let (mut random, mut pair) = (Random(seed), Pair::new(&config, seed));
        if seed % 3 == 0 {
            pair.shake_hands();
        }
        for _ in 0..6 {
            if pair.session.stage == Stage::Open {
                pair.say(&vec![b'x'; random.below(5_000)]);
            }
            let mut records = pair.client_records();
            if random.below(2) == 0 {
                spoil(&mut records, &mut random);
            }
            let middle = random.below(records.len() + 1);
            let brought = pair.bring(&records[..middle]).and_then(|()| {
                pair.answer(b"between");
                pair.bring(&records[middle..])
            });
            let answered = pair.answer(b"behind");
            if brought.is_err() {
                refused += 1;
                let mut records = Vec::new();
                pair.session.seal_close(&mut records);
                break;
            }
            open += usize::from(answered);
        }
    }
    assert!(refused > 100 && open > 100, "both happened: {refused} {open}");
}
