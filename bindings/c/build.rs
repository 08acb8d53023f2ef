//! Gives the shared library its name.

fn main() {
    // By this name programs look for it when they start: its number is `MBX_ABI_VERSION`, so that a program finds the
    // interface that it was compiled for, or nothing. (`tests/library.rs` compares the two.)
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshm_mailbox.so.1");
    // A dlclose leaves it in memory, since every later fork calls into it: a forked child is not the writer.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
