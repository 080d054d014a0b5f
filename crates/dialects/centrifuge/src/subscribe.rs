//! What both encodings read out of a subscribe request.

use tidegate_protocol::{DecodeError, Method, Since, Subscribe};

/// Bit of the request's `flag`: answer an error instead of `recovered: false`.
const FLAG_REJECT_UNRECOVERED: i64 = 2;

/// A subscribe request as it is spelled.
pub(crate) struct Wish {
    pub(crate) channel: String,
    pub(crate) token: String,
    pub(crate) since: Option<Since>,
    pub(crate) positioned: bool,
    pub(crate) recoverable: bool,
    pub(crate) join_leave: bool,
    pub(crate) delta: String,
    pub(crate) flag: i64,
    /// 0 = a stream.
    pub(crate) kind: i32,
    pub(crate) filtered: bool,
}

/// The command that it is.
pub(crate) fn method(wish: Wish) -> Result<Method, DecodeError> {
    if !matches!(&*wish.delta, "" | "fossil") {
        return Err(DecodeError(format!("unknown delta type {:?}", wish.delta)));
    }
    if wish.kind != 0 || wish.filtered {
        // Map and shared-poll subscriptions and tag filters are not built.
        return Ok(Method::Unsupported);
    }
    Ok(Method::Subscribe(Box::new(Subscribe {
        channel: wish.channel,
        token: wish.token,
        recover: wish.since,
        positioned: wish.positioned,
        recoverable: wish.recoverable,
        reject_unrecovered: wish.flag & FLAG_REJECT_UNRECOVERED != 0,
        join_leave: wish.join_leave,
        delta: !wish.delta.is_empty(),
    })))
}

/// The subscriptions that a connect request asks for.
pub(crate) fn of_connect(wishes: impl Iterator<Item = Wish>) -> Result<Vec<Subscribe>, DecodeError> {
    let mut subscriptions = Vec::new();
    for wish in wishes {
        if let Method::Subscribe(subscribe) = method(wish)? {
            subscriptions.push(*subscribe);
        }
    }
    Ok(subscriptions)
}
