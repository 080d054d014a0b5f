//! What requests of `publish` and `broadcast` have in common: everything but where it goes.
//!
//! One list of fields, which a macro puts into both. A flattened struct would have serde collect the fields first: it
//! could borrow nothing of the body and has no raw values, and `publish` is the call that is made most.

macro_rules! request {
    ($life:lifetime, $(#[$of_field:meta])* $to:ident: $type:ty) => {
        #[derive(serde::Deserialize, Default, schemars::JsonSchema)]
        #[serde(default)]
        pub(crate) struct Request<$life> {
            #[serde(borrow)]
            $(#[$of_field])*
            pub(crate) $to: $type,
            #[serde(borrow, deserialize_with = "crate::read::raw")]
            /// The payload: any JSON value.
            #[schemars(with = "serde_json::Value")]
            data: Option<&$life serde_json::value::RawValue>,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// The payload as bytes in base64, in the place of `data`.
            b64data: String,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// Refused: every publication goes through the log.
            skip_history: bool,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// Delivered beside the payload.
            #[schemars(with = "std::collections::BTreeMap<String, String>")]
            tags: crate::read::TagMap,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// A publication with a key that occurred before does not count, and is answered as the first one.
            idempotency_key: String,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// A publication whose version is not above that of the last one in the channel does not count; 0 = no version.
            version: u64,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// Versions of another epoch are not compared.
            version_epoch: String,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// Subscribers who take deltas may get it as the difference to the publication before.
            delta: bool,
            #[serde(deserialize_with = "crate::read::or_default")]
            /// The session with this id does not get it.
            exclude_client: String,
        }

        impl<$life> Request<$life> {
            /// Where it goes, what goes, and how.
            fn parts(self) -> Result<($type, bytes::Bytes, tidegate_core::PublishOptions), crate::answer::Failure> {
                let payload = crate::read::payload(self.data, &self.b64data)?;
                if self.skip_history {
                    return Err(crate::answer::Failure::not_available(
                        "skip_history is not available: every publication goes through the log, use a namespace without \
                         history",
                    ));
                }
                let version = tidegate_types::Version { epoch: self.version_epoch, number: self.version };
                let options = tidegate_core::PublishOptions {
                    tags: self.tags.0,
                    info: None,
                    idempotency_key: (!self.idempotency_key.is_empty()).then_some(self.idempotency_key),
                    version: (version.number != 0).then_some(version),
                    delta: self.delta,
                    exclude: (!self.exclude_client.is_empty()).then_some(self.exclude_client),
                };
                Ok((self.$to, payload, options))
            }
        }
    };
}
pub(crate) use request;
