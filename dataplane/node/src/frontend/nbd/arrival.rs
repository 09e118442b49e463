//! How a connection comes in: accepted and negotiated here, or handed over by the shard that did so.

use midspan_protocol::host::nbd::Session;
use midspan_uring::{Completion, Socket};

use super::NbdFrontEnd;
use super::bounds;
use super::conn::Conn;
use super::greeting::{Greeting, Progress};
use super::input::Input;
use crate::frontend::{Handover, Host};
use crate::slab::Key;

impl NbdFrontEnd {
    /// Whether no further connection is taken.
    pub(super) fn is_full(&self) -> bool {
        self.stop_at.is_some() || self.connections() >= self.limit
    }

    /// A connection was accepted; it is closed when there is no room for it.
    pub(super) fn greet(&mut self, host: &mut Host<'_>, socket: Socket) {
        let pool = host.buffers.pool();
        let buffers = (bounds::take(pool, bounds::PEEK_BYTES), bounds::take(pool, bounds::SCRATCH_BYTES));
        let (Some(input), Some(scratch)) = buffers else { return };
        // Options are a matter of speed and of noticing silence; the protocol works without them.
        let _ = socket.tune(&bounds::socket_options());
        let Ok(socket) = host.ring.add_socket(socket) else { return };
        let greeting = Greeting::new(socket, input, scratch, host.now.mono);
        self.tick_at = self.tick_at.min(greeting.until);
        match self.greetings.insert(greeting) {
            Ok(key) => self.go_on_greeting(host, key),
            Err(_) => self.close(host, socket),
        }
    }

    fn go_on_greeting(&mut self, host: &mut Host<'_>, key: Key) {
        let Some(greeting) = self.greetings.get_mut(key) else { return };
        match greeting.go_on(key, &self.catalog, host) {
            Progress::Running => {}
            Progress::Ready(index, session) => self.on_ready(host, key, index, session),
            Progress::Close => self.end_greeting(host, key),
        }
    }

    /// A send or receive of a negotiation ended.
    pub(super) fn on_greeting_completion(&mut self, host: &mut Host<'_>, key: Key, completion: Completion) {
        let Some(greeting) = self.greetings.get_mut(key) else { return };
        let alive = match (completion.result, completion.buf) {
            (Ok(count), Some(buf)) => greeting.on_received(buf, usize::try_from(count).unwrap_or(0)),
            (Ok(_), None) => true,
            (Err(_), _) => false,
        };
        if alive { self.go_on_greeting(host, key) } else { self.end_greeting(host, key) }
    }

    /// Closes a connection that negotiates.
    pub(super) fn end_greeting(&mut self, host: &mut Host<'_>, key: Key) {
        if let Some(greeting) = self.greetings.remove(key) {
            self.close(host, greeting.socket);
        }
    }

    /// A negotiation ended with an export: its own shard goes on with the connection.
    fn on_ready(&mut self, host: &mut Host<'_>, key: Key, index: usize, session: Session) {
        let Some(greeting) = self.greetings.remove(key) else { return };
        let Greeting { socket, input, scratch, .. } = greeting;
        let export = self.catalog.id(index).and_then(|id| host.exports.get(id)).filter(|e| e.is_serving());
        let Some(export) = export else { return self.close(host, socket) };
        if export.shard == host.shard() {
            let conn = Conn::new(socket, (export.id, export.volume), session, input, scratch);
            return self.open(host, conn);
        }
        let (export, unread) = (export.id, input.unread().to_vec());
        if let Ok(socket) = host.ring.remove_socket(socket) {
            host.hand_over(Handover { socket, export, session, unread });
        }
    }

    fn open(&mut self, host: &mut Host<'_>, conn: Conn) {
        let socket = conn.socket;
        match self.conns.insert(conn) {
            Ok(key) => self.proceed(host, key),
            Err(_) => self.close(host, socket),
        }
    }

    /// Takes a connection of another shard up; `None`: there is no room, and it is closed.
    pub(super) fn take_up(&mut self, host: &mut Host<'_>, handover: Handover) -> Option<()> {
        let Handover { socket, export, session, unread } = handover;
        let export = host.exports.get(export).filter(|e| e.is_serving() && e.shard == host.shard())?;
        let pool = host.buffers.pool();
        let scratch = bounds::take(pool, bounds::SCRATCH_BYTES)?;
        let mut input = bounds::take(pool, bounds::INPUT_BYTES.max(unread.len()))?;
        input.append(&unread)?;
        let id = (export.id, export.volume);
        let socket = host.ring.add_socket(socket).ok()?;
        self.open(host, Conn::new(socket, id, session, Input::new(input), scratch));
        Some(())
    }
}
