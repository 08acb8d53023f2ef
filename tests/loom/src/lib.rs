//! The protocol of `shm-mailbox`, compiled over loom's atomics. The tests are in `src/protocol/loom_tests.rs`.
#[path = "../../../src/protocol/mod.rs"]
pub mod protocol;
