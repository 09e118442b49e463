//! From answered pieces to replies: when a request is answered, in which order its bytes go, and what a failure comes to.

use midspan_protocol::host::nbd_wire::Errno;
use midspan_protocol::host::transmission::{Command, Refusal, Request};
use midspan_protocol::vocab::effect::HostError;
use midspan_uring::Buf;

use super::conn::{Conn, Pause};
use super::outgoing::{Data, Out};
use super::work::{Order, Piece, Work};
use crate::slab::Key;

impl Conn {
    /// A piece was answered.
    pub(super) fn on_answer(
        &mut self,
        work: &mut Work,
        (piece, active): (Key, Key),
        result: Result<Option<Buf>, HostError>,
    ) -> Result<(), Pause> {
        let Some(piece) = work.answer(piece, result) else { return self.settle(work, active) };
        let Some(of) = work.active(active) else { return Ok(()) };
        let last = of.is_over() && of.failure().is_none();
        match chunk(piece, of.request, last) {
            Ok(out) => {
                self.out.push(out);
                if last {
                    work.end(active);
                    return Ok(());
                }
            }
            Err(piece) => self.held.remove(piece.load()),
        }
        self.settle(work, active)
    }

    /// Sends what has become possible of a request; ends it when all its pieces are answered. An error: its reply has
    /// begun and cannot be completed, so the connection must end.
    pub(super) fn settle(&mut self, work: &mut Work, active: Key) -> Result<(), Pause> {
        let Some(of) = work.active(active) else { return Ok(()) };
        let (request, order, failure, over) = (of.request, of.order, of.failure(), of.is_over());
        match (order, failure) {
            (Order::Stream { began: true }, Some(_)) => return Err(Pause::Broken),
            (Order::Stream { .. }, None) => {
                while let Some(piece) = work.take_next(active) {
                    self.put_in_order(piece, request, Outlet::Stream)?;
                    if let Some(of) = work.active(active) {
                        of.order = Order::Stream { began: true };
                    }
                }
            }
            (Order::Any | Order::Whole | Order::Stream { began: false }, _) => {}
        }
        if !over {
            return Ok(());
        }
        self.out.end_stream(active);
        match (order, failure) {
            (_, Some((error, offset))) => {
                while let Some(piece) = work.take_next(active) {
                    self.held.remove(piece.load());
                }
                let at = (order == Order::Any && is_read(request)).then_some(offset);
                self.out.push(Out::Error { to: request.reply_to(), refusal: refusal(error), at });
            }
            (Order::Whole, None) => {
                while let Some(piece) = work.take_next(active) {
                    self.put_in_order(piece, request, Outlet::Whole)?;
                }
            }
            (Order::Any, None) => self.out.push(Out::Done(request.reply_to())),
            (Order::Stream { .. }, None) => {}
        }
        work.end(active);
        Ok(())
    }

    /// A read that must be answered whole cannot be given to its owner at once: its bytes go as they come, if there is
    /// anything under way of it and no other reply does so already.
    pub(super) fn stream_if_whole(&mut self, work: &mut Work, active: Key) -> Result<(), Pause> {
        let begun = work.active(active).is_some_and(|of| of.order == Order::Whole && of.has_pieces());
        if !begun || !self.out.begin_stream(active) {
            return Ok(());
        }
        if let Some(of) = work.active(active) {
            of.order = Order::Stream { began: false };
        }
        self.settle(work, active)
    }

    fn put_in_order(&mut self, piece: Piece, request: Request, outlet: Outlet) -> Result<(), Pause> {
        let out = in_order(piece, request)?;
        match outlet {
            Outlet::Stream => self.out.push_stream(out),
            Outlet::Whole => self.out.push(out),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Outlet {
    Stream,
    Whole,
}

/// A piece of a read as a chunk of its own; one without data is given back.
fn chunk(piece: Piece, request: Request, last: bool) -> Result<Out, Piece> {
    let span = piece.span;
    let length = u32::try_from(span.length).unwrap_or(0);
    let data = data(piece)?;
    Ok(Out::Chunk { request, offset: span.offset, length, last, data, ends: last })
}

/// A piece of a read as a part of the one chunk of its reply.
fn in_order(piece: Piece, request: Request) -> Result<Out, Pause> {
    let span = piece.span;
    let ends = span.offset + span.length as u64 == request.offset + request.length;
    let data = data(piece).map_err(|_| Pause::Broken)?;
    if span.offset > request.offset {
        return Ok(Out::More { data, ends });
    }
    let length = u32::try_from(request.length).unwrap_or(0);
    Ok(Out::Chunk { request, offset: request.offset, length, last: true, data, ends })
}

fn data(mut piece: Piece) -> Result<Data, Piece> {
    match piece.buf.take() {
        Some(buf) => Ok(Data { buf, start: piece.span.skew(), length: piece.span.length }),
        None => Err(piece),
    }
}

/// What an owner's answer is worth: a read must have brought all its blocks.
pub(super) fn checked(
    work: &mut Work,
    (piece, active): (Key, Key),
    result: Result<Option<Buf>, HostError>,
) -> Result<Option<Buf>, HostError> {
    let reads = work.active(active).is_some_and(|of| is_read(of.request));
    let needed = work.span(piece).map_or(0, |span| span.bytes());
    match result {
        Ok(Some(buf)) if reads && buf.filled() >= needed => Ok(Some(buf)),
        Ok(_) if reads => Err(HostError::Io),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_read(request: Request) -> bool {
    matches!(request.command, Command::Read { .. })
}

fn refusal(error: HostError) -> Refusal {
    match error {
        HostError::Io => Refusal { errno: Errno::Io, text: "the disk failed at this site" },
        HostError::NoSpace => {
            Refusal { errno: Errno::NoSpace, text: "the disk has no space left at this site" }
        }
        HostError::NotServing => {
            Refusal { errno: Errno::Shutdown, text: "this site does not serve the export any more" }
        }
    }
}
