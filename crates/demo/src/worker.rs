//! The job itself: a process that works, and says after each step how far it is, by plain HTTP.
//!
//! It holds no socket to any browser and does not know who watches. Each step carries an idempotency key, so a publish
//! whose answer was lost is sent again without being seen twice.

use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use crate::http::Client;

/// The environment variable with the key of the server API.
pub const API_KEY: &str = "TIDEGATE_API_KEY";

/// How long one step is tried for: a server may be away for a while.
const STEP_MAX: Duration = Duration::from_secs(120);
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// `http://HOST:PORT` of any node, or `https://ADDRESS:PORT` of one on this machine.
    pub url: String,
    /// Where the steps are published.
    pub channel: String,
    /// How many there are.
    pub steps: u32,
    /// Milliseconds of work for each.
    pub interval_ms: u64,
}

impl Args {
    /// The same as arguments of a command line: `--url … --channel … --steps … --interval-ms …`.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let pairs = [
            ("--url", self.url.clone()),
            ("--channel", self.channel.clone()),
            ("--steps", self.steps.to_string()),
            ("--interval-ms", self.interval_ms.to_string()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.into(), value.into()]).collect()
    }
}

/// Why the job ended before its last step.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The URL or the key cannot be used.
    #[error("cannot use the url or the key: {0}")]
    Client(#[source] io::Error),
    /// The server said no, and would again.
    #[error("step {step} was refused: {reason}")]
    Refused {
        /// The step.
        step: u32,
        /// What the server said.
        reason: String,
    },
    /// It was tried for two minutes.
    #[error("step {step} could not be published: {reason}")]
    Unreachable {
        /// The step.
        step: u32,
        /// Why the last try failed.
        reason: String,
    },
}

/// Works through all steps and publishes each, in order.
///
/// # Errors
/// When a step is refused, or cannot be published for two minutes.
pub fn run(args: &Args) -> Result<(), RunError> {
    let key = std::env::var(API_KEY).ok();
    let headers: Vec<(&str, &str)> = key.iter().map(|key| ("X-API-Key", key.as_str())).collect();
    let mut client = Client::new(&args.url, &headers).map_err(RunError::Client)?;
    for step in 1..=args.steps {
        std::thread::sleep(Duration::from_millis(args.interval_ms));
        publish(&mut client, step, &request(args, step))?;
    }
    Ok(())
}

fn request(args: &Args, step: u32) -> String {
    let job = args.channel.split_once(':').map_or(args.channel.as_str(), |(_, name)| name);
    serde_json::json!({
        "channel": args.channel,
        "data": { "step": step, "total": args.steps, "message": message(step, args.steps) },
        "idempotency_key": format!("{job}-{step}"),
    })
    .to_string()
}

/// What the job says that it does, so that its log reads like one.
pub fn message(step: u32, total: u32) -> String {
    const STAGES: [&str; 5] =
        ["fetching part", "checking part", "transforming part", "rendering part", "uploading part"];
    if step >= total {
        return "done".to_owned();
    }
    let done = u64::from(step.saturating_sub(1)) * STAGES.len() as u64 / u64::from(total.max(1));
    // `done` is below the number of stages, because step < total.
    format!("{} {step}", STAGES[done as usize])
}

/// Outcome of one try.
enum Tried {
    Published,
    Again(String),
    Refused(String),
}

