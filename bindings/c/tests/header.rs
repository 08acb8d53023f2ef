//! The header: what cbindgen makes of the sources, and what compilers say of it.
//!
//! After a change: `UPDATE_HEADER=1 cargo test -p shm-mailbox-c --test header`.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod toolchain;

use std::fs;
use std::process::Command;

/// The sources, in the order of their declarations in the header.
const SOURCES: [&str; 5] = ["version", "options", "writer", "reader", "error"];

fn made_anew() -> String {
    let package = toolchain::package();
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let sources = SOURCES.map(|file| package.join("src").join(file).with_extension("rs"));
    let builder = sources.iter().fold(cbindgen::Builder::new().with_config(config), |b, file| b.with_src(file));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn made_anew_it_is_the_same() {
    let path = toolchain::package().join("include/shm_mailbox.h");
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

/// A program that uses a bit of everything, in words that both languages have.
const PROGRAM: &str = "
#include <shm_mailbox.h>
#include <shm_mailbox.h>
int main(void)
{
    mbx_options options = MBX_OPTIONS_INIT;
    options.flags = MBX_TIMESTAMPS | MBX_ALWAYS_WAKE | MBX_SKIP_CURRENT | MBX_WAIT_FOR_MAILBOX | MBX_OWNER;
    mbx_writer *writer = NULL;
    mbx_reader *reader = NULL;
    if (mbx_writer_open(&writer, \"\", &options, NULL, 0) == 0 || mbx_reader_open(&reader, \"\", &options, NULL, 0) == 0)
        return 1;
    if (mbx_writer_publish(writer, \"x\", 1) >= 0 || mbx_reader_try_read(reader, NULL, 0, NULL) >= 0)
        return 1;
    if (mbx_reader_writer_state(reader) == MBX_WRITER_ALIVE)
        return 1;
    return mbx_abi_version() == MBX_ABI_VERSION && *mbx_strerror(writer, -1) != 0 ? 0 : 1;
}
";

#[test]
fn the_programs_in_the_documents_compile() {
    for document in ["README.md", "../../README.md"] {
        let text = fs::read_to_string(toolchain::package().join(document)).unwrap();
        let programs: Vec<_> = text.split("```c\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert_eq!(programs.len(), 1, "{document}");
        let program = toolchain::prefix().join("from-document.c");
        fs::write(&program, programs[0]).unwrap();
        let mut cc = Command::new("cc");
        cc.arg("-std=c11").args(toolchain::STRICT).arg("-I").arg(toolchain::prefix().join("include"));
        toolchain::run(cc.arg("-D_DEFAULT_SOURCE").arg("-fsyntax-only").arg(program));
    }
}

/// Compiles and runs it.
fn compile(compiler: &str, standard: &str, ending: &str) {
    let lib = toolchain::prefix().join("lib");
    let program = lib.with_file_name(format!("{compiler}-{standard}"));
    let source = program.with_extension(ending);
    fs::write(&source, PROGRAM).unwrap();
    let mut command = Command::new(compiler);
    command.arg(format!("-std={standard}")).args(toolchain::STRICT).args(["-Wconversion", "-Wshadow"]);
    command.arg("-I").arg(toolchain::prefix().join("include")).arg(source).arg("-o").arg(&program);
    command.arg("-L").arg(&lib).arg("-lshm_mailbox").arg(format!("-Wl,-rpath,{}", lib.display()));
    toolchain::run(&mut command);
    toolchain::run(&mut Command::new(program));
}

#[test]
fn it_compiles_as_c11_without_a_warning() {
    compile("cc", "c11", "c");
}

#[test]
fn it_compiles_as_cpp17_without_a_warning() {
    if !toolchain::is_there("c++") {
        return common::skip("there is no c++");
    }
    compile("c++", "c++17", "cpp");
}
