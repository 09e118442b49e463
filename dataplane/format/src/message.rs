//! What nodes say to each other: messages with a 40-byte header, alone or at the start of a 4096-byte block.
//!
//! The first message of each direction is small: Hello, then Welcome or Refused. After it one direction stays small, the
//! other (writer → area, holder → reader, a site that tells → the other) carries bulk: frames, and block messages, of which ReadReply and Head are followed by data.
//!
//! ```text
//!  0       8         10     12       16      24                 32                40
//!  ┌───────┬─────────┬──────┬────────┬───────┬──────────────────┬─────────────────┬─────────┬ ─ ─
//!  │ magic │ version │ kind │ length │ zero  │ payload checksum │ header checksum │ payload │ zero to 4096 in a block
//!  └───────┴─────────┴──────┴────────┴───────┴──────────────────┴─────────────────┴─────────┴ ─ ─
//! ```
//! The header is the same in all versions, so that a peer of another version can be told so.

mod payload;
mod stream;

pub use payload::{
    AreaCreate, AreaDelete, AreaInfo, AreaList, Areas, Begin, Fence, FenceIntent, Fenced, FencedLane, Head,
    Hello, Leaving, Left, MAX_FENCED_LANES, MAX_LISTED_AREAS, Ping, Pong, Progress, Read, ReadReply, Refused,
    RefusedReason, Release, Released, SessionKind, SetAsked, SetRecorded, Welcome,
};
pub use stream::{HEADER_BYTES, MAX_MESSAGE, MAX_READ, MessageError, bulk_unit_length, message_length};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First word of whoever connects.
    Hello(Hello),
    /// First answer.
    Welcome(Welcome),
    /// A request, or the session, is refused.
    Refused(Refused),
    /// The area's journaled prefix.
    Progress(Progress),
    /// Are you there?
    Ping(Ping),
    /// Yes.
    Pong(Pong),
    /// Asks for a range of the area.
    Read(Read),
    /// The range; its data follows the block.
    ReadReply(ReadReply),
    /// Takes a newer epoch, or asks for the present one.
    Fence(Fence),
    /// The epoch that is in force, and what the areas hold.
    Fenced(Fenced),
    /// Gives the permission back.
    Release(Release),
    /// It is given back.
    Released(Released),
    /// Creates an area.
    AreaCreate(AreaCreate),
    /// Deletes an area.
    AreaDelete(AreaDelete),
    /// Asks for areas.
    AreaList(AreaList),
    /// Areas.
    Areas(Areas),
    /// Hosts are to be answered outside the lanes.
    Leaving(Leaving),
    /// That is recorded.
    Left(Left),
    /// Where a ring goes on.
    Begin(Begin),
    /// The head of a frame follows.
    Head(Head),
    /// The fence set is to change.
    SetAsked(SetAsked),
    /// That is recorded.
    SetRecorded(SetRecorded),
}
