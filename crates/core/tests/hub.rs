//! The hub over a log whose offsets have holes, in the hands of the test.

#[path = "hub/rig.rs"]
mod rig;

#[path = "hub/history.rs"]
mod history;
#[path = "hub/loss.rs"]
mod loss;
#[path = "hub/recovery.rs"]
mod recovery;
#[path = "hub/verdicts.rs"]
mod verdicts;
