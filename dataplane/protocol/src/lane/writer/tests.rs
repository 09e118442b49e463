//! What a writer makes of the place at which an area ends.

use alloc::rc::Rc;
use alloc::vec::Vec;

use midspan_format::area::AreaKind;
use midspan_format::frame::FrameHeader;
use midspan_format::geometry::Position;
use midspan_format::ids::{AreaId, NodeId};
use midspan_format::message::{Hello, Message, Welcome};

use super::{Writer, WriterEvent};
use crate::vocab::buffer::fixture::{Heap, Plain};
use crate::vocab::effect::{Context, Effects, Frame, LinkEvent, LinkId, Now};
use crate::vocab::limits::Pace;

fn welcome(last: Option<FrameHeader>) -> LinkEvent<Plain> {
    let (node, area, size, journaled) = (NodeId(2), AreaId([7; 16]), 1 << 20, Position(4096));
    LinkEvent::Message(Message::Welcome(Welcome { node, area, size, journaled, last, ..Welcome::default() }))
}

#[test]
fn an_index_that_ends_at_the_same_place_in_another_frame_is_begun_anew() {
    let hello = Hello { area_kind: AreaKind::Receipt, ..Hello::default() };
    let mut writer: Writer<Plain> = Writer::new(LinkId(0), NodeId(2), hello, Pace::default(), None, 4);
    let (mut buffers, mut effects) = (Heap, Effects::with_capacity(64));
    let now = Now { mono: 1_000_000_000, wall: 1 };
    let mut context = Context { now, buffers: &mut buffers, effects: &mut effects };
    // A relay that could not read the end of its area begins it anew there,
    assert_eq!(writer.on_link(&mut context, welcome(None)), WriterEvent::Up);
    let header =
        FrameHeader { position: Position(4096), length: 4096, sequence: 1, ..FrameHeader::default() };
    writer.append(&mut context, Rc::new(Frame { header, parts: Vec::new() }));
    // and at its next start it can: what was sent would be refused for ever.
    writer.on_link(&mut context, LinkEvent::Down);
    let last = FrameHeader { length: 4096, sequence: 5, checksum: 9, ..FrameHeader::default() };
    assert_eq!(writer.on_link(&mut context, welcome(Some(last))), WriterEvent::Restarted);
    assert_eq!(writer.pending(), 0);
    assert_eq!(writer.tip().map(|tip| (tip.sequence, tip.chain)), Some((6, 9)));
}
