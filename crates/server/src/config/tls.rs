//! `[tls]`: whether the listener speaks it, and with what certificate.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::{TlsConfig, TlsSource, TlsVersion};

/// Shorter is of no use to anybody.
const RELOAD_INTERVAL_MIN: Duration = Duration::from_millis(100);

pub(super) fn read(section: &mut Section<'_>) -> Option<TlsConfig> {
    // With self_signed = false it is said that none is wanted, as it is in what `config show --effective` prints.
    let is_wanted =
        !section.has("self_signed") && ["min_version", "reload_interval"].iter().any(|key| section.has(key));
    let certificate: Option<String> = section.optional(
        "certificate",
        "File (PEM) with the certificate of this server and those between it and its root. With it the listener speaks \
         TLS only.",
    );
    let key: Option<String> =
        section.optional("key", "File (PEM) with the private key of the certificate, not encrypted.");
    let self_signed = section.get(
        "self_signed",
        false,
        "Make a certificate for this run instead, to try TLS. Clients have to be told to accept it.",
    );
    let min_version = section.get("min_version", TlsVersion::V12, "The oldest version that is spoken.");
    let reload_interval = section.get(
        "reload_interval",
        Duration::from_secs(5),
        "How often the files are looked at. Changed ones are taken into use when they are the same twice in a row.",
    );
    if reload_interval < RELOAD_INTERVAL_MIN {
        section.problem("reload_interval", "must be at least \"100ms\"");
    }
    let source = match (certificate, key) {
        (Some(_), _) | (_, Some(_)) if self_signed => {
            section.problem("self_signed", "contradicts tls.certificate and tls.key: take one or the other away");
            return None;
        }
        (Some(certificate), Some(key)) => {
            TlsSource::Files { certificate: PathBuf::from(certificate), key: PathBuf::from(key) }
        }
        (Some(_), None) => {
            section.problem("key", "is missing: name the file with the private key of tls.certificate");
            return None;
        }
        (None, Some(_)) => {
            section.problem("certificate", "is missing: name the file with the certificate of tls.key");
            return None;
        }
        (None, None) if self_signed => TlsSource::SelfSigned,
        (None, None) => {
            if is_wanted {
                let why = "is missing, so no TLS is spoken: name the files of tls.certificate and tls.key, or take the \
                           section away";
                section.problem("certificate", why);
            }
            return None;
        }
    };
    if let TlsSource::Files { certificate, key } = &source {
        for (name, path) in [("certificate", certificate), ("key", key)] {
            if let Err(error) = std::fs::metadata(path) {
                section.problem(name, format!("cannot read {}: {error}", path.display()));
            }
        }
    }
    Some(TlsConfig { source, min_version, reload_interval })
}