fn publish(client: &mut Client, step: u32, request: &str) -> Result<(), RunError> {
    let began = Instant::now();
    let mut pause = RETRY_MIN;
    loop {
        match attempt(client, request) {
            Tried::Published => return Ok(()),
            Tried::Refused(reason) => return Err(RunError::Refused { step, reason }),
            Tried::Again(reason) if began.elapsed() >= STEP_MAX => return Err(RunError::Unreachable { step, reason }),
            Tried::Again(_) => std::thread::sleep(jitter(pause)),
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

fn attempt(client: &mut Client, request: &str) -> Tried {
    let response = match client.post("/api/publish", request) {
        Ok(response) => response,
        Err(error) => return Tried::Again(error.to_string()),
    };
    let body = String::from_utf8_lossy(&response.body).into_owned();
    match response.status {
        200 => answer(&body),
        429 | 500..=599 => Tried::Again(format!("status {}: {body}", response.status)),
        status => Tried::Refused(format!("status {status}: {body}")),
    }
}

/// Errors of the API come with status 200, a code, and `"temporary": true` where a retry can help.
fn answer(body: &str) -> Tried {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(body) else {
        return Tried::Refused(format!("not JSON: {body}"));
    };
    match json.get("error") {
        None => Tried::Published,
        Some(error) if error.get("temporary") == Some(&true.into()) => Tried::Again(error.to_string()),
        Some(error) => Tried::Refused(error.to_string()),
    }
}

/// Between half of `pause` and all of it, so that many workers do not come back together.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0u8; 2];
    // Without randomness the pause is the whole one.
    let part = getrandom::fill(&mut random).map_or(u16::MAX, |()| u16::from_le_bytes(random));
    pause / 2 + (pause / 2).mul_f64(f64::from(part) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::{Args, RunError, jitter, message, run};

    fn args(listener: &TcpListener, steps: u32) -> Args {
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        Args { url, channel: "progress:job-1".to_owned(), steps, interval_ms: 0 }
    }

    /// Reads one request; its body.
    fn request(from: &mut BufReader<TcpStream>) -> serde_json::Value {
        let (mut length, mut line) = (0, String::new());
        while !matches!(line.as_str(), "\r\n") {
            line.clear();
            from.read_line(&mut line).expect("a head");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).expect("a body");
        serde_json::from_slice(&body).expect("json")
    }

    fn respond(to: &mut BufReader<TcpStream>, status: &str, body: &str) {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        to.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    #[test]
    fn every_step_is_published_once_more_until_it_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let args = args(&listener, 3);
        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            let mut socket = BufReader::new(listener.accept().expect("a client").0);
            for (status, body) in [
                ("200 OK", "{\"result\":{}}"),
                ("200 OK", "{\"error\":{\"code\":100,\"message\":\"away\",\"temporary\":true}}"),
                ("503 Away", ""),
            ] {
                seen.push(request(&mut socket));
                respond(&mut socket, status, body);
            }
            // The answer to this one is lost.
            seen.push(request(&mut socket));
            drop(socket);
            let mut socket = BufReader::new(listener.accept().expect("it comes back").0);
            for _ in 0..2 {
                seen.push(request(&mut socket));
                respond(&mut socket, "200 OK", "{\"result\":{}}");
            }
            seen
        });
        run(&args).expect("all published");
        let seen = server.join().expect("served");
        let keys: Vec<_> = seen.iter().map(|body| body["idempotency_key"].as_str().expect("a key")).collect();
        assert_eq!(keys, ["job-1-1", "job-1-2", "job-1-2", "job-1-2", "job-1-2", "job-1-3"]);
        assert_eq!(seen[5]["data"], serde_json::json!({ "step": 3, "total": 3, "message": "done" }));
        assert_eq!(seen[5]["channel"], "progress:job-1");
    }

    #[test]
    fn a_refusal_ends_the_job_with_what_the_server_said() {
        for (status, body) in
            [("401 Unauthorized", "who"), ("200 OK", "{\"error\":{\"code\":102,\"message\":\"unknown channel\"}}")]
        {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let args = args(&listener, 2);
            let server = std::thread::spawn(move || {
                let mut socket = BufReader::new(listener.accept().expect("a client").0);
                request(&mut socket);
                respond(&mut socket, status, body);
            });
            let error = run(&args).expect_err("refused");
            assert!(matches!(&error, RunError::Refused { step: 1, .. }), "{error}");
            server.join().expect("served");
        }
    }

    #[test]
    fn the_log_reads_like_one() {
        assert_eq!(message(1, 100), "fetching part 1");
        assert_eq!(message(99, 100), "uploading part 99");
        assert_eq!(message(100, 100), "done");
        assert_eq!(message(1, 1), "done");
        assert_eq!(message(0, 0), "done");
    }

    #[test]
    fn a_pause_is_never_longer_than_asked_nor_less_than_half() {
        for _ in 0..100 {
            let pause = jitter(Duration::from_millis(100));
            assert!(pause >= Duration::from_millis(50) && pause <= Duration::from_millis(100));
        }
    }

    #[test]
    fn arguments_are_those_of_the_command_line() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let arguments = args(&listener, 7).to_arguments();
        assert_eq!(arguments[2..6], ["--channel", "progress:job-1", "--steps", "7"]);
    }
}
