//! ZeroMQ: sockets with queues and a thread behind them that moves messages.

use zmq::{Context, Message, PollEvents, Socket, SocketType};

use crate::Outcome;
use crate::contender::{Channel, Side};
use crate::place::Place;

/// The largest line.
pub const LARGEST: usize = 1 << 24;
/// How long a greeting is waited for before the next one, in milliseconds.
const GREETING: i64 = 10;

/// PUB and SUB for each direction by a Unix socket, with CONFLATE: each side keeps the newest message only. Those who
/// have ZeroMQ anyway pass a last value on like this.
pub struct ZeroMq {
    publisher: Socket,
    subscriber: Socket,
    received: Message,
    /// Whether the other side is known to hear us; it knows the same of us then.
    is_met: bool,
    side: Side,
}

impl ZeroMq {
    /// What is published before the other side's subscription has come is lost. So nothing is a line before there was
    /// an answer to an empty message; greetings that come later are passed over.
    fn meet(&mut self) -> Outcome {
        while !self.is_met {
            self.publisher.send(&[][..], 0)?;
            if self.subscriber.poll(PollEvents::POLLIN, GREETING)? > 0 {
                self.subscriber.recv(&mut self.received, 0)?;
                self.is_met = true;
            }
        }
        Ok(())
    }
}

impl Channel for ZeroMq {
    fn open(place: &Place, side: Side, _size: usize) -> Outcome<Self> {
        let (out, back) = match side {
            Side::Here => ("zmq.there", "zmq.back"),
            Side::There => ("zmq.back", "zmq.there"),
        };
        let context = Context::new();
        let socket = |kind| -> Outcome<Socket> {
            let socket = context.socket(kind)?;
            socket.set_conflate(true)?;
            socket.set_linger(0)?;
            Ok(socket)
        };
        let address = |name| format!("ipc://{}", place.path().join(name).display());
        let publisher = socket(SocketType::PUB)?;
        publisher.bind(&address(out))?;
        let subscriber = socket(SocketType::SUB)?;
        subscriber.set_subscribe(b"")?;
        // May come before the other side's bind: it is tried again by ZeroMQ itself.
        subscriber.connect(&address(back))?;
        Ok(Self { publisher, subscriber, received: Message::new(), is_met: false, side })
    }

    fn send(&mut self, line: &[u8]) -> Outcome {
        if self.side == Side::Here {
            self.meet()?;
        }
        Ok(self.publisher.send(line, 0)?)
    }

    fn receive(&mut self) -> Outcome<&[u8]> {
        loop {
            self.subscriber.recv(&mut self.received, 0)?;
            if !self.received.is_empty() {
                return Ok(&self.received);
            }
            if self.side == Side::There {
                self.publisher.send(&[][..], 0)?;
            }
        }
    }
}
