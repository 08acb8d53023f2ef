//! Where the fields of the header are.

pub const MAGIC: u64 = 0;
pub const VERSION: u64 = 8;
pub const PAGE: u64 = 12;
pub const INSTANCE: u64 = 16;
pub const CAPACITY: u64 = 32;
pub const STRIDE: u64 = 40;
pub const BANKS: u64 = 48;
pub const LATEST: u64 = 128;
pub const LEAVING: u64 = 256;
pub const ALWAYS_WAKE: u64 = 260;
pub const WRITER_PID: u64 = 264;
pub const LOCK: u64 = 272;
