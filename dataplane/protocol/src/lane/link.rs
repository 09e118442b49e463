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
    /// Welcomed at `since`. `heard` = last time anything came; `asked` = since when an answer is owed, if one is.
    Up { since: u64, heard: u64, asked: Option<u64> },
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

    /// Whether there is no connection.
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
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
        self.state = State::Up { since: now, heard: now, asked: None };
    }

    /// Something came; `settled` says that no answer is owed any more.
    pub fn on_heard(&mut self, now: u64, settled: bool) {
        if let State::Up { heard, asked, .. } = &mut self.state {
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

    /// The driver says that the connection is gone. One that worked for a while is made anew at once; what fails again, or
    /// soon after its welcome, waits for the pause.
    pub fn on_down(&mut self, now: u64) {
        let pause = match self.state {
            State::Up { since, .. } if now >= since + self.pace.reconnect_ns => 0,
            State::Up { .. } | State::Greeting { .. } | State::Down { .. } => self.pace.reconnect_ns,
        };
        self.state = State::Down { retry_at: now + pause };
    }

    /// Closes the connection and tries again later.
    pub fn drop_connection<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        if !matches!(self.state, State::Down { .. }) {
            context.ask(Effect::Close { link: self.id });
        }
        self.state = State::Down { retry_at: context.now.mono + self.pace.reconnect_ns };
    }

    /// The other end refuses us: closes the connection, and asks again much later.
    pub fn on_refused<S: Buffers>(&mut self, context: &mut Context<'_, S>) {
        rare!(LinkRefused);
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
                rare!(LinkUngreeted);
                self.drop_connection(context);
                false
            }
            State::Up { asked: Some(asked), .. } if now >= asked + self.pace.silence_ns => {
                rare!(LinkSilent);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_worked_is_made_anew_at_once_and_one_that_did_not_after_a_pause() {
        let pace = Pace::default();
        let mut link = Link::new(LinkId(0), NodeId(2), Hello::default(), pace);
        link.on_down(0);
        assert_eq!(link.deadline(), pace.reconnect_ns, "it has never worked");
        link.on_welcome(1000);
        link.on_down(1000 + pace.reconnect_ns);
        assert_eq!(link.deadline(), 1000 + pace.reconnect_ns);
        link.on_down(2000 + pace.reconnect_ns);
        assert_eq!(link.deadline(), 2000 + 2 * pace.reconnect_ns, "not again at once");
        link.on_welcome(5000);
        link.on_down(5001);
        assert_eq!(
            link.deadline(),
            5001 + pace.reconnect_ns,
            "welcomed and closed: it would go round and round"
        );
    }
}
