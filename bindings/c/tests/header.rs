//! The header: what cbindgen makes of the sources, and what compilers say of it.
//!
//! After a change: `UPDATE_HEADER=1 cargo test -p shm-mailbox-c --test header`.

mod toolchain;

use std::fs;
use std::path::Path;

/// The sources, in the order of their declarations in the header.
const SOURCES: [&str; 5] = ["version", "options", "writer", "reader", "error"];

fn made_anew() -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let sources = SOURCES.map(|file| package.join("src").join(file).with_extension("rs"));
    let builder = sources.iter().fold(cbindgen::Builder::new().with_config(config), |b, file| b.with_src(file));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn made_anew_it_is_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/shm_mailbox.h");
    let header = made_anew();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &header).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    let difference = committed.lines().zip(header.lines()).find(|(committed, made)| committed != made);
    assert!(
        committed == header,
        "the header is not what the sources make; the first difference: {difference:?}; \
         UPDATE_HEADER=1 cargo test -p shm-mailbox-c --test header makes it anew"
    );
}
