//! Published packages of other languages, on one node with the embedded log.

use anyhow::Result;
use tidegate_testkit::node::{Node, Options};
use tidegate_tests::{output_dir, packages};

#[test]
fn packages_of_other_languages_find_what_they_expect() -> Result<()> {
    let (output, data) = (output_dir("sdk-packages")?, tempfile::tempdir()?);
    let file = output.join("tidegate.toml");
    std::fs::write(&file, packages::CONFIG)?;
    let broker = format!("embedded:{}", data.path().display());
    let arguments = vec!["--config".into(), file.into()];
    let node = Node::start(Options { arguments, dev: false, ..Options::dev("node-1", &broker, &output) })?;
    packages::run_all(&node.url(), &[node.port()])
}
