//! A stretch of the path between two nodes that can be made to flip bits, or to end in mid-frame.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is done to the bytes that pass, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    None,
    /// A bit is flipped.
    Flip,
    /// The connection ends.
    Cut,
}

/// Which way bytes go: from who connects, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who connects.
    There,
    /// Towards who connects.
    Back,
}

#[derive(Debug)]
struct Plan {
    harm: Harm,
    way: Way,
    /// Bytes that pass unharmed before.
    left: u64,
    done: u64,
}

/// Forwards connections to a node, and harms them as planned. It ends with the process.
#[derive(Debug)]
pub struct Meddler {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    over: Arc<AtomicBool>,
}

impl Meddler {
    /// Stands before the node at `target`, on this port.
    pub fn new(port: u16, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan { harm: Harm::None, way: Way::There, left: 0, done: 0 }));
        let over = Arc::new(AtomicBool::new(false));
        let (theirs, ended) = (Arc::clone(&plan), Arc::clone(&over));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A target that is down closes the client's connection.
                if let Ok(server) = TcpStream::connect(target) {
                    join(client, server, &theirs);
                }
            }
        });
        Self { address, plan, over }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Harms what passes, after so many bytes.
    pub fn harm(&self, harm: Harm, way: Way, after: u64) {
        let mut plan = self.plan.lock().unwrap();
        *plan = Plan { harm, way, left: after, ..*plan };
    }

    /// How often it has done harm.
    pub fn done(&self) -> u64 {
        self.plan.lock().unwrap().done
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(client: TcpStream, server: TcpStream, plan: &Arc<Mutex<Plan>>) {
    let pairs =
        [(Way::There, client.try_clone().unwrap(), server.try_clone().unwrap()), (Way::Back, server, client)];
    for (way, from, to) in pairs {
        let plan = Arc::clone(plan);
        thread::spawn(move || pump(way, from, to, &plan));
    }
}

fn pump(way: Way, mut from: TcpStream, mut to: TcpStream, plan: &Mutex<Plan>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let passes = meddle(way, &mut buffer[..length], plan);
        if to.write_all(&buffer[..passes]).is_err() || passes < length {
            break;
        }
    }
    // Both ways: a node that is gone is gone.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Harms the bytes if it is their turn; says how many of them pass.
fn meddle(way: Way, bytes: &mut [u8], plan: &Mutex<Plan>) -> usize {
    let mut plan = plan.lock().unwrap();
    if plan.harm == Harm::None || plan.way != way {
        return bytes.len();
    }
    let length = bytes.len() as u64;
    if plan.left >= length {
        plan.left -= length;
        return bytes.len();
    }
    let at = usize::try_from(plan.left).unwrap();
    let harm = std::mem::replace(&mut plan.harm, Harm::None);
    plan.done += 1;
    match harm {
        Harm::Flip => bytes[at] ^= 1 << (at % 8),
        Harm::Cut => return at,
        Harm::None => {}
    }
    bytes.len()
}
