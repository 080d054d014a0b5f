//! Whoever is blocked is out on every node, whatever the name.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tidegate_testkit::node::Node;

use crate::Cluster;
use tidegate_tests::client::{Client, call, now, token};

const CONFIG: &str = "[client.token]\nhmac_secret_key = \"secret\"\n[rules]\nenabled = true\n";
/// A rule is in force everywhere within this.
const EVERYWHERE: Duration = Duration::from_secs(1);

#[test]
fn a_user_of_any_name_is_blocked_on_every_node_and_again_not() -> Result<()> {
    let cluster = Cluster::start("rules", true, CONFIG)?;
    let ports = cluster.nodes.each_ref().map(Node::port);
    for user in ["miller", "m\u{fc}ller", "\u{1f30a}", &"x".repeat(900)] {
        let token = token(&json!({ "sub": user, "exp": now() + 600 }))?;
        let comes = || ports.map(|port| Client::connect(port, &token).is_ok());
        ensure!(comes() == [true; 2], "{user}");
        for (method, wanted) in [("block_user", [false; 2]), ("unblock_user", [true; 2])] {
            call(ports[0], method, &json!({ "user": user }))?;
            let begun = Instant::now();
            while comes() != wanted {
                ensure!(begun.elapsed() < 2 * EVERYWHERE, "{method} {user}: {:?}", comes());
            }
        }
    }
    Ok(())
}
