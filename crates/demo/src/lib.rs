//! The demo: a page that watches jobs live, and the jobs that it watches.
//!
//! The page is built from `web/` by the build script and embedded. A job is a process of its own that knows nothing of
//! sockets and only publishes its steps by the server API; this crate starts it and waits for its end. Nothing here
//! knows the server: it serves [`asset`] at `/`, and [`Jobs::start`] answers `POST /demo/jobs`.

mod assets;
mod http;
mod jobs;
pub mod worker;

pub use assets::{Asset, asset};
pub use jobs::{JOBS_MAX, Job, Jobs, StartError};
