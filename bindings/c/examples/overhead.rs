//! What a call costs more from C than from Rust: `cargo run --release -p shm-mailbox-c --example overhead`.
//!
//! Compiles `overhead.c` with `cc` against the shared library, as a C program would be, and times loops of calls there
//! and here in turns: C, Rust, Rust, C, and so on, within one process. Since the speed of a shared machine changes from
//! moment to moment, it is the difference of neighbours that counts; printed are its quartiles.

use std::error::Error;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::ptr::null_mut;
use std::time::Instant;

use shm_mailbox::{Options, Reader, Writer};

const SIZES: [usize; 4] = [8, 32, 256, 4096];
const CALLS: usize = 5_000;
const TURNS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::Builder::new().prefix("mailbox-overhead-").tempdir_in("/dev/shm")?;
    let library = Library::compile(directory.path())?;
    println!("nanoseconds; the difference by its quartiles\n");
    println!("{:<32} {:>5}  {:>7} {:>7}  {:>20}", "call", "bytes", "Rust", "C", "C - Rust");
    for size in SIZES {
        let mut sides = Sides::open(&library, directory.path(), size)?;
        sides.compare("publish", c"publish", |rust, line| rust.writer.publish(line).is_ok());
        sides.compare("try_read, nothing new", c"look", |rust, line| {
            matches!(rust.reader.try_read_into(line), Ok(None))
        });
        sides.compare("latest", c"latest", |rust, line| {
            let message = rust.reader.latest_into(line);
            message.is_ok_and(|message| message.is_some_and(|message| message.bytes.len() == size))
        });
        sides.compare("publish, then read (two calls)", c"publish_and_read", |rust, line| {
            _ = rust.writer.publish(line);
            rust.reader.read_into(line).is_ok_and(|message| message.bytes.len() == size)
        });
    }
    Ok(())
}

/// A loop of C: writer, reader, line, size, calls; says how many did what they should.
type Loop = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_char, usize, usize) -> usize;
type OpenWriter = unsafe extern "C" fn(*const c_char, usize, *mut *mut c_void) -> c_int;
type OpenReader = unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int;

/// Two mailboxes alike, one for C and one for Rust.
struct Sides<'a> {
    library: &'a Library,
    c: C,
    rust: Rust,
    line: Vec<u8>,
}

/// Handles, never closed: the process ends soon.
struct C {
    writer: *mut c_void,
    reader: *mut c_void,
}

struct Rust {
    writer: Writer,
    reader: Reader,
}

impl<'a> Sides<'a> {
    fn open(library: &'a Library, directory: &Path, size: usize) -> Result<Self, Box<dyn Error>> {
        let mut c = C { writer: null_mut(), reader: null_mut() };
        let path = CString::new(directory.join(format!("c-{size}")).into_os_string().into_encoded_bytes())?;
        // SAFETY: both are declared like this in overhead.c.
        let (open_writer, open_reader): (OpenWriter, OpenReader) =
            unsafe { (library.function(c"open_writer"), library.function(c"open_reader")) };
        // SAFETY: a string, a number, and places for handles.
        unsafe {
            assert_eq!(open_writer(path.as_ptr(), size, &mut c.writer), 0);
            assert_eq!(open_reader(path.as_ptr(), &mut c.reader), 0);
        }
        let path = directory.join(format!("rust-{size}"));
        let rust = Rust { writer: Options::new().capacity(size).create(&path)?, reader: Reader::open(&path)? };
        Ok(Self { library, c, rust, line: vec![b'x'; size] })
    }

    /// Times both and prints it.
    fn compare(&mut self, name: &str, function: &CStr, in_rust: impl Fn(&mut Rust, &mut [u8]) -> bool) {
        // What was published before is old, for those that look for something new.
        self.time_c(c"latest", 1);
        _ = self.rust.reader.latest();
        let (mut of_c, mut of_rust, mut difference) = (vec![], vec![], vec![]);
        for turn in 0..TURNS {
            let c_first = (turn % 2 == 0).then(|| self.time_c(function, CALLS));
            let rust = self.time_rust(&in_rust, CALLS);
            let c = c_first.unwrap_or_else(|| self.time_c(function, CALLS));
            of_c.push(c);
            of_rust.push(rust);
            difference.push(c - rust);
        }
        let ([_, c, _], [_, rust, _]) = (quartiles(of_c), quartiles(of_rust));
        let [low, middle, high] = quartiles(difference);
        println!("{name:<32} {:>5}  {rust:>7.2} {c:>7.2}  {low:>6.2} {middle:>6.2} {high:>6.2}", self.line.len());
    }

    /// Nanoseconds per call.
    fn time_c(&mut self, function: &CStr, calls: usize) -> f64 {
        // SAFETY: all loops are declared like this in overhead.c.
        let function: Loop = unsafe { self.library.function(function) };
        let started = Instant::now();
        let line = self.line.as_mut_ptr().cast();
        // SAFETY: open handles that nobody else uses, and a buffer of that size.
        let good = unsafe { function(self.c.writer, self.c.reader, line, self.line.len(), calls) };
        let time = started.elapsed();
        assert!(good == calls || calls == 1, "{good} of {calls} calls did what they should");
        time.as_secs_f64() * 1e9 / calls as f64
    }

    fn time_rust(&mut self, in_rust: impl Fn(&mut Rust, &mut [u8]) -> bool, calls: usize) -> f64 {
        let started = Instant::now();
        let good = (0..calls).filter(|_| in_rust(black_box(&mut self.rust), black_box(&mut self.line))).count();
        let time = started.elapsed();
        assert_eq!(good, calls, "calls that did what they should");
        time.as_secs_f64() * 1e9 / calls as f64
    }
}

/// A quarter of `values` is below the first, half below the second, three quarters below the third.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

/// `overhead.c`, loaded, with the shared library that cargo has built beside this program.
struct Library(*mut c_void);

impl Library {
    fn compile(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = std::env::current_exe()?;
        let built = program.parent().and_then(Path::parent).ok_or("no place for a library beside this program")?;
        // There, and not beside `deps`, where it is put only when it is itself what was to be built.
        let mailbox = built.join("deps/libshm_mailbox_c.so");
        let object = directory.join("overhead.so");
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-O2", "-shared", "-fPIC", "-I"]).arg(package.join("include"));
        cc.arg(package.join("examples/overhead.c")).arg(&mailbox).arg("-o").arg(&object);
        if !cc.status()?.success() {
            return Err("cc has failed".into());
        }
        // The shared library first: overhead.so needs it by the name that it bears inside, and so finds it loaded.
        Self::load(&mailbox)?;
        Self::load(&object)
    }

    fn load(path: &Path) -> Result<Self, Box<dyn Error>> {
        let name = CString::new(path.as_os_str().as_encoded_bytes())?;
        // SAFETY: a string. What is loaded was compiled above, or by cargo with this program.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if library.is_null() { Err(format!("cannot load {}", path.display()).into()) } else { Ok(Self(library)) }
    }

    /// # Safety
    ///
    /// `F` is the type of a pointer to the function of that name.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> F {
        // SAFETY: a library that stays loaded, and a string.
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!function.is_null() && size_of::<F>() == size_of_val(&function), "{name:?} in overhead.c");
        // SAFETY: a pointer to the function, by the caller's word about `F`, of the size of any pointer.
        unsafe { std::mem::transmute_copy(&function) }
    }
}
