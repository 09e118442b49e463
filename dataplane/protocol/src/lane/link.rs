//! One outbound connection that is kept up: connect, greet, notice silence, try again.

use midspan_format::ids::{GroupId, NodeId};
use midspan_format::message::Hello;

use crate::vocab::buffer::Buffers;
use crate::vocab::effect::{Context, Effect, LinkId};
use crate::vocab::limits::Pace;

/// Pauses of an ordinary reconnect before whoever refused us is asked again.
const REFUSED_PAUSES: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected; tried again at this time.
    Down { retry_at: u64 },
    /// Greeting sent at `since`, no answer yet.
    Greeting { since: u64 },
    /// Welcomed. `heard` = last time anything came; `asked` = since when an answer is owed, if one is.
    Up { heard: u64, asked: Option<u64> },
}

/// A link and when it must be looked at.
#[derive(Debug)]
pub struct Link {
    /// Its name towards the driver.
    pub id: LinkId,
    /// The node at the other end.
    pub node: NodeId,
    hello: Hello,
    state: State,
    pace: Pace,
}

impl Link {
    /// A link that connects at the first tick.
    pub fn new(id: LinkId, node: NodeId, hello: Hello, pace: Pace) -> Self {
        Self { id, node, hello, state: State::Down { retry_at: 0 }, pace }
    }

    /// Whether requests can be sent.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Whether it was closed for good.
    pub fn is_closed(&self) -> bool {
        self.state == State::Down { retry_at: u64::MAX }
    }

    /// The group it is about.
    pub fn group(&self) -> GroupId {
        self.hello.group
    }

    /// The greeting that the next connection uses.
    pub fn hello_mut(&mut self) -> &mut Hello {
        &mut self.hello
    }

    /// When the greeting that was answered had been sent.
    pub fn greeted_at(&self) -> Option<u64> {
        match self.state {
            State::Greeting { since } => Some(since),
            State::Down { .. } | State::Up { .. } => None,
        }
    }

    /// The other end welcomed us.
    pub fn on_welcome(&mut self, now: u64) {
        self.state = State::Up { heard: now, asked: None };
    }

    /// Something came; `settled` says that no answer is owed any more.
    pub fn on_heard(&mut self, now: u64, settled: bool) {
        if let State::Up { heard, asked } = &mut self.state {
            *heard = now;
            *asked = if settled { None } else { asked.map(|_| now) };
        }
    }

    /// A request was sent whose answer is expected within the silence limit.
    pub fn on_asked(&mut self, now: u64) {
        if let State::Up { asked, .. } = &mut self.state {
            asked.get_or_insert(now);
        }
    }

    /// The driver says that the connection is gone.
    pub fn on_down(&mut self, now: u64) {
        self.state = State::Down { retry_at: now + self.pace.reconnect_ns };
    }

    /// Closes the connection and tries again later.
    pub fn drop_connection<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if !matches!(self.state, State::Down { .. }) {
            context.ask(Effect::Close { link: self.id });
        }
        self.on_down(context.now.mono);
    }

    /// The other end refuses us: closes the connection, and asks again much later.
    pub fn on_refused<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.drop_connection(context);
        self.state = State::Down { retry_at: context.now.mono + REFUSED_PAUSES * self.pace.reconnect_ns };
    }

    /// Closes for good.
    pub fn close<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        self.drop_connection(context);
        self.state = State::Down { retry_at: u64::MAX };
    }

    /// Connects when it is time; drops a silent connection. `true` when an up connection was dropped.
    pub fn on_tick<S: Buffers>(&mut self, context: &mut Context<'_, S>) -> bool {
        let now = context.now.mono;
        match self.state {
            State::Down { retry_at } if now >= retry_at => {
                self.state = State::Greeting { since: now };
                context.ask(Effect::Connect { link: self.id, node: self.node, hello: self.hello });
                false
            }
            State::Greeting { since } if now >= since + self.pace.silence_ns => {
                self.drop_connection(context);
                false
            }
            State::Up { asked: Some(asked), .. } if now >= asked + self.pace.silence_ns => {
                self.drop_connection(context);
                true
            }
            State::Down { .. } | State::Greeting { .. } | State::Up { .. } => false,
        }
    }

    /// When `on_tick` has something to do next.
    pub fn deadline(&self) -> u64 {
        match self.state {
            State::Down { retry_at } => retry_at,
            State::Greeting { since } => since + self.pace.silence_ns,
            State::Up { asked, .. } => asked.map_or(u64::MAX, |a| a + self.pace.silence_ns),
        }
    }
}
