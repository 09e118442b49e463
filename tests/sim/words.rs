//! Events and effects in words, for traces.

use midspan_format::frame::FrameHeader;
use midspan_format::message::Message;
use midspan_protocol::vocab::buffer::Buffer;
use midspan_protocol::vocab::effect::{DiskOp, Effect, HostError, LinkEvent, LinkId};

use crate::memory::SimBuf;

/// Bit in the names of connections that were made to us.
pub const INBOUND: u32 = 1 << 31;

/// A link in traces.
pub fn name(link: LinkId) -> String {
    if link.0 & INBOUND == 0 { format!("link {}", link.0) } else { format!("link in{}", link.0 & !INBOUND) }
}

/// What happened on a link.
pub fn describe_event(event: &LinkEvent<SimBuf>) -> String {
    match event {
        LinkEvent::Message(message) => format!("got {}", describe_message(message)),
        LinkEvent::Unit(unit) => format!("got {}", describe_unit(unit.bytes())),
        LinkEvent::Sent => "has sent".to_owned(),
        LinkEvent::Down => "is down".to_owned(),
    }
}

/// A message in traces.
pub fn describe_message(message: &Message) -> String {
    match message {
        Message::Welcome(w) => {
            format!("welcome epoch {} journaled {} primary {}", w.epoch, w.journaled, w.primary)
        }
        Message::Refused(r) => format!("refused {:?} epoch {} request {}", r.reason, r.epoch, r.request),
        Message::Progress(p) => format!("progress {}", p.journaled),
        Message::Ping(p) => format!("ping {}", p.stamp),
        Message::Pong(p) => format!("pong {}", p.stamp),
        Message::Read(r) => {
            format!("read {} from {} length {} wait {}", r.request, r.position, r.length, r.wait_ms)
        }
        Message::ReadReply(r) => {
            format!("reply {} from {} length {} of {}", r.request, r.position, r.length, r.journaled)
        }
        Message::Fence(f) => {
            format!("fence {:?} {} by {} request {}", f.intent, f.replaces, f.epoch, f.request)
        }
        Message::Fenced(f) => {
            let lanes: Vec<String> =
                f.lanes().iter().map(|l| format!("{:?} {} {}", l.kind, l.journaled, l.open)).collect();
            format!("fenced {} found {} request {} [{}]", f.epoch, f.found, f.request, lanes.join(", "))
        }
        Message::Hello(_)
        | Message::Release(_)
        | Message::Released(_)
        | Message::AreaCreate(_)
        | Message::AreaDelete(_)
        | Message::AreaList(_)
        | Message::Areas(_)
        | Message::Leaving(_)
        | Message::Left(_)
        | Message::Begin(_)
        | Message::SetAsked(_)
        | Message::SetRecorded(_)
        | Message::Head(_) => format!("{message:?}"),
    }
}

fn describe_unit(bytes: &[u8]) -> String {
    if let Ok(message) = Message::decode_block(bytes) {
        return format!("block {}", describe_message(&message));
    }
    match FrameHeader::decode(bytes) {
        Ok(header) => describe_frame(&header),
        Err(error) => format!("a unit that is none: {error}"),
    }
}

/// A frame in traces.
pub fn describe_frame(header: &FrameHeader) -> String {
    format!(
        "frame {:?} #{} {}..{} epoch {} records {} landed {} journaled {}",
        header.kind,
        header.sequence,
        header.position,
        header.end(),
        header.epoch,
        header.records,
        header.landed,
        header.journaled
    )
}

/// A refused answer in traces.
pub fn describe_error(error: HostError) -> &'static str {
    match error {
        HostError::Io => "I/O error",
        HostError::NoSpace => "no space",
        HostError::NotServing => "not serving",
    }
}

/// An effect in traces.
pub fn describe_effect(effect: &Effect<SimBuf>) -> String {
    match effect {
        Effect::Connect { link, node, hello } => {
            format!(
                "{} connects to {node} {:?} {:?} epoch {}",
                name(*link),
                hello.kind,
                hello.area_kind,
                hello.epoch
            )
        }
        Effect::Close { link } => format!("{} closes", name(*link)),
        Effect::Send { link, message } => format!("{} sends {}", name(*link), describe_message(message)),
        Effect::SendBlock { link, message } => {
            format!("{} sends block {}", name(*link), describe_message(message))
        }
        Effect::SendFrame { link, frame } => {
            format!("{} sends {}", name(*link), describe_frame(&frame.header))
        }
        Effect::SendData { link, message, .. } => {
            format!("{} sends {}", name(*link), describe_message(message))
        }
        Effect::Disk { disk, token, op, .. } => format!("{disk:?} {token:?} {}", describe_op(op)),
        Effect::Answer { request, result } => match result {
            Ok(data) => format!("answers {request:?} {}", data.as_ref().map_or(0, |data| data.bytes().len())),
            Err(error) => format!("answers {request:?} {}", describe_error(*error)),
        },
        Effect::Note(note) => format!("note {note:?}"),
    }
}

fn describe_op(op: &DiskOp<SimBuf>) -> String {
    match op {
        DiskOp::Write { offset, data, durable } => {
            format!("write {offset}+{}{}", data.len(), if *durable { " durable" } else { "" })
        }
        DiskOp::Read { offset, length, .. } => format!("read {offset}+{length}"),
        DiskOp::Flush => "flush".to_owned(),
        DiskOp::Zero { offset, length, .. } => format!("zero {offset}+{length}"),
    }
}
