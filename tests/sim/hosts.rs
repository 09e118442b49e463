//! The hosts: clients that write self-describing data, read, flush, and look for a site that serves.

use midspan_protocol::vocab::buffer::{Buffer, Buffers};
use midspan_protocol::vocab::effect::{HostError, HostOp, HostRequest, RequestId};

use crate::client::{Reply, Sent};
use crate::content::{self, CELL, CELLS_PER_BLOCK};
use crate::event::{Event, NodeIndex};
use crate::history::Kind;
use crate::layout::volume_id;
use crate::memory::SimBuf;
use crate::swarm::{MS, US};
use crate::trace;
use crate::world::{Phase, World};

const CELL_BYTES: u64 = CELL as u64;
const BLOCK_CELLS: u64 = CELLS_PER_BLOCK as u64;
/// Longest read of the last reading, blocks.
const LONG: u64 = 32;

/// What a client wants, in cells.
#[derive(Clone, Copy, Debug)]
struct Wish {
    kind: Kind,
    volume: usize,
    first: u64,
    count: u64,
}

impl World {
    /// A client looks what it can do.
    pub(crate) fn on_client(&mut self, client: usize) {
        self.clients[client].planned = false;
        let depth = if self.phase == Phase::Reading { 4 } else { self.swarm.load.depth };
        while self.clients[client].in_flight < depth && self.has_wish() {
            let Some(site) = self.choose_site(client) else {
                let pause = self.host_random.range(2 * MS, 20 * MS);
                return self.plan_client(client, pause);
            };
            let Some(wish) = self.next_wish() else { return };
            self.send_request(client, site, wish);
            if self.phase == Phase::Faults && self.host_random.below(self.swarm.load.burst) == 0 {
                let load = &self.swarm.load;
                let requests = load.requests / load.clients as u64;
                let mean = self.swarm.faults_for * load.burst / requests.max(1);
                let pause = self.host_random.below(mean * 2);
                return self.plan_client(client, pause);
            }
        }
    }

    pub(crate) fn plan_client(&mut self, client: usize, delay: u64) {
        if !self.clients[client].planned {
            self.clients[client].planned = true;
            self.schedule.after(delay, Event::Client(client));
        }
    }

    /// Whether no client waits for anything or has anything left to ask.
    pub(crate) fn hosts_are_done(&self) -> bool {
        !self.has_wish() && self.clients.iter().all(|client| client.in_flight == 0)
    }

    fn has_wish(&self) -> bool {
        match self.phase {
            Phase::Faults | Phase::Healing => self.quota > 0,
            Phase::Reading => self.unread.iter().any(|left| *left > 0),
            Phase::Settling | Phase::GoingHome | Phase::Done => false,
        }
    }

    /// The site that serves; where both say so, the one it is connected to.
    fn choose_site(&mut self, client: usize) -> Option<NodeIndex> {
        let serves = |node: NodeIndex| self.nodes[node.0].process.as_ref().is_some_and(|p| p.is_serving());
        let stays =
            |site: &NodeIndex| serves(*site) && (self.phase == Phase::Faults || !self.is_given_up(*site));
        if let Some(site) = self.clients[client].site.filter(stays) {
            return Some(site);
        }
        let mut sites: Vec<NodeIndex> =
            [NodeIndex::A, NodeIndex::B].into_iter().filter(|site| serves(*site)).collect();
        if self.phase != Phase::Faults {
            sites.retain(|site| !self.is_given_up(*site));
        }
        let site = (!sites.is_empty()).then(|| self.host_random.pick(&sites));
        self.clients[client].site = site;
        site
    }

    fn next_wish(&mut self) -> Option<Wish> {
        if self.phase == Phase::Reading {
            let volume = self.unread.iter().position(|left| *left > 0)?;
            let blocks = self.unread[volume].min(LONG);
            self.unread[volume] -= blocks;
            let first = self.unread[volume] * BLOCK_CELLS;
            return Some(Wish { kind: Kind::Read, volume, first, count: blocks * BLOCK_CELLS });
        }
        self.quota -= 1;
        let load = self.swarm.load.clone();
        let sizes: Vec<u64> = (0..self.swarm.volumes.len()).map(|volume| self.host_blocks(volume)).collect();
        let random = &mut self.host_random;
        let volume = if random.percent(load.hot) { 0 } else { random.index(self.swarm.volumes.len()) };
        let size = sizes[volume];
        let blocks = if random.percent(60) { 1 } else { random.range(1, load.max_blocks) }.min(size);
        let first =
            if random.percent(load.hot) { random.below(6) } else { random.below(size) }.min(size - blocks);
        let (first, count) = (first * BLOCK_CELLS, blocks * BLOCK_CELLS);
        let roll = u32::try_from(random.below(100)).unwrap_or(0);
        let kind = if roll < load.reads {
            Kind::Read
        } else if roll < load.reads + load.zeroes {
            Kind::Zero
        } else if roll < load.reads + load.zeroes + load.flushes {
            Kind::Flush
        } else {
            Kind::Write
        };
        if kind == Kind::Write && random.percent(load.partial) {
            let skip = random.below(BLOCK_CELLS);
            let less = random.below(BLOCK_CELLS.min(count - skip));
            return Some(Wish { kind, volume, first: first + skip, count: count - skip - less });
        }
        Some(Wish { kind, volume, first, count })
    }

