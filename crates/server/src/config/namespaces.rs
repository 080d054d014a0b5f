//! `[namespaces.<name>]`, and `[channel.without_namespace]` for channels without one. Closed unless opened.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::config::{NamePatterns, NamespaceOptions, RecoveryMode};

use super::reader::{Section, read};

type Named = Vec<(String, NamespaceOptions)>;

pub(super) fn read(top: &mut Section<'_>, dev: bool) -> (Option<NamespaceOptions>, Named) {
    let default = top.child("channel", |channel| {
        let is_on = dev || channel.mentions(WITHOUT);
        channel.child(WITHOUT, |section| is_on.then(|| namespace(section, dev)))
    });
    let named = top.child("namespaces", |section| {
        let mut names = section.keys();
        if dev && !names.iter().any(|name| name == DEMO) {
            names.push(DEMO.to_owned());
        }
        let named: Named = names.into_iter().map(|name| named(section, name, dev)).collect();
        check_patterns(section, &named);
        named
    });
    (default, named)
}

/// The namespace of the demo's jobs, which development mode has without being told.
pub(super) const DEMO: &str = "progress";
const WITHOUT: &str = "without_namespace";

fn named(section: &mut Section<'_>, name: String, dev: bool) -> (String, NamespaceOptions) {
    if !is_name(&name) {
        section.problem(&name, "a namespace's name has two or more of a-z, A-Z, 0-9, - and _");
    }
    let options = section.child(&name, |section| with_name(section, dev));
    (name, options)
}

/// One that has a name, so that its channels can be told by something else too.
pub(super) fn with_name(section: &mut Section<'_>, dev: bool) -> NamespaceOptions {
    let doc = "Its channels are those whose whole name is like this, \"/users/:id\"; absent = those behind NAME:.";
    let pattern = section.optional("pattern", doc);
    NamespaceOptions { pattern, ..namespace(section, dev) }
}

/// A name is of one pattern.
fn check_patterns(section: &mut Section<'_>, named: &Named) {
    let mut patterns = NamePatterns::default();
    for (name, options) in named {
        let Some(pattern) = &options.pattern else { continue };
        if patterns.insert(pattern, ()).is_err() {
            let text = format!(
                "the names of {pattern:?} are those of another namespace's pattern too: make one of them \
                                differ in a text",
                pattern = pattern.to_string()
            );
            section.problem(&format!("{name}.pattern"), text);
        }
    }
}

