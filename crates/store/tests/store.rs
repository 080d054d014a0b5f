//! The store on a real disk and on one that fails.

#[path = "store/crash.rs"]
mod crash;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/faulty.rs"]
mod faulty;
#[path = "store/forgetting.rs"]
mod forgetting;
#[path = "store/kills.rs"]
mod kills;
#[path = "store/panics.rs"]
mod panics;
#[path = "store/reading.rs"]
mod reading;
#[path = "store/retention.rs"]
mod retention;
#[path = "store/rig.rs"]
mod rig;
