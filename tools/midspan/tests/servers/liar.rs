//! An NBD server in memory that can lie: it shows that the hammer would notice. It speaks simple replies only.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server does wrong, always to every `every`-th request of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    Honest,
    /// It answers a write that it has not done.
    ForgetsWrites { every: u64 },
    /// It answers a read with what was there when the server started, if that was overwritten.
    ReadsOld { every: u64 },
    /// It writes to the block behind.
    WritesBeside { every: u64 },
    /// It writes only the first 1024 bytes of each block.
    Tears { every: u64 },
    /// It refuses writes, although it may have done them.
    RefusesWrites { every: u64 },
}

/// The server; its threads end with the process.
pub struct Liar {
    pub uri: String,
    disk: Arc<Mutex<Vec<u8>>>,
    connections: Arc<Mutex<Vec<UnixStream>>>,
    pub lying: Arc<AtomicBool>,
}

struct Served {
    disk: Arc<Mutex<Vec<u8>>>,
    before: Vec<u8>,
    lie: Lie,
    lying: Arc<AtomicBool>,
    count: AtomicU64,
}

impl Liar {
    pub fn start(socket: &Path, disk: Vec<u8>, lie: Lie) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let before = disk.clone();
        let disk = Arc::new(Mutex::new(disk));
        let lying = Arc::new(AtomicBool::new(true));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::new(Served {
            disk: disk.clone(),
            before,
            lie,
            lying: lying.clone(),
            count: AtomicU64::new(1),
        });
        let all = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                all.lock().unwrap().push(stream.try_clone().unwrap());
                let served = served.clone();
                thread::spawn(move || {
                    let ours = stream.try_clone().unwrap();
                    serve(stream, &served);
                    // A clone is kept for `cut`, so that dropping would not close.
                    let _ = ours.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { uri: format!("nbd+unix:///?socket={}", socket.display()), disk, connections, lying }
    }

    /// What is on the disk now.
    pub fn disk(&self) -> Vec<u8> {
        self.disk.lock().unwrap().clone()
    }

    /// Changes what is on the disk.
    pub fn change(&self, change: impl FnOnce(&mut [u8])) {
        change(&mut self.disk.lock().unwrap());
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for stream in self.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(mut stream: UnixStream, served: &Served) -> Option<()> {
    let size = served.before.len() as u64;
    let greeting =
        [&0x4e42_444d_4147_4943_u64.to_be_bytes()[..], &0x4948_4156_454f_5054_u64.to_be_bytes(), &[0, 3]];
    stream.write_all(&greeting.concat()).ok()?;
    take::<4>(&mut stream)?;
    loop {
        take::<8>(&mut stream)?;
        let option = take::<4>(&mut stream)?;
        let length = u32::from_be_bytes(take(&mut stream)?);
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data).ok()?;
        let reply = |kind: u32, data: &[u8]| {
            let magic = 0x0003_e889_0455_65a9_u64.to_be_bytes();
            [&magic[..], &option, &kind.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
        };
        if option != 7_u32.to_be_bytes() {
            stream.write_all(&reply(1 << 31 | 1, &[])).ok()?;
            continue;
        }
        // Has flags, flush, FUA, trim, zeroes, multi-conn.
        let info = [&[0, 0][..], &size.to_be_bytes(), &0x016d_u16.to_be_bytes()].concat();
        stream.write_all(&[reply(3, &info), reply(1, &[])].concat()).ok()?;
        break;
    }
    while request(&mut stream, served).is_some() {}
    None
}

fn request(stream: &mut UnixStream, served: &Served) -> Option<()> {
    take::<6>(stream)?;
    let command = u16::from_be_bytes(take(stream)?);
    let cookie = take::<8>(stream)?;
    let offset = u64::from_be_bytes(take(stream)?) as usize;
    let length = u32::from_be_bytes(take(stream)?) as usize;
    let mut data = vec![0; if command == 1 { length } else { 0 }];
    stream.read_exact(&mut data).ok()?;
    let lies = |every: u64| {
        served.lying.load(Ordering::Relaxed)
            && served.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(every)
    };
    let mut errno = 0_u32;
    let mut answer = Vec::new();
    let mut disk = served.disk.lock().unwrap();
    match (command, served.lie) {
        (0, Lie::ReadsOld { every }) if lies(every) => {
            answer.extend_from_slice(&served.before[offset..offset + length])
        }
        (0, _) => answer.extend_from_slice(&disk[offset..offset + length]),
        (1, Lie::ForgetsWrites { every }) if lies(every) => {}
        (1, Lie::WritesBeside { every }) if lies(every) && offset + length + 4096 <= disk.len() => {
            disk[offset + 4096..offset + 4096 + length].copy_from_slice(&data);
        }
        (1, Lie::Tears { every }) if lies(every) => {
            for (to, from) in disk[offset..offset + length].chunks_mut(4096).zip(data.chunks(4096)) {
                to[..1024].copy_from_slice(&from[..1024]);
            }
        }
        (1, Lie::RefusesWrites { every }) if lies(every) => {
            if cookie[7] & 1 == 0 {
                disk[offset..offset + length].copy_from_slice(&data);
            }
            errno = 5;
        }
        (1, _) => disk[offset..offset + length].copy_from_slice(&data),
        (2, _) => return None,
        (4 | 6, _) => disk[offset..offset + length].fill(0),
        _ => {}
    }
    drop(disk);
    let head = [&0x6744_6698_u32.to_be_bytes()[..], &errno.to_be_bytes(), &cookie].concat();
    stream.write_all(&[head, answer].concat()).ok()
}

fn take<const N: usize>(stream: &mut UnixStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).ok().map(|()| bytes)
}