fn is_name(name: &str) -> bool {
    name.len() >= 2 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// What a namespace is by default: closed, or in development mode open with a short past.
fn defaults(dev: bool) -> NamespaceOptions {
    if !dev {
        return NamespaceOptions::default();
    }
    NamespaceOptions {
        history_size: 1_000,
        history_ttl: Duration::from_secs(3_600),
        allow_recovery: true,
        force_recovery: true,
        allow_positioning: true,
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        allow_history_for_client: true,
        allow_history_for_anonymous: true,
        allow_fossil_delta: true,
        ..NamespaceOptions::default()
    }
}

pub(super) fn namespace(section: &mut Section<'_>, dev: bool) -> NamespaceOptions {
    let mut o = defaults(dev);
    let log = section
        .optional::<String>("log", "The log that carries it, a topic on Kafka; absent = the broker's default log.");
    o.log = log.map(Arc::from);
    let doc = "Clients may only name channels whose name behind the namespace this matches, \"^[0-9]+$\" for example.";
    o.channel_regex = section.optional("channel_regex", doc);
    read!(section, o, read_only: "Nothing can be published through Tidegate: read permissions on the log are enough.",);
    history(section, &mut o);
    access(section, &mut o);
    presence(section, &mut o);
    o.allow_fossil_delta = deltas(section, o.allow_fossil_delta);
    read!(section, o,
        delta_publish: "Every publication may reach subscribers who take deltas as the difference to the one before.",
        on_lag: "What happens to a reader that does not keep up: it reads on from where it is, or is disconnected with 3008.",
    );
    o.data_format = section.get("publication_data_format", o.data_format, "Which payloads are taken.");
    check(section, &o);
    o
}

/// What is kept, and who may have it again.
fn history(section: &mut Section<'_>, o: &mut NamespaceOptions) {
    read!(section, o,
        history_size: "Newest publications of a channel that history and recovery may return; 0 = none.",
        history_ttl: "Age up to which they may; \"0s\" = none.",
        force_recovery: "Every subscription is recoverable.",
        allow_recovery: "Clients may ask for recovery; those that may read history may in any case.",
    );
    let doc = "What a recovery brings: all that was missed, or the newest publication.";
    o.recovery_mode = section.get("force_recovery_mode", o.recovery_mode, doc);
    read!(section, o,
        auto_cache_recover: "Every subscription recovers, and so begins with the newest publication; for force_recovery_mode = \"cache\".",
        force_positioning: "Every subscription has a position.",
        allow_positioning: "Clients may ask for positions; those that may recover may in any case.",
        allow_history_for_client: "Clients may read history.",
        allow_history_for_subscriber: "Clients that are subscribed may read history.",
        allow_history_for_anonymous: "Clients without a user too, where clients or subscribers may.",
    );
}

/// Who may subscribe and publish.
fn access(section: &mut Section<'_>, o: &mut NamespaceOptions) {
    read!(section, o,
        allow_subscribe_for_client: "Clients may subscribe without a subscription token.",
        allow_subscribe_for_anonymous: "Clients without a user too.",
        allow_user_limited_channels: "A channel with # in its name is for the users behind it, with commas between, who may subscribe.",
        allow_publish_for_client: "Clients may publish.",
        allow_publish_for_subscriber: "Clients that are subscribed may publish.",
        allow_publish_for_anonymous: "Clients without a user too, where clients or subscribers may.",
    );
}

/// Who is seen, and by whom.
fn presence(section: &mut Section<'_>, o: &mut NamespaceOptions) {
    read!(section, o,
        presence: "Who is subscribed can be asked.",
        join_leave: "Joins and leaves are told to subscribers who ask for them.",
        force_push_join_leave: "Joins and leaves are told to every subscriber.",
        allow_presence_for_client: "Clients may ask who is subscribed.",
        allow_presence_for_subscriber: "Clients that are subscribed may ask.",
        allow_presence_for_anonymous: "Clients without a user too, where clients or subscribers may.",
    );
}

/// `allowed_delta_types`, of which there is one.
fn deltas(section: &mut Section<'_>, default: bool) -> bool {
    let default: Vec<String> = default.then(|| FOSSIL.to_owned()).into_iter().collect();
    let types =
        section.get("allowed_delta_types", default, "Deltas that subscribers may ask for: [\"fossil\"], or none.");
    if types.iter().any(|t| t != FOSSIL) {
        section.problem("allowed_delta_types", "there is one type: \"fossil\"");
    }
    !types.is_empty()
}

const FOSSIL: &str = "fossil";

/// Settings that would do nothing are errors: whoever wrote them expects something.
fn check(section: &mut Section<'_>, o: &NamespaceOptions) {
    if o.history_size > 0 && o.history_ttl.is_zero() {
        section.problem("history_ttl", "must be set beside history_size: without it nothing is kept");
    }
    if o.history_size == 0 && !o.history_ttl.is_zero() {
        section.problem("history_size", "must be set beside history_ttl: without it nothing is kept");
    }
    let without_history = !o.has_history();
    let needs_history = [
        ("force_recovery", o.force_recovery),
        ("allow_recovery", o.allow_recovery),
        ("allow_history_for_client", o.allow_history_for_client),
        ("allow_history_for_subscriber", o.allow_history_for_subscriber),
    ];
    for (key, _) in needs_history.iter().filter(|(_, on)| *on && without_history) {
        section.problem(key, "needs history_size and history_ttl");
    }
    let needs_presence = [
        ("join_leave", o.join_leave),
        ("allow_presence_for_client", o.allow_presence_for_client),
        ("allow_presence_for_subscriber", o.allow_presence_for_subscriber),
    ];
    for (key, _) in needs_presence.iter().filter(|(_, on)| *on && !o.presence) {
        section.problem(key, "has no effect without presence");
    }
    if o.delta_publish && !o.allow_fossil_delta {
        section.problem("delta_publish", "has no effect without allowed_delta_types");
    }
    if o.auto_cache_recover && (o.recovery_mode != RecoveryMode::Cache || !o.force_recovery) {
        section
            .problem("auto_cache_recover", "has no effect without force_recovery and force_recovery_mode = \"cache\"");
    }
    if o.force_push_join_leave && !o.join_leave {
        section.problem("force_push_join_leave", "has no effect without join_leave");
    }
    let needs_client = [
        ("allow_subscribe_for_anonymous", o.allow_subscribe_for_anonymous, o.allow_subscribe_for_client),
        (
            "allow_publish_for_anonymous",
            o.allow_publish_for_anonymous,
            o.allow_publish_for_client || o.allow_publish_for_subscriber,
        ),
        (
            "allow_history_for_anonymous",
            o.allow_history_for_anonymous,
            o.allow_history_for_client || o.allow_history_for_subscriber,
        ),
        (
            "allow_presence_for_anonymous",
            o.allow_presence_for_anonymous,
            o.allow_presence_for_client || o.allow_presence_for_subscriber,
        ),
    ];
    for (key, _, _) in needs_client.iter().filter(|(_, on, base)| *on && !*base) {
        let base = key.replace("anonymous", "client");
        section.problem(key, format!("has no effect without {base}"));
    }
}
