//! The version of the interface.

/// The version of the binary interface that this header describes: the number in the name `libshm_mailbox.so.1`. It
/// changes only if a program compiled for the former one would not work any more.
pub const MBX_ABI_VERSION: u32 = 1;

/// Returns the `MBX_ABI_VERSION` of the library that the program runs with, for those who load it by `dlopen`.
///
/// Threads: any. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn mbx_abi_version() -> u32 {
    MBX_ABI_VERSION
}
