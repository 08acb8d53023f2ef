//! The library as it is installed, and the C compiler.
//!
//! `cargo test` builds the libraries with the package that the tests link, into the directory of the test programs;
//! `install.sh` puts them where programs find them, a directory for each file of tests.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// The package's directory.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of this file of tests, for what it makes.
fn workshop() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("c-", env!("CARGO_CRATE_NAME")))
}

static PREFIX: LazyLock<PathBuf> = LazyLock::new(|| {
    let prefix = workshop().join("prefix");
    let built = std::env::current_exe().unwrap();
    let mut install = Command::new("sh");
    install.arg(package().join("install.sh")).arg("--from").arg(built.parent().unwrap()).arg("--prefix").arg(&prefix);
    // From elsewhere, so that no path in it is relative to where it is called.
    run(install.current_dir("/"));
    prefix
});

/// Where the library is installed.
pub fn prefix() -> &'static Path {
    &PREFIX
}

/// Whether a program can be started.
pub fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Runs it to a good end and returns what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// How a program has the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    Shared,
    Static,
}

/// The flags under which the header and everything in C here must compile without a word.
pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Compiles a file of this package to a program, once.
pub fn compile(source: &str, linked: Linked) -> PathBuf {
    static COMPILED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    // Examples and test programs have the same names.
    let kind = Path::new(source).parent().unwrap().file_name().unwrap().to_str().unwrap();
    let program = workshop().join(format!("{kind}-{name}-{linked:?}"));
    let mut compiled = COMPILED.lock().unwrap();
    if compiled.contains(&program) {
        return program;
    }
    let lib = prefix().join("lib");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-D_GNU_SOURCE", "-g", "-O1"]).args(STRICT).arg("-I").arg(prefix().join("include"));
    cc.arg(package().join(source)).arg("-o").arg(&program);
    match linked {
        Linked::Shared => cc.arg("-L").arg(&lib).arg("-lshm_mailbox").arg(format!("-Wl,-rpath,{}", lib.display())),
        Linked::Static => cc.arg(lib.join("libshm_mailbox.a")).args(["-lgcc_s", "-lpthread", "-lm", "-ldl"]),
    };
    run(&mut cc);
    compiled.push(program.clone());
    program
}
