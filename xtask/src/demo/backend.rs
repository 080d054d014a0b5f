//! The backend of the demo: it answers `POST /demo/jobs` and runs each job as a plain Kafka producer.
//!
//! It speaks to Kafka alone and never to a node. One request at a time, loopback only: it is a demo's.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_demo::{JOBS_MAX, Job, worker};
use tidegate_testkit::producer::Producer;

/// The path that the balancer sends here.
pub(super) const PATH: &str = "/demo/jobs";
/// An empty topic says nothing about where its producers put their keys; this is where Java producers do.
pub(super) const PARTITIONER: &str = "partitioner=murmur2_random";

const STEPS: u32 = 100;
const INTERVAL: Duration = Duration::from_millis(80);
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A listening backend; it ends with this process.
pub(super) struct Backend {
    port: u16,
}

struct Jobs {
    bootstrap: String,
    topic: String,
    running: AtomicUsize,
}

impl Backend {
    /// Listens on a free port.
    pub(super) fn start(bootstrap: &str, topic: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for jobs")?;
        let port = listener.local_addr()?.port();
        let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
        let jobs = Arc::new(Jobs { bootstrap, topic, running: AtomicUsize::new(0) });
        std::thread::Builder::new().name("backend".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = jobs.serve(stream) {
                    eprintln!("  a request for a job failed: {error:#}");
                }
            }
        })?;
        Ok(Self { port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Jobs {
    fn serve(self: &Arc<Self>, mut stream: TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        let (status, body) = match read_head(&mut stream)?.starts_with(&format!("POST {PATH} ")) {
            true => self.start(),
            false => ("405 Method Not Allowed", format!("use POST {PATH}")),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
        Ok(stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?)
    }

    fn start(self: &Arc<Self>) -> (&'static str, String) {
        let more = |count| (count < JOBS_MAX).then_some(count + 1);
        if self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return ("429 Too Many Requests", format!("{JOBS_MAX} jobs run already, wait for one to end"));
        }
        match self.spawn() {
            Ok(job) => ("200 OK", job.to_json()),
            Err(error) => {
                self.running.fetch_sub(1, Ordering::Relaxed);
                ("500 Internal Server Error", format!("{error:#}"))
            }
        }
    }

    fn spawn(self: &Arc<Self>) -> Result<Job> {
        let job = Job::random()?;
        let producer = Producer::new(&self.bootstrap, &self.topic, &[&format!("topic.{PARTITIONER}")]);
        let (jobs, channel) = (self.clone(), job.channel.clone());
        std::thread::Builder::new().name("job".to_owned()).spawn(move || {
            if let Err(error) = work(&producer, &channel) {
                eprintln!("  {channel} ended early: {error:#}");
            }
            jobs.running.fetch_sub(1, Ordering::Relaxed);
        })?;
        Ok(job)
    }
}

fn work(producer: &Producer, channel: &str) -> Result<()> {
    for step in 1..=STEPS {
        std::thread::sleep(INTERVAL);
        let message = worker::message(step, STEPS);
        let value = serde_json::json!({ "step": step, "total": STEPS, "message": message });
        producer.send(channel, &value.to_string())?;
    }
    Ok(())
}

fn read_head(stream: &mut TcpStream) -> Result<String> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0 && head.len() + read <= REQUEST_BYTES_MAX, "the request does not end");
        head.extend_from_slice(&buffer[..read]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
