//! The libraries as files: their names, what they export, where they are installed, how programs find them.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod toolchain;

use std::fs;
use std::process::Command;

use common::{Place, skip};
use toolchain::{Linked, compile, is_there, package, prefix, run};

/// The functions that the header declares.
fn declared() -> Vec<String> {
    let header = fs::read_to_string(package().join("include/shm_mailbox.h")).unwrap();
    // Comments begin with a star or a slash, declarations in the first column.
    let lines = header.lines().filter(|line| line.starts_with(char::is_alphabetic));
    let mut names: Vec<_> = lines
        .filter_map(|line| {
            let (before, _) = line.split_once('(')?;
            Some(before.rsplit([' ', '*']).next()?.to_owned())
        })
        .collect();
    names.sort();
    names
}

#[test]
fn it_exports_what_the_header_declares_and_nothing_else() {
    if !is_there("nm") {
        return skip("there is no nm");
    }
    let symbols = run(Command::new("nm").args(["-D", "--defined-only"]).arg(prefix().join("lib/libshm_mailbox.so")));
    let mut exported: Vec<_> = symbols.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    exported.sort();
    assert_eq!(exported, declared());
    assert_eq!(exported.len(), 19);
    assert!(exported.iter().all(|name| name.starts_with("mbx_")));
}

#[test]
fn its_name_carries_the_version_of_the_interface() {
    if !is_there("readelf") {
        return skip("there is no readelf");
    }
    let dynamic = run(Command::new("readelf").arg("-dW").arg(prefix().join("lib/libshm_mailbox.so")));
    let soname = format!("[libshm_mailbox.so.{}]", shm_mailbox_c::MBX_ABI_VERSION);
    assert!(dynamic.lines().any(|line| line.contains("SONAME") && line.ends_with(&soname)), "{dynamic}");
}

#[test]
fn it_is_installed_with_its_links() {
    let lib = prefix().join("lib");
    let target = fs::read_link(lib.join("libshm_mailbox.so")).unwrap();
    assert_eq!(target.to_str().unwrap(), format!("libshm_mailbox.so.{}", shm_mailbox_c::MBX_ABI_VERSION));
    for file in ["include/shm_mailbox.h", "lib/libshm_mailbox.so", "lib/libshm_mailbox.a"] {
        assert!(prefix().join(file).is_file(), "{file}");
    }
    // Again over itself, under a DESTDIR, with another place for the libraries.
    let place = Place::new();
    let from = std::env::current_exe().unwrap();
    let mut install = Command::new("sh");
    install.arg(package().join("install.sh")).arg("--from").arg(from.parent().unwrap());
    install.args(["--prefix", "/opt/x", "--libdir", "/opt/x/lib64"]).env("DESTDIR", place.dir());
    run(&mut install);
    run(&mut install);
    let pc = fs::read_to_string(place.path("opt/x/lib64/pkgconfig/shm_mailbox.pc")).unwrap();
    for line in ["prefix=/opt/x", "libdir=/opt/x/lib64", "includedir=/opt/x/include", "Version: 0.1.0"] {
        assert!(pc.lines().any(|found| found == line), "{line} in {pc}");
    }
    assert!(!pc.contains('@'), "{pc}");
    assert!(place.path("opt/x/lib64/libshm_mailbox.so").exists());

    let failed = Command::new("sh").arg(package().join("install.sh")).args(["--from", "/nowhere"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("no libshm_mailbox_c.so in '/nowhere'"));
}

#[test]
fn pkg_config_tells_a_compiler_what_it_needs() {
    if !is_there("pkg-config") {
        return skip("there is no pkg-config");
    }
    let lib = prefix().join("lib");
    let flags = run(Command::new("pkg-config")
        .args(["--cflags", "--libs", "shm_mailbox"])
        .env("PKG_CONFIG_PATH", lib.join("pkgconfig")));
    let program = prefix().join("by-pkg-config");
    let mut cc = Command::new("cc");
    cc.arg(package().join("examples/writer.c")).args(flags.split_whitespace()).arg("-o").arg(&program);
    run(&mut cc);
    // The name inside is the one that the loader looks for; without a path to it there is none.
    let usage = Command::new(&program).env("LD_LIBRARY_PATH", &lib).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
    assert!(String::from_utf8_lossy(&usage.stderr).starts_with("usage: "));
}

#[test]
fn a_process_that_has_unloaded_it_can_fork() {
    let place = Place::new();
    let program = compile("tests/programs/loaded.c", Linked::Shared);
    run(Command::new(program).arg(prefix().join("lib/libshm_mailbox.so")).arg(place.path("box")));
    assert_eq!(place.entries(), ["box", "box.bell", "box.lock"]);
}
