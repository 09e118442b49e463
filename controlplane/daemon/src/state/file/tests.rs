//! What a file holds after writes, ends without warning, and damage.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::api::types::{Level, OperationState};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midspan-state-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn event(seq: u64) -> Event {
    let message = format!("event {seq} {}", "x".repeat(usize::try_from(seq % 97).unwrap()));
    let (kind, object) = ("test".to_owned(), "group:vault".to_owned());
    Event { seq, time_ns: seq * 7, level: Level::Warn, kind, object, message, hint: "look".into() }
}

fn operation(number: u64, state: OperationState) -> OperationStatus {
    OperationStatus { operation: number, state, group: "vault".into(), ..OperationStatus::default() }
}

fn events(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(|seq| Entry::Event(event(seq))).collect()
}

fn new(path: &Path) -> File {
    File::create(path).unwrap();
    File::open(path).unwrap().0
}

#[test]
fn what_was_written_is_read_again_in_order() {
    let folder = Folder::new("order");
    let path = folder.file("a.redb");
    let file = new(&path);
    file.write(&events(1..4)).unwrap();
    file.write(&[Entry::Operation(operation(2, OperationState::Running))]).unwrap();
    file.write(&[Entry::Operation(operation(1, OperationState::Done)), Entry::Event(event(4))]).unwrap();
    file.write(&[Entry::Operation(operation(2, OperationState::Refused))]).unwrap();
    drop(file);
    let (_, kept) = File::open(&path).unwrap();
    assert_eq!(kept.events, (1..5).map(event).collect::<Vec<_>>());
    let expected = [operation(1, OperationState::Done), operation(2, OperationState::Refused)];
    assert_eq!(kept.operations, expected);
}

#[test]
fn which_rounds_are_held_is_read_again_also_from_a_file_without_that_table() {
    let folder = Folder::new("held");
    let path = folder.file("a.redb");
    let file = new(&path);
    let transaction = file.database.begin_write().unwrap();
    transaction.delete_table(HELD).unwrap();
    transaction.commit().unwrap();
    drop(file);
    let (file, kept) = File::open(&path).unwrap();
    assert!(kept.held.is_empty());
    let entry = |group: &str, held| Entry::Held { group: group.into(), held };
    file.write(&[entry("vault", true), entry("db", true), entry("vault", false), entry("mail", true)])
        .unwrap();
    drop(file);
    assert_eq!(File::open(&path).unwrap().1.held, ["db", "mail"]);
}

#[test]
fn the_oldest_are_dropped() {
    let folder = Folder::new("oldest");
    let path = folder.file("a.redb");
    let file = new(&path);
    let limit = u64::try_from(events::KEPT).unwrap();
    file.write(&events(1..limit + 1)).unwrap();
    file.write(&events(limit + 1..limit + 9)).unwrap();
    drop(file);
    let (_, kept) = File::open(&path).unwrap();
    assert_eq!((kept.events.len(), kept.events[0].seq), (events::KEPT, 9));
}

#[test]
fn a_process_that_is_killed_leaves_every_commit_behind() {
    let folder = Folder::new("killed");
    let (path, copy) = (folder.file("a.redb"), folder.file("copy.redb"));
    let file = new(&path);
    for commit in 0..20u64 {
        // What the disk holds now is what a kill leaves: the open file was never closed.
        std::fs::copy(&path, &copy).unwrap();
        let (_, kept) = File::open(&copy).unwrap();
        assert_eq!(kept.events, (1..commit * 3 + 1).map(event).collect::<Vec<_>>());
        file.write(&events(commit * 3 + 1..commit * 3 + 4)).unwrap();
    }
}

#[test]
fn a_file_that_was_half_made_is_not_in_the_way() {
    let folder = Folder::new("half");
    let path = folder.file("a.redb");
    std::fs::write(folder.file("a.redb.new"), "half").unwrap();
    File::create(&path).unwrap();
    assert_eq!(File::open(&path).unwrap().1, Kept::default());
}

#[test]
fn damage_is_found_or_changes_nothing() {
    let folder = Folder::new("damage");
    let path = folder.file("a.redb");
    let file = new(&path);
    for commit in 0..20u64 {
        file.write(&events(commit * 20 + 1..commit * 20 + 21)).unwrap();
    }
    drop(file);
    let whole = std::fs::read(&path).unwrap();
    let expected: Vec<Event> = (1..401).map(event).collect();
    let mut found = 0;
    for case in 0..120usize {
        let mut bytes = whole.clone();
        let at = case * 7919 * 64 % whole.len();
        match case % 4 {
            0 => bytes[at] ^= 1 << (case % 8),
            1 => bytes.truncate(at),
            2 => {
                let page = at & !4095;
                bytes[page..page + 4096].fill(0);
            }
            _ => bytes[at..].iter_mut().step_by(501).for_each(|byte| *byte = byte.wrapping_add(1)),
        }
        std::fs::write(&path, &bytes).unwrap();
        // A panic is found damage, too: it ends the process that reads a file first.
        match catch_unwind(AssertUnwindSafe(|| File::open(&path))) {
            Ok(Ok((_, kept))) => assert_eq!(kept.events, expected, "case {case}"),
            Ok(Err(_)) | Err(_) => found += 1,
        }
    }
    assert!(found > 40, "{found}");
}

#[test]
fn another_kind_of_file_is_refused_and_left_alone() {
    let folder = Folder::new("foreign");
    let path = folder.file("a.redb");
    let text = "something else, and not a short one: ".repeat(400);
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(File::open(&path), Err(Unusable::Refused(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_not_called_damaged() {
    let folder = Folder::new("newer");
    let path = folder.file("a.redb");
    let file = new(&path);
    let transaction = file.database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(b"version".as_slice(), VERSION + 1).unwrap();
    transaction.commit().unwrap();
    drop(file);
    let Err(Unusable::Refused(why)) = File::open(&path) else { panic!("it was opened") };
    assert!(why.contains("version is 2"), "{why}");
}

#[test]
fn a_file_that_is_open_elsewhere_is_refused() {
    let folder = Folder::new("open");
    let path = folder.file("a.redb");
    let _file = new(&path);
    assert!(matches!(File::open(&path), Err(Unusable::Refused(_))));
}
