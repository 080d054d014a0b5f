//! Who a client is: connection and subscription tokens (JWT), the keys that verify them, and what they grant.
//!
//! Verifying is pure and never waits: the time is an argument, and a key that is not here yet is answered with
//! [`TokenError::Fetching`] and something to wait for. Keys come from the configuration or, as JWKS, from the
//! endpoints of identity providers; each key verifies only the algorithms that fit its type. Knows no session, no
//! channel option and no transport. Source: section 11 of the Centrifuge protocol reference, RFC 7515 to 7519.

mod capability;
mod claims;
mod jwks;
mod key;
mod options;
mod sign;
mod token;
mod verifier;

pub use capability::{Capabilities, Permission, wildcard};
pub use claims::{ConnectionClaims, Overrides, ServerSubscription, SubscriptionClaims, WrittenOverrides};
pub use jsonwebtoken::Algorithm;
pub use jwks::{Endpoint, EndpointError, JwksOptions, Keeping, check as check_jwks};
pub use key::{KeyError, PublicKey, algorithm};
pub use options::TokenOptions;
pub use sign::{SignError, SigningKey};
pub use verifier::{Fetch, TokenError, Verifier};
