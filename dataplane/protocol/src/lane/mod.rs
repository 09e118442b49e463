//! The client ends of a lane: a link that comes back, the writer and the reader of an area, the fence, the tail.

pub mod link;
pub mod site_link;
pub mod writer;
pub mod reader;
pub mod fencer;
pub mod tail;
