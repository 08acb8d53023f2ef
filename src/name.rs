//! Names: what a mailbox may be called, and where its files are.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::error::{ErrorKind, Fault};

/// Longest name, in bytes: leaves room for the ending of the longest companion within a file name's 255.
pub const MAX_NAME: usize = 200;

/// Endings that companions of a mailbox have.
pub const RESERVED: [&str; 3] = [".bell", ".lock", ".new"];

/// The environment variable that names the directory for names without `/`.
pub const DIRECTORY_VARIABLE: &str = "MAILBOX_DIR";

/// The names of a mailbox's files, in one directory.
#[derive(Clone, Debug)]
pub struct Names {
    /// The mailbox.
    pub mailbox: CString,
    /// The FIFO.
    pub bell: CString,
    /// The writer's lock.
    pub lock: CString,
    /// A mailbox, or a larger one, that is being made.
    pub new: CString,
    /// A FIFO that is being made. Under a name of its own: of two who hold a lock file each, because one was removed by
    /// hand, neither can put its file in the place of the other's of another kind.
    pub new_bell: CString,
}

/// Where a mailbox is, and who is trusted with it.
#[derive(Clone, Debug)]
pub struct Location {
    /// The directory, absolute.
    pub directory: PathBuf,
    /// Whether the directory is the one that is made when it is missing.
    pub is_default: bool,
    /// A user besides ourselves and root who may own the directory and the files.
    pub owner: Option<u32>,
    /// The files.
    pub names: Names,
}

impl Location {
    /// Finds the place of mailbox `name`: a path if it has a `/`, else a file of `directory`, else of `MAILBOX_DIR`,
    /// else of the directory of `owner` or the user.
    pub fn find(name: &Path, directory: Option<&Path>, owner: Option<u32>) -> Result<Self, Fault> {
        let bytes = name.as_os_str().as_bytes();
        let (place, file) = match bytes.iter().rposition(|&byte| byte == b'/') {
            Some(0) => (Place::Given(PathBuf::from("/")), &bytes[1..]),
            Some(slash) => (Place::Given(Path::new(OsStr::from_bytes(&bytes[..slash])).into()), &bytes[slash + 1..]),
            None => (Place::find(directory, owner), bytes),
        };
        let names = Names::new(file)?;
        let (directory, is_default) = place.absolute()?;
        Ok(Self { directory, is_default, owner, names })
    }

    /// The directory that names without `/` are in.
    pub fn find_directory(directory: Option<&Path>, owner: Option<u32>) -> Result<(PathBuf, bool), Fault> {
        Place::find(directory, owner).absolute()
    }

    /// The path of the mailbox.
    pub fn path(&self) -> PathBuf {
        self.directory.join(OsStr::from_bytes(self.names.mailbox.as_bytes()))
    }
}

/// Nothing bears the name, or there is no directory of the user's own yet. (A directory that was given must exist; its
/// absence is the system's error.)
pub fn missing() -> Fault {
    Fault::new(ErrorKind::NotFound, "there is no such mailbox")
}

/// Whether `uid` may own the directory and files of a mailbox: we ourselves, root, or the one named.
pub fn trusts(uid: u32, owner: Option<u32>) -> bool {
    uid == geteuid().as_raw() || uid == 0 || Some(uid) == owner
}

enum Place {
    Given(PathBuf),
    Default(PathBuf),
}

impl Place {
    fn find(directory: Option<&Path>, owner: Option<u32>) -> Self {
        if let Some(directory) = directory {
            return Self::Given(directory.into());
        }
        match std::env::var_os(DIRECTORY_VARIABLE) {
            Some(directory) if !directory.is_empty() => Self::Given(directory.into()),
            _ => Self::Default(default_directory(owner)),
        }
    }

    fn absolute(self) -> Result<(PathBuf, bool), Fault> {
        let (path, is_default) = match self {
            Self::Given(path) => (path, false),
            Self::Default(path) => (path, true),
        };
        // Absolute from now on: the process may change its working directory, and the mailbox stays where it is.
        match std::path::absolute(&path) {
            Ok(path) => Ok((path, is_default)),
            Err(error) => Err(Fault::system(format!("the directory {:?} cannot be made absolute", path), error)),
        }
    }
}

