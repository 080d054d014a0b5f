//! The API as an OpenAPI 3.1 document: requests as they are read by this crate, results as it writes them.
//!
//! Made from the types that requests are read into, so it cannot name a field that is not read. Results are written by
//! hand elsewhere; their types here are for the document, and tests hold them against real answers.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::method::Method;
use crate::{broadcast, channels, clients, history, presence, publish, revoke, subscribe};

/// Nothing.
#[derive(JsonSchema)]
pub(crate) struct Empty {}

/// A batch: commands of an object with one key each, the method.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Batch {
    commands: Vec<BTreeMap<String, Value>>,
    /// Carried out side by side.
    #[schemars(default)]
    parallel: bool,
}

/// Where a publication stands.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Position {
    /// Grows within a channel; absent before the first publication.
    #[schemars(default)]
    offset: u64,
    /// Names the numbering.
    epoch: String,
}

/// One answer for each channel, in the order of the request.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Responses {
    responses: Vec<PositionOrError>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "for its schema")]
enum PositionOrError {
    Result(Position),
    Error(Error),
}

/// What went wrong.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Error {
    code: u32,
    /// Says what to do.
    message: String,
    /// The same again may succeed.
    #[schemars(default)]
    temporary: bool,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct History {
    publications: Vec<Publication>,
    #[schemars(default)]
    offset: u64,
    epoch: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Publication {
    data: Value,
    offset: u64,
    /// The client that published it.
    info: Option<ClientInfo>,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct ClientInfo {
    user: Option<String>,
    client: String,
    conn_info: Option<Value>,
    chan_info: Option<Value>,
}

/// By the id of the session.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Presence {
    presence: BTreeMap<String, ClientInfo>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct PresenceStats {
    num_clients: u32,
    num_users: u32,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Channels {
    channels: BTreeMap<String, ChannelInfo>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct ChannelInfo {
    num_clients: u64,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct Info {
    nodes: Vec<NodeInfo>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct NodeInfo {
    uid: String,
    name: String,
    version: String,
    num_clients: u64,
    /// Each counted once, sessions without a user as one.
    num_users: u64,
    num_subs: u64,
    num_channels: u64,
    /// Seconds since its start.
    uptime: u64,
}

/// Schemas of the request and the result of a method.
fn schemas(method: Method, generator: &mut SchemaGenerator) -> (Schema, Schema) {
    fn of<Request: JsonSchema, Result: JsonSchema>(generator: &mut SchemaGenerator) -> (Schema, Schema) {
        (Request::json_schema(generator), generator.subschema_for::<Result>())
    }
    match method {
        Method::Publish => of::<publish::Request<'_>, Position>(generator),
        Method::Broadcast => of::<broadcast::Request<'_>, Responses>(generator),
        Method::History => of::<history::Request, History>(generator),
        Method::HistoryRemove => of::<history::Removal, Empty>(generator),
        Method::Presence => of::<presence::Request, Presence>(generator),
        Method::PresenceStats => of::<presence::Request, PresenceStats>(generator),
        Method::Disconnect => of::<clients::Disconnect, Empty>(generator),
        Method::Subscribe => of::<subscribe::Request<'_>, Empty>(generator),
        Method::Unsubscribe => of::<clients::Unsubscribe, Empty>(generator),
        Method::Refresh => of::<clients::Refresh<'_>, Empty>(generator),
        Method::BlockUser => of::<revoke::BlockUser, Empty>(generator),
        Method::UnblockUser => of::<revoke::UnblockUser, Empty>(generator),
        Method::RevokeToken => of::<revoke::RevokeToken, Empty>(generator),
        Method::InvalidateUserTokens => of::<revoke::InvalidateUserTokens, Empty>(generator),
        Method::Channels => of::<channels::Request, Channels>(generator),
        Method::Info => of::<Empty, Info>(generator),
        Method::Batch => of::<Batch, Empty>(generator),
    }
}

/// The document. `version` is the server's.
pub fn document(version: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<Error>();
    let mut paths = serde_json::Map::new();
    for method in Method::ALL.iter().copied() {
        let (request, result) = schemas(method, &mut generator);
        paths.insert(format!("/api/{}", method.name()), operation(method, &request, &result, &error));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate server API",
            "version": version,
            "description": "What a backend calls. Errors come with status 200 and an \"error\", or as HTTP statuses with the header \
                            X-Centrifugo-Error-Mode: transport.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "header": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "query": { "type": "apiKey", "in": "query", "name": "api_key" },
            },
        },
        "security": [{ "header": [] }, { "query": [] }],
    })
}

fn operation(method: Method, request: &Schema, result: &Schema, error: &Schema) -> Value {
    let answer = match method {
        Method::Batch => json!({ "type": "object", "properties": { "replies": { "type": "array", "items": {} } } }),
        _ => json!({ "oneOf": [
            { "type": "object", "required": ["result"], "properties": { "result": result } },
            { "type": "object", "required": ["error"], "properties": { "error": error } },
        ] }),
    };
    let refused = |why: &str| {
        let body = json!({ "type": "object", "properties": { "error": error } });
        json!({ "description": why, "content": { "application/json": { "schema": body } } })
    };
    json!({ "post": {
        "operationId": method.name(),
        "summary": method.summary(),
        "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
        "responses": {
            "200": { "description": "The result, or an error", "content": { "application/json": { "schema": answer } } },
            "400": refused("The body is no such request"),
            "401": refused("No key, or a wrong one"),
        },
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_there_with_what_it_reads() {
        let document = document("1.0");
        assert_eq!(document["paths"].as_object().unwrap().len(), Method::ALL.len());
        let fields = |method: &str| {
            let schema =
                &document["paths"][format!("/api/{method}")]["post"]["requestBody"]["content"]["application/json"];
            schema["schema"]["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(fields("unsubscribe"), ["channel", "client", "session", "user"]);
        assert_eq!(fields("revoke_token"), ["expire_at", "uid"]);
        assert!(fields("publish").contains(&"idempotency_key".to_owned()));
        assert!(fields("subscribe").contains(&"override".to_owned()));
    }

    #[test]
    fn references_lead_somewhere() {
        let document = document("1.0");
        let text = document.to_string();
        let mut count = 0;
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }
}
