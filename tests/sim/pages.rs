//! Bytes in blocks that copies share: a copy of a disk costs its pointers, and nobody compares a block with itself.

use std::cell::RefCell;
use std::rc::Rc;

use midspan_format::geometry::BLOCK;

static ZEROES: [u8; BLOCK] = [0; BLOCK];

/// Blocks that are kept for new pages, at most: memory that goes to the allocator and back costs more than what is written to it.
const SPARE: usize = 8192;

thread_local! {
    static SPARES: RefCell<Vec<Rc<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// One block. Clones share its bytes until one of them is changed.
#[derive(Clone, Debug, Default)]
pub struct Page(Option<Rc<[u8]>>);

impl Page {
    /// A block of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        assert!(bytes.len() == BLOCK, "a page is one block");
        let mut spare = SPARES.with_borrow_mut(Vec::pop);
        if let Some(block) = spare.as_mut().and_then(Rc::get_mut) {
            block.copy_from_slice(bytes);
        }
        Self(Some(spare.unwrap_or_else(|| Rc::from(bytes))))
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&ZEROES)
    }

    /// Whether it was never written, or is zeroed: what else holds zeroes is not known.
    pub fn is_zero(&self) -> bool {
        self.0.is_none()
    }

    /// Changes some of it.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.0.as_mut().is_none_or(|page| Rc::get_mut(page).is_none()) {
            *self = Self::new(self.bytes());
        }
        if let Some(page) = self.0.as_mut().and_then(Rc::get_mut) {
            page[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Whether both are one block in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(first), Some(second)) => Rc::ptr_eq(first, second),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let Some(page) = self.0.take().filter(|page| Rc::strong_count(page) == 1) else { return };
        // A thread that ends has no spare blocks any more.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(page);
            }
        });
    }
}

impl PartialEq for Page {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.bytes() == other.bytes()
    }
}

/// Blocks in a row, all of zeroes at first.
#[derive(Clone, Debug, Default)]
pub struct Pages(Vec<Page>);

impl Pages {
    /// So many bytes, in whole blocks.
    pub fn new(size: usize) -> Self {
        assert!(size.is_multiple_of(BLOCK), "whole blocks");
        Self(vec![Page::default(); size / BLOCK])
    }

    /// Bytes in all.
    pub fn size(&self) -> usize {
        self.0.len() * BLOCK
    }

    /// All blocks.
    pub fn pages(&self) -> &[Page] {
        &self.0
    }

    /// The same, to be replaced.
    pub fn pages_mut(&mut self) -> &mut [Page] {
        &mut self.0
    }

    /// The block that begins here.
    pub fn page(&self, offset: usize) -> &Page {
        &self.0[offset / BLOCK]
    }

    /// The bytes from here to the end of the block.
    pub fn at(&self, offset: usize) -> &[u8] {
        &self.0[offset / BLOCK].bytes()[offset % BLOCK..]
    }

    /// Adds what is there to `bytes`.
    pub fn append_to(&self, bytes: &mut Vec<u8>, offset: usize, length: usize) {
        let mut at = offset;
        while at < offset + length {
            let found = self.at(at);
            let piece = &found[..found.len().min(offset + length - at)];
            bytes.extend_from_slice(piece);
            at += piece.len();
        }
    }

    /// Puts bytes there.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((BLOCK - at % BLOCK).min(rest.len()));
            let page = &mut self.0[at / BLOCK];
            if piece.len() == BLOCK {
                *page = Page::new(piece);
            } else {
                page.write(at % BLOCK, piece);
            }
            at += piece.len();
            rest = behind;
        }
    }

    /// Puts zeroes there.
    pub fn zero(&mut self, offset: usize, length: usize) {
        let mut at = offset;
        while at < offset + length {
            let piece = (BLOCK - at % BLOCK).min(offset + length - at);
            let page = &mut self.0[at / BLOCK];
            if piece == BLOCK {
                *page = Page::default();
            } else {
                page.write(at % BLOCK, &ZEROES[..piece]);
            }
            at += piece;
        }
    }

    /// A bit of this byte is another one.
    pub fn flip(&mut self, offset: usize) {
        let changed = [self.at(offset)[0] ^ 4];
        self.0[offset / BLOCK].write(offset % BLOCK, &changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_was() {
        let mut pages = Pages::new(3 * BLOCK);
        pages.write(100, &vec![7; 2 * BLOCK]);
        let copy = pages.clone();
        assert!(copy.pages().iter().zip(pages.pages()).all(|(copy, page)| copy.is_same(page)));
        pages.flip(BLOCK);
        pages.zero(0, BLOCK);
        let mut bytes = Vec::new();
        copy.append_to(&mut bytes, 0, 3 * BLOCK);
        let wanted: Vec<u8> =
            (0..3 * BLOCK).map(|at| if (100..100 + 2 * BLOCK).contains(&at) { 7 } else { 0 }).collect();
        assert_eq!(bytes, wanted);
        assert_eq!((pages.at(0)[100], pages.at(BLOCK)[..2].to_vec()), (0, vec![3, 7]));
        assert!(copy.pages()[2].is_same(&pages.pages()[2]) && copy.pages()[1] != pages.pages()[1]);
        let mut part = Vec::new();
        pages.append_to(&mut part, BLOCK - 1, BLOCK + 2);
        assert_eq!((part.len(), &part[..3]), (BLOCK + 2, &[0, 3, 7][..]));
    }
}