/// The directory of a user, or our own.
fn default_directory(owner: Option<u32>) -> PathBuf {
    let uid = owner.unwrap_or_else(|| geteuid().as_raw());
    format!("/dev/shm/mailbox-{uid}").into()
}

impl Names {
    /// Checks the grammar.
    pub fn new(name: &[u8]) -> Result<Self, Fault> {
        let invalid = |why: String| Err(Fault::new(ErrorKind::InvalidName, why));
        if name.is_empty() {
            return invalid("the name is empty".into());
        }
        if name == b"." || name == b".." {
            return invalid("the name of a mailbox cannot be `.` or `..`".into());
        }
        if name.len() > MAX_NAME {
            return invalid(format!("the name has {} bytes, and {MAX_NAME} is the most", name.len()));
        }
        if name.contains(&b'/') {
            return invalid("the name contains `/`".into());
        }
        if let Some(at) = name.iter().position(u8::is_ascii_control) {
            return invalid(format!("the name has a control character (0x{:02x}) at byte {}", name[at], at + 1));
        }
        if let Some(ending) = RESERVED.iter().find(|ending| name.ends_with(ending.as_bytes())) {
            return invalid(format!("names that end in `{ending}` belong to the files beside a mailbox"));
        }
        let with =
            |ending: &str| CString::new([name, ending.as_bytes()].concat()).expect("no control characters, so no NUL");
        Ok(Self {
            mailbox: with(""),
            bell: with(".bell"),
            lock: with(".lock"),
            new: with(".new"),
            new_bell: with(".bell.new"),
        })
    }
}

/// A file name for a message.
pub fn show(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &[u8]) -> String {
        let fault = Names::new(name).unwrap_err();
        assert_eq!(fault.kind, ErrorKind::InvalidName);
        fault.detail.into_owned()
    }

    #[test]
    fn ordinary_names_are_taken() {
        for name in ["clock", "a", "a.b", "-x", "naïve", ".hidden", "bell", "x.locked", "...", &"n".repeat(200)] {
            assert!(Names::new(name.as_bytes()).is_ok(), "{name}");
        }
        assert!(Names::new(b"\xff\xfe").is_ok(), "names are bytes");
    }

    #[test]
    fn each_bad_name_is_refused_for_its_reason() {
        assert!(refused(b"").contains("empty"));
        assert!(refused(b".").contains("`.`"));
        assert!(refused(b"..").contains("`..`"));
        assert!(refused("n".repeat(201).as_bytes()).contains("201"));
        assert!(refused(b"a\nb").contains("0x0a) at byte 2"));
        assert!(refused(b"a\0").contains("0x00"));
        assert!(refused(b"\x7f").contains("0x7f"));
        for name in ["x.bell", "x.lock", "x.new", ".new"] {
            assert!(refused(name.as_bytes()).contains("belong to the files"), "{name}");
        }
    }

    #[test]
    fn a_name_with_a_slash_is_a_path() {
        let find = |name: &str| Location::find(name.as_ref(), Some("/srv/boxes".as_ref()), None).unwrap();
        assert_eq!(find("clock").path(), Path::new("/srv/boxes/clock"));
        assert_eq!(find("/tmp/x/clock").path(), Path::new("/tmp/x/clock"));
        assert_eq!(find("/clock").path(), Path::new("/clock"));
        assert_eq!(find("./clock").path(), std::env::current_dir().unwrap().join("clock"));
        for name in ["/tmp/", "a/", "a/..", "/"] {
            assert!(Location::find(name.as_ref(), None, None).is_err(), "{name}");
        }
    }

    #[test]
    fn the_owner_chooses_the_directory() {
        let location = Location::find("clock".as_ref(), None, Some(12345)).unwrap();
        assert_eq!(location.path(), Path::new("/dev/shm/mailbox-12345/clock"));
        assert!(location.is_default);
        assert!(trusts(12345, location.owner) && trusts(0, None) && !trusts(12346, location.owner));
    }
}
