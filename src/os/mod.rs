//! What is asked of the kernel: files, locks, futex, FIFO, clocks, fork, faults. No sequences and no messages here.

pub mod clock;
pub mod directory;
pub mod fifo;
pub mod fork;
pub mod futex;
pub mod lock;
pub mod poll;
pub mod shm;
pub mod sigbus;
