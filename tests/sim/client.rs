//! What the simulated hosts have asked, and what has come of it.

use midspan_protocol::vocab::effect::HostError;

use crate::content::Held;
use crate::event::NodeIndex;
use crate::history::Kind;

/// A client: some requests under way, connected to a site.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client {
    /// Requests under way.
    pub in_flight: usize,
    /// The site that it was connected to last.
    pub site: Option<NodeIndex>,
    /// It will look again by itself.
    pub planned: bool,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// By whom.
    pub client: usize,
    /// To which node.
    pub node: NodeIndex,
    /// When, virtual time.
    pub at: u64,
    /// What.
    pub kind: Kind,
    /// Index of the volume.
    pub volume: usize,
    /// Byte offset.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Durable by itself.
    pub fua: bool,
    /// The space of zeroes may be given back.
    pub unmap: bool,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done.
    Done,
    /// What was read.
    Data(Vec<Held>),
    /// Not done, or not for certain.
    Failed(HostError),
}
