//! From a method and a body to an answer.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use tidegate_core::Hub;
use tidegate_types::codes::ErrorCode;

use crate::answer::{Answer, ErrorMode, Failure};
use crate::keys::Keys;
use crate::method::Method;
use crate::{answer, batch, broadcast, clients, history, info, presence, publish, subscribe};

/// The API over one node's hub.
pub struct Api {
    hub: Arc<Hub>,
    keys: Keys,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Api {
    /// The API of `hub` for callers who know one of `keys`.
    pub fn new(hub: Arc<Hub>, keys: Keys) -> Self {
        Self { hub, keys }
    }

    /// Checks the key of a caller.
    ///
    /// # Errors
    /// The answer for a caller who may not call.
    pub fn authorize(&self, key: Option<&[u8]>) -> Result<(), Answer> {
        if self.keys.admits(key) {
            return Ok(());
        }
        let message = match key {
            _ if self.keys.is_closed() => "the API is off: set api.keys",
            Some(_) => "wrong API key",
            None => "no API key: send it as X-API-Key, as Authorization: apikey KEY or as ?api_key=KEY",
        };
        Err(Answer::refused(401, ErrorCode::UNAUTHORIZED, message))
    }

    /// Does what an authorized caller asks.
    pub async fn call(&self, method: Method, body: &[u8], mode: ErrorMode) -> Answer {
        answer(self.try_call(method, body).await, mode)
    }

    /// [`Api::call`] of [`Method::Publish`], in a future that does not have room for all the others.
    pub async fn publish(&self, body: &[u8], mode: ErrorMode) -> Answer {
        answer(self.try_publish(body).await, mode)
    }

    async fn try_publish(&self, body: &[u8]) -> Result<Vec<u8>, Stop> {
        let position = publish::run(&self.hub, decode(Method::Publish, body)?)?.await?;
        Ok(result(|out| answer::position(&position, out)))
    }

    async fn try_call(&self, method: Method, body: &[u8]) -> Result<Vec<u8>, Stop> {
        match method {
            Method::Publish => self.try_publish(body).await,
            Method::Broadcast => {
                let responses = broadcast::run(&self.hub, decode(method, body)?).await?;
                Ok(result(|out| out.extend_from_slice(&responses)))
            }
            Method::History => {
                let history = history::run(&self.hub, decode(method, body)?).await?;
                Ok(result(|out| history::write(&history, out)))
            }
            Method::Presence => {
                let members = presence::members(&self.hub, decode(method, body)?).await?;
                Ok(result(|out| presence::write(&members, out)))
            }
            Method::PresenceStats => {
                let stats = presence::stats(&self.hub, decode(method, body)?).await?;
                Ok(result(|out| presence::write_stats(stats, out)))
            }
            Method::Disconnect => Ok(done(clients::disconnect(&self.hub, decode(method, body)?).await?)),
            Method::Subscribe => Ok(done(subscribe::run(&self.hub, decode(method, body)?).await?)),
            Method::Unsubscribe => Ok(done(clients::unsubscribe(&self.hub, decode(method, body)?).await?)),
            Method::Refresh => Ok(done(clients::refresh(&self.hub, decode(method, body)?).await?)),
            Method::Info => Ok(result(|out| info::write(&self.hub.nodes(), out))),
            Method::Batch => Ok(batch::run(&self.hub, decode(method, body)?).await?),
        }
    }
}

fn answer(result: Result<Vec<u8>, Stop>, mode: ErrorMode) -> Answer {
    match result {
        Ok(body) => Answer::ok(body),
        Err(Stop::Undecodable(answer)) => answer,
        Err(Stop::Failed(failure)) => failure.into_answer(mode),
    }
}

/// Why a call ends early.
enum Stop {
    Undecodable(Answer),
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

fn decode<'a, T: Deserialize<'a>>(method: Method, body: &'a [u8]) -> Result<T, Stop> {
    let undecodable = |why: &dyn fmt::Display| {
        let message = format!("the body is no {} request: {why}", method.name());
        Stop::Undecodable(Answer::refused(400, ErrorCode::BAD_REQUEST, message))
    };
    // A list would be read as an object's fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(undecodable(&"expected an object, found a list"));
    }
    serde_json::from_slice(body).map_err(|error| undecodable(&error))
}

fn done((): ()) -> Vec<u8> {
    result(|out| out.extend_from_slice(b"{}"))
}

fn result(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::with_capacity(96);
    body.extend_from_slice(b"{\"result\":");
    write(&mut body);
    body.push(b'}');
    body
}