    fn send_request(&mut self, client: usize, node: NodeIndex, wish: Wish) {
        let Wish { kind, volume, first, count } = wish;
        let count = if kind == Kind::Flush { 0 } else { count };
        let op = self.history.begin(kind, volume, first, count);
        let sent = Sent {
            client,
            node,
            at: self.schedule.now(),
            kind,
            volume,
            offset: first * CELL_BYTES,
            length: count * CELL_BYTES,
            fua: self.host_random.percent(self.swarm.load.fua),
            unmap: self.host_random.percent(50),
        };
        self.sent.insert(op, sent);
        self.clients[client].in_flight += 1;
        let life = self.nodes[node.0].process.as_ref().map_or(0, |process| process.life);
        let delay = self.host_random.latency(30 * US);
        self.schedule.after(delay, Event::Request { op, node, life });
    }

    /// A request reaches its node.
    pub(crate) fn on_request(&mut self, op: u64, node: NodeIndex, life: u64) {
        match self.nodes[node.0].process_of(life) {
            Some(process) => {
                process.waiting.push_back(op);
                self.wake(node);
            }
            None => self.lose(op),
        }
    }

    /// The host's connection is gone: the answer never comes.
    pub(crate) fn lose(&mut self, op: u64) {
        let delay = self.host_random.latency(200 * US);
        self.schedule.after(delay, Event::Answer { op });
    }

    /// The request as the machine gets it; `None` when there is no memory for its data now.
    pub(crate) fn request(&mut self, node: NodeIndex, op: u64, sent: &Sent) -> Option<HostRequest<SimBuf>> {
        let process = self.nodes[node.0].process.as_mut()?;
        let length = usize::try_from(sent.length).unwrap_or(0);
        let op = match sent.kind {
            Kind::Read => {
                let into = process.pool.take(length)?;
                HostOp::Read { offset: sent.offset, length, into }
            }
            Kind::Write => {
                let skip = usize::try_from(sent.offset % 4096).unwrap_or(0);
                let mut data = process.pool.take((skip + length).next_multiple_of(4096))?;
                let volume = u32::try_from(sent.volume).unwrap_or(u32::MAX);
                let room = data.bytes_mut()?.get_mut(skip..skip + length)?;
                content::fill(op, volume, sent.offset / CELL_BYTES, room);
                data.set_filled(skip + length);
                HostOp::Write { offset: sent.offset, length, data, fua: sent.fua }
            }
            Kind::Zero => {
                HostOp::Zero { offset: sent.offset, length: sent.length, unmap: sent.unmap, fua: sent.fua }
            }
            Kind::Flush => HostOp::Flush,
        };
        process.request_count += 1;
        Some(HostRequest { id: RequestId(process.request_count), volume: volume_id(sent.volume), op })
    }

    /// An answer reaches its client, or the news that none will come.
    pub(crate) fn on_answer(&mut self, op: u64) {
        let Some(sent) = self.sent.remove(&op) else { return };
        let reply = self.replies.remove(&op);
        trace::line("host", || {
            let reply = match &reply {
                None => "is lost".to_owned(),
                Some(Reply::Failed(error)) => format!("failed: {error:?}"),
                Some(Reply::Done) => "is done".to_owned(),
                Some(Reply::Data(cells)) => format!("is read: {}", summary(cells)),
            };
            format!("op {op} {:?} at {} {reply}", sent.kind, sent.node)
        });
        let given_up = self.history.is_given_up(op) || self.is_given_up(sent.node);
        let outcome = match reply {
            _ if given_up => {
                self.history.abandon(op);
                Ok(())
            }
            Some(Reply::Done) => self.history.answer(op),
            Some(Reply::Data(cells)) => self.history.answer_read(op, &cells),
            Some(Reply::Failed(HostError::NotServing)) | None => {
                self.history.abandon(op);
                self.figures.unanswered += 1;
                self.clients[sent.client].site = None;
                Ok(())
            }
            Some(Reply::Failed(error @ (HostError::Io | HostError::NoSpace))) => {
                self.history.abandon(op);
                if self.harmed.disk[sent.node.0] || self.harmed.read[sent.node.0] {
                    Ok(())
                } else {
                    Err(format!("op {op} failed with {error:?}, but no disk ever did: {sent:?}"))
                }
            }
        };
        if self.phase == Phase::Reading
            && sent.kind == Kind::Read
            && outcome.is_ok()
            && self.history.was_abandoned(op)
        {
            // The last reading has to see everything: it asks again.
            let blocks = (sent.offset + sent.length) / 4096;
            self.unread[sent.volume] = self.unread[sent.volume].max(blocks);
        }
        self.demand("linearizable (I1, I4, I11)", outcome);
        self.clients[sent.client].in_flight -= 1;
        // Who asks a dead disk asks it slowly.
        let pause = if self.harmed.disk[sent.node.0] { MS } else { US };
        self.plan_client(sent.client, pause);
    }
}

/// Which ops a read found, in short.
fn summary(cells: &[content::Held]) -> String {
    let mut runs: Vec<(content::Held, usize)> = Vec::new();
    for cell in cells {
        match runs.last_mut() {
            Some((held, count)) if held == cell => *count += 1,
            Some(_) | None => runs.push((*cell, 1)),
        }
    }
    let words = runs.iter().take(12).map(|(held, count)| format!("{held:?}x{count}"));
    words.collect::<Vec<_>>().join(" ")
}
