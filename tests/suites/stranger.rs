//! Whoever speaks to a node's port by hand: a connection, and messages that are well or badly made.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use midspan_format::area::AreaKind;
use midspan_format::ids::{AreaId, Epoch, GroupId, LaneId, NodeId};
use midspan_format::message::{Hello, MAX_MESSAGE, Message, Refused, RefusedReason, SessionKind};
use midspan_format::version::PROTOCOL_VERSION;
use rig::{Cluster, LIMIT, Place};

/// The group of all clusters here.
pub const GROUP: GroupId = GroupId(1);

/// A connection to a node, spoken on by hand.
pub struct Stranger {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Stranger {
    /// Connects to a node.
    pub fn connect(cluster: &Cluster, place: Place) -> Self {
        let stream = TcpStream::connect(cluster.shape().address(place)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes, whatever they are.
    pub fn send(&mut self, bytes: &[u8]) {
        // The node may have closed already, which the answer shows.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends bytes; says whether all of them were taken.
    pub fn sends(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// From now on a node that takes nothing for so long is sent nothing more.
    pub fn give_up_sending_after(&self, time: Duration) {
        self.stream.set_write_timeout(Some(time)).unwrap();
    }

    /// Sends a message.
    pub fn say(&mut self, message: &Message) {
        self.send(&bytes(message));
    }

    /// The next message; `None` at the end.
    pub fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some((message, length)) = Message::decode(&self.received).expect("a message of the node") {
                self.received.drain(..length);
                return Some(message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("neither an answer nor an end: {error}"),
            }
        }
    }

    /// Expects a refusal for this reason, and then the end.
    #[track_caller]
    pub fn is_refused(&mut self, wanted: RefusedReason) {
        match self.hear() {
            Some(Message::Refused(Refused { reason, .. })) => assert_eq!(reason, wanted),
            other => panic!("{other:?} instead of a refusal for {wanted:?}"),
        }
    }

    /// Expects the end.
    #[track_caller]
    pub fn is_closed(&mut self) {
        assert_eq!(self.hear(), None);
    }
}

/// The bytes of a message.
pub fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let length = message.encode(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// A greeting of a node.
pub fn hello(node: u32, group: GroupId, kind: SessionKind) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        node: NodeId(node),
        group,
        kind,
        area_kind: AreaKind::Ring,
        lane: LaneId(0),
        area: AreaId::NONE,
        epoch: Epoch::NONE,
        lease_ms: 500,
    }
}
