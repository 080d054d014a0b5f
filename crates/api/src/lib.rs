//! The server HTTP API: what a backend calls to publish, read history and look at a node.
//!
//! Requests in, answers out: no socket, no HTTP type. The shapes are those of the Centrifugo server API, so its client
//! libraries work. Sizes and deadlines of bodies are the listener's business.
//!
//! - [`Api`]: authorizes and answers.
//! - [`Method`]: what can be called, by its path.
//! - [`openapi`]: all of it as an OpenAPI document.
//! - [`Answer`]: an HTTP status and a JSON body.

mod answer;
mod api;
mod batch;
mod broadcast;
mod call;
mod channels;
mod clients;
mod history;
mod info;
mod keys;
mod method;
mod openapi;
mod presence;
mod publication;
mod publish;
mod read;
mod revoke;
mod subscribe;

pub use answer::{Answer, ErrorMode};
pub use api::Api;
pub use keys::{Access, Keys, Scope};
pub use method::Method;
pub use openapi::document as openapi;
