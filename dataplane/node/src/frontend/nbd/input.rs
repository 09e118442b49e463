//! What was received on a connection and not consumed yet: one buffer, as large as the client's way to talk asks for.

use midspan_uring::Buf;

use super::bounds::{INPUT_BYTES, LOAD_BYTES, PEEK_BYTES};

/// The input of one connection. It always has its buffer, but for while a receive runs.
#[derive(Debug)]
pub(super) struct Input {
    buf: Option<Buf>,
    /// Bytes at the front that are consumed.
    start: usize,
    /// Bytes that the next receive should have room for.
    want: usize,
    /// What was wanted when the present buffer was taken.
    taken_for: usize,
}

impl Input {
    /// Nothing received yet. The buffer is exchanged for another size when the client asks for it by what it sends.
    pub(super) fn new(buf: Buf) -> Self {
        let size = buf.capacity();
        Self { buf: Some(buf), start: 0, want: size, taken_for: size }
    }

    /// What is not consumed yet.
    pub(super) fn unread(&self) -> &[u8] {
        self.buf.as_ref().and_then(|buf| buf.bytes().get(self.start..)).unwrap_or_default()
    }

    /// So many bytes at the front are done with.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.unread().len(), "consumed more than there is");
        self.start += count;
    }

    /// The client is about to send large payloads, or small requests.
    pub(super) fn expect(&mut self, large: bool) {
        if large {
            self.want = PEEK_BYTES;
        } else if self.want < INPUT_BYTES {
            self.want = INPUT_BYTES;
        }
    }

    /// The buffer to receive into, behind its filled bytes; `None` when there is no room and no other buffer. What was not
    /// consumed moves to its front.
    pub(super) fn target(&mut self, take: impl Fn(usize) -> Option<Buf>) -> Option<Buf> {
        let rest = self.unread().len();
        let mut buf = self.buf.take()?;
        let full = rest * 2 > buf.capacity();
        let want = if full { self.want.max(rest * 2) } else { self.want };
        if (full || self.want != self.taken_for)
            && want > rest
            && let Some(mut fresh) = take(want)
        {
            let unread = buf.bytes().get(self.start..).unwrap_or_default();
            if fresh.append(unread).is_some() {
                buf = fresh;
                self.start = 0;
                self.taken_for = self.want;
            }
        }
        if self.start > 0 {
            let filled = buf.filled();
            if let Some(bytes) = buf.bytes_mut() {
                bytes.copy_within(self.start..filled, 0);
            }
            buf.set_filled(rest);
            self.start = 0;
        }
        if buf.room() == 0 {
            self.buf = Some(buf);
            return None;
        }
        Some(buf)
    }

    /// A receive into the target brought `count` bytes.
    pub(super) fn on_received(&mut self, buf: Buf, count: usize) {
        if buf.room() == 0 {
            self.want = (self.want * 4).min(LOAD_BYTES);
        } else if count < INPUT_BYTES / 2 && self.want > INPUT_BYTES {
            self.want = INPUT_BYTES;
        }
        self.buf = Some(buf);
    }
}

#[cfg(test)]
mod tests {
    use midspan_uring::{Class, Pool};

    use super::super::tests::numbers;
    use super::*;

    fn pool() -> Pool {
        let sizes = [4096, 16 * 1024, 64 * 1024];
        Pool::new(&sizes.map(|size| Class { size, count: 2 }), false).unwrap()
    }

    /// Plays the kernel: fills the target with as much of `bytes` as fits; gives how much that was.
    fn receive(input: &mut Input, pool: &Pool, bytes: &[u8]) -> usize {
        let mut target = input.target(|length| pool.take(length)).unwrap();
        let count = bytes.len().min(target.room());
        target.append(&bytes[..count]).unwrap();
        input.on_received(target, count);
        count
    }

    #[test]
    fn no_byte_is_lost_or_moved_whatever_the_sizes() {
        let pool = pool();
        let mut input = Input::new(pool.take(4096).unwrap());
        let mut random = numbers(7);
        let stream: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let (mut sent, mut seen, mut largest) = (0, 0, 0);
        while seen < stream.len() {
            if sent < stream.len() && input.unread().len() < 60_000 {
                let some = usize::try_from(1 + random(90_000)).unwrap().min(stream.len() - sent);
                sent += receive(&mut input, &pool, &stream[sent..sent + some]);
            }
            let count = usize::try_from(random(input.unread().len() as u64 + 1)).unwrap();
            assert!(input.unread()[..count] == stream[seen..seen + count]);
            input.consume(count);
            seen += count;
            largest = largest.max(input.unread().len());
            if random(10) == 0 {
                input.expect(random(2) == 0);
            }
        }
        assert!(largest > 32 * 1024, "the buffer grew");
        assert_eq!(pool.available(1), 5, "one buffer is in use");
    }

    #[test]
    fn the_buffer_follows_the_load_up_and_down() {
        let pool = pool();
        let mut input = Input::new(pool.take(INPUT_BYTES).unwrap());
        let capacity = |input: &Input| input.buf.as_ref().unwrap().capacity();
        let sent = [1; 100_000];
        for (bytes, expect) in
            [(20_000, INPUT_BYTES), (70_000, LOAD_BYTES), (100, LOAD_BYTES), (100, INPUT_BYTES)]
        {
            receive(&mut input, &pool, &sent[..bytes]);
            assert_eq!(capacity(&input), expect);
            input.consume(input.unread().len());
        }
        input.expect(true);
        receive(&mut input, &pool, &sent[..100]);
        assert_eq!(capacity(&input), PEEK_BYTES);
        input.expect(false);
        input.consume(100);
        receive(&mut input, &pool, &sent[..100]);
        assert_eq!(capacity(&input), INPUT_BYTES);
    }

    #[test]
    fn an_empty_pool_leaves_the_buffer_that_is_there() {
        let pool = pool();
        let mut input = Input::new(pool.take(4096).unwrap());
        assert_eq!(receive(&mut input, &pool, &[7; 5000]), 4096);
        input.consume(4000);
        let mut target = input.target(|_| None).unwrap();
        assert_eq!((target.bytes(), target.room()), (&[7; 96][..], 4000));
        target.append(&[8; 4000]).unwrap();
        input.on_received(target, 4000);
        assert!(input.target(|_| None).is_none(), "full, and nothing else to be had");
        assert_eq!(input.unread().len(), 4096);
    }
}
