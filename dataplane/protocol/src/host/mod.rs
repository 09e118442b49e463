//! The host's side of a site: the NBD server as machines. Bytes in; requests and bytes out; no socket, no buffer of its own.
//!
//! ```text
//! accept ─ greeting ─▶ Negotiation ─ Ready(Session) ─▶ Session::on_header ─▶ Request ─▶ the data path
//!                       options, exports                 one request at a time     └─▶ Session::encode_* ─▶ reply heads
//! ```
//!
//! The driver owns every byte: it keeps a receive buffer, offers its unread part, and drops what a machine says it consumed.
//! Both machines only ever look at complete items, so how the stream was cut into packets cannot change what they do.

pub mod nbd_wire;
pub mod nbd;
mod option;
pub mod negotiation;
pub mod transmission;
pub mod reply;
pub mod status;

#[cfg(test)]
mod fixture;
