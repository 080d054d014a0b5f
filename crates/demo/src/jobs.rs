//! Starts jobs as processes of their own and waits for their ends.
//!
//! A job outlives the server that started it: it goes on publishing when the server is back. At most [`JOBS_MAX`] run
//! at once.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::worker::{API_KEY, Args};

/// Jobs of one server at the same time.
pub const JOBS_MAX: usize = 16;

const STEPS: u32 = 100;
const INTERVAL_MS: u64 = 80;

/// A started job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name: `job-` and eight letters or digits.
    pub name: String,
    /// The channel that it publishes to.
    pub channel: String,
}

impl Job {
    /// A job that nobody has started, with a random name.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, StartError> {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|_| StartError::Random)?;
        let id: String = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
        Ok(Self { name: format!("job-{id}"), channel: format!("progress:job-{id}") })
    }

    /// The answer to `POST /demo/jobs`.
    pub fn to_json(&self) -> String {
        serde_json::json!({ "job": self.name, "channel": self.channel }).to_string()
    }
}

/// Why no job was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// [`JOBS_MAX`] run: the caller may try again later (HTTP status 429).
    #[error("{JOBS_MAX} jobs run already, wait for one to end")]
    TooMany,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The system did not start the process.
    #[error("cannot start the worker: {0}")]
    Spawn(#[from] io::Error),
}

impl StartError {
    /// The HTTP status that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooMany => 429,
            Self::Random | Self::Spawn(_) => 500,
        }
    }
}

/// Starts the jobs of one server.
#[derive(Debug)]
pub struct Jobs {
    program: io::Result<PathBuf>,
    url: String,
    api_key: Option<String>,
    running: Arc<AtomicUsize>,
}

impl Jobs {
    /// Jobs that are this very program with the hidden subcommand `demo-worker`, and publish to the server at `url`
    /// (`http://HOST:PORT`, or https on this machine), with a key if its API asks for one.
    pub fn new(url: impl Into<String>, api_key: Option<String>) -> Self {
        Self { program: std::env::current_exe(), url: url.into(), api_key, running: Arc::default() }
    }

    /// Starts a job.
    ///
    /// # Errors
    /// When too many run or the system refuses.
    pub fn start(&self) -> Result<Job, StartError> {
        let job = Job::random()?;
        let place = Place::take(&self.running).ok_or(StartError::TooMany)?;
        let program = self.program.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        let child = self.command(program, &job).spawn()?;
        wait(child, place)?;
        Ok(job)
    }

    /// How many run now.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    fn command(&self, program: &PathBuf, job: &Job) -> Command {
        let args = Args { url: self.url.clone(), channel: job.channel.clone(), steps: STEPS, interval_ms: INTERVAL_MS };
        let mut command = Command::new(program);
        command.arg("demo-worker").args(args.to_arguments()).stdin(Stdio::null()).stdout(Stdio::null());
        match &self.api_key {
            Some(key) => command.env(API_KEY, key),
            None => command.env_remove(API_KEY),
        };
        command
    }
}

/// Waits on a small thread of its own, so that an ended job neither stays in the process table nor keeps its place.
fn wait(child: Child, place: Place) -> io::Result<()> {
    let mut child = child;
    let thread = std::thread::Builder::new().name("demo-job".to_owned()).stack_size(64 * 1024);
    thread.spawn(move || {
        // It fails only for a child that was waited for already.
        let _ = child.wait();
        drop(place);
    })?;
    Ok(())
}

/// One of the [`JOBS_MAX`] places; dropping it gives it back.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(running: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count| (count < JOBS_MAX).then_some(count + 1);
        running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(running.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::{JOBS_MAX, Job, Jobs, StartError};

    fn jobs_of(program: &str) -> Jobs {
        Jobs { program: Ok(PathBuf::from(program)), ..Jobs::new("http://127.0.0.1:1", None) }
    }

    #[test]
    fn names_differ_and_the_channel_carries_the_name() {
        let (one, two) = (Job::random().expect("random"), Job::random().expect("random"));
        assert_ne!(one, two);
        assert_eq!(one.channel, format!("progress:{}", one.name));
        assert_eq!(one.to_json(), format!(r#"{{"channel":"{}","job":"{}"}}"#, one.channel, one.name));
    }

    #[test]
    fn a_job_that_ended_gives_its_place_back() {
        let jobs = jobs_of("/bin/true");
        for _ in 0..JOBS_MAX {
            jobs.start().expect("true starts");
        }
        let began = Instant::now();
        while jobs.running() > 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "{} still run", jobs.running());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn more_than_the_places_are_refused() {
        let jobs = jobs_of("/bin/true");
        jobs.running.store(JOBS_MAX, std::sync::atomic::Ordering::Relaxed);
        let error = jobs.start().expect_err("full");
        assert!(matches!(error, StartError::TooMany));
        assert_eq!(error.status(), 429);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_takes_no_place() {
        let jobs = jobs_of("/nothing/here");
        assert_eq!(jobs.start().expect_err("not there").status(), 500);
        assert_eq!(jobs.running(), 0);
    }
}
