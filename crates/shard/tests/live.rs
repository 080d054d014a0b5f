//! Shards over a hub and a memory log, seen from real sockets.

#[path = "live/response.rs"]
mod response;
#[path = "live/rig.rs"]
mod rig;

#[path = "live/bad_input.rs"]
mod bad_input;
#[path = "live/deltas.rs"]
mod deltas;
#[path = "live/encodings.rs"]
mod encodings;
#[path = "live/floods.rs"]
mod floods;
#[path = "live/forgotten.rs"]
mod forgotten;
#[path = "live/http2.rs"]
mod http2;
#[path = "live/identity.rs"]
mod identity;
#[path = "live/key_sets.rs"]
mod key_sets;
#[path = "live/lag.rs"]
mod lag;
#[path = "live/large_answers.rs"]
mod large_answers;
#[path = "live/life.rs"]
mod life;
#[path = "live/names.rs"]
mod names;
#[path = "live/one_way.rs"]
mod one_way;
#[path = "live/orders.rs"]
mod orders;
#[path = "live/presence.rs"]
mod presence;
#[path = "live/request.rs"]
mod request;
#[path = "live/responses.rs"]
mod responses;
#[path = "live/server_side.rs"]
mod server_side;
#[path = "live/stream.rs"]
mod stream;
#[path = "live/tls.rs"]
mod tls;
#[path = "live/tls_rig.rs"]
mod tls_rig;
