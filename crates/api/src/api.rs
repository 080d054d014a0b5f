//! From a method and a body to an answer.

use std::fmt;
use std::sync::Arc;

use tidegate_core::Hub;
use tidegate_types::codes::ErrorCode;

use crate::answer::{Answer, ErrorMode, Failure};
use crate::call::Call;
use crate::keys::{Access, Keys};
use crate::method::Method;
use crate::{answer, batch, publish, read};

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

    /// Checks the key of a caller, and says what it may do.
    ///
    /// # Errors
    /// The answer for a caller who may not call.
    pub fn authorize(&self, key: Option<&[u8]>) -> Result<Access, Answer> {
        if let Some(access) = self.keys.access(key) {
            return Ok(access);
        }
        let message = match key {
            _ if self.keys.is_closed() => "the API is off: set api.keys",
            Some(_) => "wrong API key",
            None => "no API key: send it as X-API-Key, as Authorization: apikey KEY or as ?api_key=KEY",
        };
        Err(Answer::refused(401, ErrorCode::UNAUTHORIZED, message))
    }

    /// Does what an authorized caller asks.
    pub async fn call(&self, method: Method, body: &[u8], mode: ErrorMode, access: &Access) -> Answer {
        answer(self.try_call(method, body, access).await, mode)
    }

    /// [`Api::call`] of [`Method::Publish`] by who may do everything, in a future that does not have room for all the
    /// others.
    pub async fn publish(&self, body: &[u8], mode: ErrorMode) -> Answer {
        answer(self.try_publish(body).await, mode)
    }

    async fn try_publish(&self, body: &[u8]) -> Result<Vec<u8>, Stop> {
        let request = decoded(Method::Publish, read::request(body))?;
        let position = publish::run(&self.hub, request)?.await?;
        Ok(result(|out| answer::position(&position, out)))
    }

    async fn try_call(&self, method: Method, body: &[u8], access: &Access) -> Result<Vec<u8>, Stop> {
        let Some(call) = Call::read(method, body) else {
            let request = decoded(method, read::request(body))?;
            return Ok(batch::run(&self.hub, request, access).await?);
        };
        let call = decoded(method, call)?;
        access.check(method, &call)?;
        let mut written = Vec::new();
        call.run(&self.hub, &mut written).await?;
        Ok(result(|out| out.extend_from_slice(&written)))
    }
}

fn answer(result: Result<Vec<u8>, Stop>, mode: ErrorMode) -> Answer {
    match result {
        Ok(body) => Answer::ok(body),
        Err(Stop::Undecodable(failure)) => Answer { status: 400, ..failure.into_answer(mode) },
        Err(Stop::Failed(failure)) => failure.into_answer(mode),
    }
}

/// Why a call ends early.
enum Stop {
    /// HTTP 400 in both modes.
    Undecodable(Failure),
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

/// What was read of a body, or the answer that says what is wrong with it.
fn decoded<T>(method: Method, read: serde_json::Result<T>) -> Result<T, Stop> {
    read.map_err(|error| {
        let message = format!("the body is no {} request: {error}", method.name());
        Stop::Undecodable(Failure::bad_request(message))
    })
}

fn result(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::with_capacity(96);
    body.extend_from_slice(b"{\"result\":");
    write(&mut body);
    body.push(b'}');
    body
}
