//! [`Stdout`]: whether the consumer of standard output is ready for a line, and whether it is still there.
//!
//! A pipe holds 64 KiB, an hour of short lines for a slow consumer, and then the newest line is not what it gets. So a
//! pipe is made one page small, and a line is written only when the pipe is empty. A pipe of one page has a single
//! buffer, and is ready for writing (`POLLOUT`) exactly when that is free. It cannot be made smaller while it holds
//! more (`EBUSY`): until then, we ask every 10 ms how much there is. A socket, which some programs start others with,
//! is asked as well. Other kinds of output take a line at any time.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use shm_mailbox::Doorbell;

use crate::exit_code::{Failure, Result};
use crate::signals;

/// Smallest size that a pipe can have; the kernel rounds it up to its page.
const PAGE: i32 = 4096;
/// How long until a pipe that cannot say so is asked whether it is empty.
const ASK_PIPE_EVERY: Duration = Duration::from_millis(10);
/// The same for a socket, which can never say so: this is the pace of the lines that its consumer gets.
const ASK_SOCKET_EVERY: Duration = Duration::from_millis(1);

nix::ioctl_read_bad!(bytes_in_pipe, libc::FIONREAD, libc::c_int);
nix::ioctl_read_bad!(bytes_unsent, libc::TIOCOUTQ, libc::c_int);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Ready for writing means empty.
    OnePage,
    /// Has to be asked.
    Pipe,
    Socket,
    /// Takes a line at any time.
    Other,
}

/// Standard output, for a consumer that may be slow.
pub struct Stdout {
    stdout: io::Stdout,
    kind: Kind,
    /// The pipe's size before it was made smaller.
    former: i32,
}

impl Stdout {
    pub fn new() -> Self {
        let stdout = io::stdout();
        let kind = match fstat(&stdout).map(|stat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())) {
            Ok(SFlag::S_IFIFO) => Kind::Pipe,
            Ok(SFlag::S_IFSOCK) => Kind::Socket,
            _ => Kind::Other,
        };
        let former = fcntl(&stdout, FcntlArg::F_GETPIPE_SZ).unwrap_or(0);
        let mut this = Self { stdout, kind, former };
        if kind == Kind::Pipe {
            signals::restore_pipe_size(former);
            this.shrink();
        }
        this
    }

    fn shrink(&mut self) {
        if fcntl(&self.stdout, FcntlArg::F_SETPIPE_SZ(PAGE)).is_ok() {
            self.kind = Kind::OnePage;
        }
    }

    /// Waits until the consumer has taken what was written, or until `deadline`; says whether it has.
    pub fn wait_for_room(&mut self, deadline: Option<Instant>) -> Result<bool> {
        loop {
            match self.kind {
                Kind::Other => return Ok(true),
                Kind::OnePage => {
                    let ready = self.poll(PollFlags::POLLOUT, None, deadline)?;
                    if ready || has_passed(deadline) {
                        return Ok(ready);
                    }
                }
                Kind::Pipe | Kind::Socket => {
                    if self.is_empty()? {
                        if self.kind == Kind::Pipe {
                            self.shrink();
                        }
                        return Ok(true);
                    }
                    if has_passed(deadline) {
                        return Ok(false);
                    }
                    let pause = if self.kind == Kind::Pipe { ASK_PIPE_EVERY } else { ASK_SOCKET_EVERY };
                    let soon = Instant::now() + pause;
                    self.poll(PollFlags::empty(), None, Some(deadline.map_or(soon, |deadline| deadline.min(soon))))?;
                }
            }
        }
    }

    /// Waits for the doorbell, the end of the consumer, or `deadline`.
    pub fn wait_for_ring(&self, doorbell: &Doorbell, deadline: Option<Instant>) -> Result<()> {
        self.poll(PollFlags::empty(), Some(doorbell), deadline).map(drop)
    }

    /// Polls standard output for `events`, and the doorbell; says whether standard output has one of them.
    fn poll(&self, events: PollFlags, doorbell: Option<&Doorbell>, deadline: Option<Instant>) -> Result<bool> {
        let mut fds = [PollFd::new(self.stdout.as_fd(), events), PollFd::new(self.stdout.as_fd(), PollFlags::empty())];
        if let Some(doorbell) = doorbell {
            fds[1] = PollFd::new(doorbell.as_fd(), PollFlags::POLLIN);
        }
        let timeout = match deadline {
            None => PollTimeout::NONE,
            // Rounded up: a wait that ends early would be repeated in a loop.
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::system("cannot wait for standard output", errno)),
        }
        let found = fds[0].revents().unwrap_or(PollFlags::empty());
        if found.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
            return Err(Failure::reader_left());
        }
        Ok(found.intersects(events))
    }

    fn is_empty(&self) -> Result<bool> {
        let mut count = 0;
        let stdout = self.stdout.as_raw_fd();
        // SAFETY: FIONREAD (pipe(7)) and TIOCOUTQ, which is SIOCOUTQ of sockets (unix(7), tcp(7)), write one int, to a
        // variable of ours.
        let asked = unsafe {
            match self.kind {
                Kind::Socket => bytes_unsent(stdout, &mut count),
                _ => bytes_in_pipe(stdout, &mut count),
            }
        };
        match asked {
            Ok(_) => Ok(count == 0),
            // A kind of socket that keeps no account.
            Err(_) if self.kind == Kind::Socket => Ok(true),
            Err(errno) => Err(Failure::system("cannot ask the pipe on standard output", errno)),
        }
    }
}

impl Drop for Stdout {
    fn drop(&mut self) {
        if self.kind == Kind::OnePage {
            // Whoever writes to the pipe next should find it as it was, where the system lets us.
            _ = fcntl(&self.stdout, FcntlArg::F_SETPIPE_SZ(self.former));
        }
    }
}

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}
