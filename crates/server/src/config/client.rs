//! `[client]`: what concerns every client.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tidegate_core::config::{ClientOptions, PersonalChannel, TokenOptions, UserHeader};
use tidegate_framing::websocket::Origins;

use super::reader::{Section, read};
use super::token;
use super::value::Bytes;

pub(super) fn read(top: &mut Section<'_>, dev: bool) -> (ClientOptions, TokenOptions) {
    top.child("client", |section| {
        let client = client(section, dev);
        check(section, &client);
        let token = token::read(section);
        if dev && !section.has("allow_anonymous") && token.has_keys() {
            tracing::debug!("development mode lets clients connect without a token although a key is set");
        }
        (client, token)
    })
}

fn client(section: &mut Section<'_>, dev: bool) -> ClientOptions {
    let mut o = ClientOptions { allow_anonymous: dev, ..ClientOptions::default() };
    read!(section, o,
        allow_anonymous: "Let clients connect without a token; their user is empty.",
        allowed_origins: "Origins that browsers may connect from, with * for anything; empty = only this server's own host.",
    );
    let doc = "Bytes of one client message; more closes with 1009.";
    o.message_bytes_max = section.get("message_bytes_max", Bytes(o.message_bytes_max), doc).0;
    times(section, &mut o);
    limits(section, &mut o);
    o.user_header = user_header(section);
    let doc =
        "Publications in one history answer to a client. Backends get as many as they ask for and history_size keeps.";
    o.history_publications_max = section.get("history_max", o.history_publications_max, doc);
    read!(section, o, write_stall_max: "A socket that takes no byte for this long is closed.",);
    section.child("recovery", |section| recovery(section, &mut o));
    o.personal_channel = section.child("subscribe_to_user_personal_channel", personal_channel);
    o
}

/// How long what may take.
fn times(section: &mut Section<'_>, o: &mut ClientOptions) {
    read!(section, o,
        ping_interval: "Between two pings of the server.",
        pong_timeout: "A ping not answered within this closes the connection; shorter than ping_interval.",
        stale_close_delay: "How long a connection may take to say who it is.",
        expired_close_delay: "How long an expired token is borne while the client refreshes it.",
    );
}

/// How many there may be.
fn limits(section: &mut Section<'_>, o: &mut ClientOptions) {
    read!(section, o,
        channel_limit: "Subscriptions of one connection.",
        connection_limit: "Sessions on this node, more are closed with 3013 and come again; 0 = no limit.",
        user_connection_limit: "Sessions of one user on this node, more are closed with 3504; 0 = no limit.",
    );
}

/// What one recovery may cost.
fn recovery(section: &mut Section<'_>, o: &mut ClientOptions) {
    let doc = "Publications that one recovery may bring.";
    o.recovery_publications_max = section.get("publications_max", o.recovery_publications_max, doc);
    let doc = "Bytes that one recovery may bring; a client's history is answered in pages of so many.";
    o.recovery_bytes_max = section.get("bytes_max", Bytes(o.recovery_bytes_max), doc).0;
    let doc = "Records of a shared log that one recovery or history read may look at.";
    o.recovery_scan_records_max = section.get("scan_records_max", o.recovery_scan_records_max, doc);
}

fn user_header(section: &mut Section<'_>) -> Option<UserHeader> {
    let name = section.optional::<String>(
        "user_id_http_header",
        "A header in which a proxy names the user of a client that brings no token, X-User-Id for example.",
    );
    let texts = section.get(
        "trusted_proxies",
        Vec::<String>::new(),
        "Addresses or networks (10.0.0.0/8) of those proxies: from elsewhere the header is ignored.",
    );
    let mut proxies = Vec::new();
    for text in &texts {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) => proxies.push(net),
            Err(_) => {
                section.problem("trusted_proxies", format!("{text:?} is no address and no network like 10.0.0.0/8"))
            }
        }
    }
    match name {
        Some(name) if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') => {
            section.problem("user_id_http_header", format!("{name:?} is no name of a header"));
            None
        }
        Some(_) if texts.is_empty() => {
            let why = "needs trusted_proxies: without a proxy that sets it a client could be whoever it likes";
            section.problem("user_id_http_header", why);
            None
        }
        Some(name) => Some(UserHeader { name, proxies }),
        None => {
            if !texts.is_empty() {
                section.problem("trusted_proxies", "has no effect without user_id_http_header");
            }
            None
        }
    }
}

fn personal_channel(section: &mut Section<'_>) -> Option<PersonalChannel> {
    let enabled = section.get("enabled", false, "Subscribe every session of a user to the channel #<user>.");
    let namespace =
        section.optional::<String>("personal_channel_namespace", "Its namespace; absent = without a namespace.");
    let single_connection = section.get(
        "single_connection",
        false,
        "A user has one session: a newer one closes those before with 3504, on whatever node they are.",
    );
    if single_connection && !enabled {
        section.problem("single_connection", "has no effect without enabled");
    }
    enabled.then_some(PersonalChannel { namespace, single_connection })
}

/// The protocol counts pings in seconds.
const PING_INTERVAL_MIN: Duration = Duration::from_secs(1);
const MESSAGE_BYTES_LIMIT: usize = 64 << 20;
/// A connection counts its channels in 16 bits.
const CHANNEL_LIMIT_MAX: usize = u16::MAX as usize;

fn check(section: &mut Section<'_>, client: &ClientOptions) {
    if let Err(error) = Origins::parse(&client.allowed_origins) {
        section.problem("allowed_origins", error.to_string());
    }
    if client.ping_interval < PING_INTERVAL_MIN || client.ping_interval.subsec_nanos() != 0 {
        section.problem("ping_interval", "must be a whole number of seconds, at least \"1s\"");
    }
    if client.pong_timeout.is_zero() || client.pong_timeout >= client.ping_interval {
        section.problem("pong_timeout", "must be above zero and shorter than ping_interval");
    }
    if !(1 << 10..=MESSAGE_BYTES_LIMIT).contains(&client.message_bytes_max) {
        section.problem("message_bytes_max", "must be between \"1KiB\" and \"64MiB\"");
    }
    let positive = [
        ("stale_close_delay", client.stale_close_delay.is_zero()),
        ("write_stall_max", client.write_stall_max.is_zero()),
        ("channel_limit", client.channel_limit == 0),
    ];
    if client.channel_limit > CHANNEL_LIMIT_MAX {
        section.problem("channel_limit", format!("must be at most {CHANNEL_LIMIT_MAX}"));
    }
    for (key, _) in positive.iter().filter(|(_, is_zero)| *is_zero) {
        section.problem(key, "must be above zero");
    }
}
