//! Sends and receives heartbeats: a socket beside the data plane's, a task of its own beside the driver and the API.
//!
//! UDP on the address and port on which this node listens for nodes over TCP: nothing more to configure or to open. No
//! shard is in the way: a node whose shards are busy is not silent. It sends from that port, so that others know it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use midspan_format::heartbeat::MAX_HEARTBEAT;
use tokio::time::{MissedTickBehavior, interval};

use crate::automatic::Unattended;
use crate::clock;
use crate::config::Config;
use crate::exit::{self, Failure};
use crate::pulse::Pulse;
use crate::view::Shared;

/// How often verdicts are looked at, at least.
const LOOK: Duration = Duration::from_millis(100);
/// Datagrams taken between two looks at most: the kernel drops what is more, and the API is not kept waiting.
const MOST: u32 = 1_024;

/// A socket that is bound, and what is to be done with it.
#[derive(Debug)]
pub struct Heart {
    socket: UdpSocket,
    interval: Duration,
    pulse: Pulse,
    unattended: Unattended,
    started: std::time::Instant,
}

impl Heart {
    /// Binds the socket of a configured node.
    ///
    /// # Errors
    /// The address is taken, or cannot be used.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let listen = config.node.listen;
        let socket = bind(listen).map_err(|error| {
            Failure::new(
                exit::REFUSED,
                format!("{listen}: heartbeats (UDP) cannot be received there: {error}"),
            )
            .hint("another program has that UDP port: choose another `listen` in [node]")
        })?;
        let pulse = Pulse::new(config, clock::wall_ns(), 0);
        let unattended = Unattended::new(config, &pulse);
        let interval = config.node.heartbeat.duration();
        Ok(Self { socket, interval, pulse, unattended, started: clock::now() })
    }

    /// Sends and receives until the runtime ends. Within a runtime only.
    pub async fn beat(self, shared: Arc<Shared>) {
        let Self { socket, interval, pulse, mut unattended, started } = self;
        unattended.adopt(&shared);
        let socket = match tokio::net::UdpSocket::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!("heartbeats cannot be sent: {error}"),
        };
        Beat { socket, interval, pulse, unattended, started, shared, sent_ns: None }.run().await;
    }
}

fn bind(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(listen)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Beat {
    socket: tokio::net::UdpSocket,
    interval: Duration,
    pulse: Pulse,
    unattended: Unattended,
    started: std::time::Instant,
    shared: Arc<Shared>,
    sent_ns: Option<u64>,
}

impl Beat {
    async fn run(mut self) {
        let period = self.interval.min(LOOK);
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // More than any heartbeat may have: what is longer shows as such.
        let mut datagram = [0; MAX_HEARTBEAT + 1];
        let mut taken = 0;
        let mut ran_ns = self.now_ns();
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut datagram), if taken < MOST => {
                    self.notice_pause(&mut ran_ns, period);
                    taken += 1;
                    match received {
                        Ok((length, from)) => {
                            let now_ns = ran_ns;
                            self.pulse.on_datagram(now_ns, from, datagram.get(..length).unwrap_or_default());
                        }
                        // Nothing more before the next tick: an error that stays must not keep the loop busy.
                        Err(_) => taken = MOST,
                    }
                }
                _ = tick.tick() => {
                    self.notice_pause(&mut ran_ns, period);
                    taken = 0;
                    self.turn(ran_ns);
                }
            }
        }
    }

    /// Nothing ran here for much longer than a tick: a stopped process, a machine that was moved.
    fn notice_pause(&mut self, ran_ns: &mut u64, period: Duration) {
        let now_ns = self.now_ns();
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let lost_ns = now_ns.saturating_sub(*ran_ns).saturating_sub(period_ns);
        if lost_ns > period_ns {
            self.pulse.on_own_pause(now_ns, lost_ns);
        }
        *ran_ns = now_ns;
    }

    fn turn(&mut self, now_ns: u64) {
        let status = self.shared.status();
        let interval_ns = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        // Ticks come a little early or late: a beat is due when less than half a look is missing.
        let early_ns = interval_ns.min(100_000_000) / 2;
        let is_due =
            self.sent_ns.is_none_or(|at| now_ns.saturating_sub(at).saturating_add(early_ns) >= interval_ns);
        if is_due {
            self.sent_ns = Some(now_ns);
            for (to, heartbeat) in self.pulse.heartbeats(now_ns, &status.groups) {
                // A full buffer drops it, as the network might.
                if self.socket.try_send_to(&heartbeat, to).is_err() {
                    self.pulse.on_not_sent();
                }
            }
        }
        for tell in self.pulse.changes(now_ns, &status) {
            self.shared.tell(tell);
        }
        let automatic = self.unattended.turn(now_ns, &self.pulse, &status, &self.shared);
        let (peers, refused) = (self.pulse.show(now_ns), self.pulse.refused());
        let mut view = self.shared.view();
        view.status.peers = peers;
        view.status.heartbeats_refused = refused;
        view.status.automatic = automatic;
    }

    fn now_ns(&self) -> u64 {
        let since = clock::now().saturating_duration_since(self.started);
        // Never 0: a stamp of 0 is none.
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}
