//! Sets `cfg(loom)` for this package alone, so that `cargo test --workspace` runs the models with no special flags.
fn main() {
    println!("cargo:rustc-cfg=loom");
    println!("cargo:rerun-if-changed=build.rs");
}
