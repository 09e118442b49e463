//! The pool: classes, counting, the append-only rule, exhaustion.

use super::*;

fn pool(classes: &[(usize, usize)]) -> Pool {
    let classes: Vec<Class> = classes.iter().map(|&(size, count)| Class { size, count }).collect();
    Pool::new(&classes, false).unwrap()
}

fn free(pool: &Pool) -> Vec<usize> {
    pool.classes().map(|(_, free)| free).collect()
}

#[test]
fn the_smallest_class_that_fits_is_used_then_larger_ones() {
    let pool = pool(&[(65536, 1), (4096, 1)]);
    let small = pool.take(100).unwrap();
    let large = pool.take(100).unwrap();
    assert_eq!((small.capacity(), large.capacity()), (4096, 65536));
    assert!(pool.take(1).is_none());
    assert_eq!(pool.available(1), 0);
    drop(small);
    assert!(pool.take(4097).is_none());
    assert_eq!(pool.take(4096).unwrap().capacity(), 4096);
    drop(large);
    assert_eq!(free(&pool), [1, 1]);
}

#[test]
fn the_last_handle_returns_the_buffer() {
    let pool = pool(&[(4096, 2)]);
    let first = pool.take(1).unwrap();
    let second = first.clone();
    assert!(first.same_buffer(&second) && !first.is_unique());
    drop(first);
    assert_eq!(free(&pool), [1]);
    assert!(second.is_unique());
    drop(second);
    assert_eq!(free(&pool), [2]);
}

#[test]
fn buffers_are_aligned_and_disjoint() {
    let pool = pool(&[(4096, 3), (8192, 3)]);
    let mut all: Vec<Buf> = std::iter::from_fn(|| pool.take(1)).collect();
    for (buf, number) in all.iter_mut().zip(0_u8..) {
        assert!((buf.address(0).as_ptr() as usize).is_multiple_of(4096));
        buf.bytes_mut().unwrap().fill(number);
        let capacity = buf.capacity();
        buf.set_filled(capacity);
    }
    for (buf, number) in all.iter().zip(0_u8..) {
        assert!(buf.bytes().iter().all(|&byte| byte == number));
    }
    assert_eq!(all.len(), 6);
}

#[test]
fn shared_buffers_cannot_be_changed_but_can_be_appended_to() {
    let pool = pool(&[(4096, 1)]);
    let mut first = pool.take(1).unwrap();
    assert_eq!(first.append(b"abc"), Some(0..3));
    let mut second = first.clone();
    assert!(first.bytes_mut().is_none());
    let seen = first.bytes();
    assert_eq!(second.append(b"def"), Some(3..6));
    assert_eq!(seen, b"abc");
    assert_eq!(second.bytes(), b"abcdef");
    assert_eq!(first.bytes(), b"abcdef");
    assert_eq!(first.append(&[0; 4091]), None);
}

#[test]
fn a_buffer_that_is_being_received_into_takes_no_second_receiver_and_no_append() {
    let pool = pool(&[(4096, 1)]);
    let mut buf = pool.take(1).unwrap();
    assert!(buf.begin_receive());
    assert!(!buf.begin_receive());
    assert_eq!(buf.append(b"x"), None);
    buf.end_receive(5);
    assert_eq!(buf.filled(), 5);
    assert!(buf.append(b"x").is_some());
}

#[test]
#[should_panic(expected = "sole handle")]
fn filled_cannot_fall_while_another_handle_reads() {
    let pool = pool(&[(4096, 1)]);
    let mut buf = pool.take(1).unwrap();
    let _reader = buf.clone();
    buf.set_filled(0);
}

#[test]
fn impossible_classes_are_refused() {
    for class in [(0, 1), (4096, 0), (100, 1), (2 << 30, 1)] {
        let class = Class { size: class.0, count: class.1 };
        assert!(Pool::new(&[class], false).is_err(), "{class:?}");
    }
    assert!(Pool::new(&[], false).is_err());
}

#[test]
fn slots_do_not_cross_the_border_of_a_registered_chunk() {
    let classes = [Class { size: 4096, count: 1 }, Class { size: 3 << 28, count: 2 }];
    let (placements, length) = place(&classes).unwrap();
    let chunks: Vec<(usize, u16)> = placements.iter().map(|place| (place.offset, place.chunk)).collect();
    assert_eq!(chunks, [(0, 0), (4096, 0), (1 << 30, 1)]);
    assert_eq!(length, (1 << 30) + (3 << 28));
}

#[test]
fn huge_pages_fall_back_to_what_is_there() {
    let pool = Pool::new(&[Class { size: 4096, count: 4 }], true).unwrap();
    assert_ne!(pool.pages(), Pages::Small);
    let mut buf = pool.take(1).unwrap();
    assert_eq!(buf.append(&[7; 4096]), Some(0..4096));
}

#[test]
fn memory_lives_as_long_as_the_last_buffer() {
    let pool = pool(&[(4096, 1)]);
    let mut buf = pool.take(1).unwrap();
    drop(pool);
    assert_eq!(buf.append(b"still here"), Some(0..10));
    assert_eq!(buf.bytes(), b"still here");
}
