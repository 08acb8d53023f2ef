//! Runs the Python tests, `test_*.py` beside this file, on the extension that cargo has just built.
//!
//! Needs nothing but python3 (3.11 or newer): the package is put together in a temporary directory. A test that cannot be
//! made here says why: `skipped: NAME: reason`, on standard error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// One test for each file, so that they run side by side and fail by name.
macro_rules! files {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run(concat!("test_", stringify!($name)));
        }
    )*};
}

files!(api documents event_loops processes program waits);

/// Past the test harness, which shows only what failed; in one piece, as others write there too.
fn skip(name: &str, reason: &str) {
    _ = std::io::stderr().write_all(format!("skipped: {name}: {reason}\n").as_bytes());
}

/// Why there is no Python to run, if there is none.
fn no_python() -> Option<String> {
    let check = "import sys; print(sys.version.split()[0]); sys.exit(sys.version_info < (3, 11))";
    match Command::new("python3").args(["-c", check]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("python3 is {}, not 3.11 or newer", String::from_utf8_lossy(&output.stdout).trim())),
        Err(_) => Some("there is no python3".into()),
    }
}

/// The package as it is when installed.
fn package() -> TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/shm_mailbox");
    let place = TempDir::new().unwrap();
    let package = place.path().join("shm_mailbox");
    fs::create_dir(&package).unwrap();
    for entry in fs::read_dir(source).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file())
    {
        fs::copy(entry.path(), package.join(entry.file_name())).unwrap();
    }
    fs::copy(extension(), package.join("_native.abi3.so")).unwrap();
    place
}

/// The library beside this executable: built for it, and so up to date.
fn extension() -> PathBuf {
    let extension = std::env::current_exe().unwrap().with_file_name("libshm_mailbox_python.so");
    assert!(extension.exists(), "cargo has not built {}", extension.display());
    extension
}

fn run(name: &str) {
    if let Some(reason) = no_python() {
        return skip(name, &reason);
    }
    let package = package();
    let output = Command::new("python3")
        .args(["-X", "dev", "-W", "error", "-m", "unittest", "--verbose", name])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"))
        .env("PYTHONPATH", package.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    for line in said.lines() {
        // As unittest says it: `test_it (test_api.Lines.test_it) ... skipped 'reason'`.
        if let Some((test, reason)) = line.split_once(" ... skipped ") {
            skip(test.split(' ').next().unwrap_or(name), reason.trim_matches(['\'', '"']));
        }
    }
    print!("{}{said}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{name}: {}", output.status);
    assert!(!said.contains("Ran 0 tests"), "{name} has no tests");
}
