//! Unix datagram sockets.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// The largest line: less than the kernel's usual send buffer of 208 KiB (`net.core.wmem_default`), which also holds
/// what the kernel keeps with a datagram.
pub const LARGEST: usize = 1 << 17;

/// A socket on each side, bound to a path and connected to the other one's; a datagram is a line. Daemons that take
/// short messages of others are fed like this.
pub struct Datagram {
    socket: UnixDatagram,
    /// Where to connect to before the first line, when the other side is there.
    to: Option<PathBuf>,
    received: Vec<u8>,
}

/// Whether the send buffer that sockets have here holds such a line.
pub fn available(size: usize) -> Result<(), String> {
    let send = || UnixDatagram::pair()?.0.send(&vec![0; size]);
    match send() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a datagram of {size} bytes cannot be sent here: {error}")),
    }
}

impl Channel for Datagram {
    fn open(place: &Place, side: Side, size: usize) -> Outcome<Self> {
        let (out, back) = match side {
            Side::Here => ("datagram.there", "datagram.back"),
            Side::There => ("datagram.back", "datagram.there"),
        };
        let socket = UnixDatagram::bind(place.path().join(back))?;
        Ok(Self { socket, to: Some(place.path().join(out)), received: vec![0; size] })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        if let Some(to) = self.to.take() {
            self.socket.connect(to)?;
        }
        self.socket.send(line)?;
        Ok(())
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        let length = self.socket.recv(&mut self.received)?;
        Ok(&self.received[..length])
    }
}
