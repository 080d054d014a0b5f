//! Several nodes over one log, which they share as they would share a topic.

#[path = "cluster/beginnings.rs"]
mod beginnings;
#[path = "cluster/nodes.rs"]
mod nodes;
#[path = "cluster/presence.rs"]
mod presence;
#[path = "cluster/records.rs"]
mod records;
#[path = "cluster/rig.rs"]
mod rig;
#[path = "cluster/rules.rs"]
mod rules;
