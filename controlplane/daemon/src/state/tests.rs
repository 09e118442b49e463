//! What a node does with the state that it finds.

use super::*;
use crate::api::types::Event;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("midspan-kept-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open_here(path: &Path) -> State {
    open_with(path, 5_000_000_000, |_| Ok(()))
}

fn event(seq: u64) -> Event {
    Event { seq, kind: "test".into(), ..Event::default() }
}

#[test]
fn what_is_kept_is_there_after_the_next_start() {
    let folder = Folder::new("again");
    let path = folder.0.join("a.redb");
    let State { writer, kept, tells } = open_here(&path);
    assert_eq!((kept, tells), (Kept::default(), Vec::new()));
    let mut writer = writer.unwrap();
    for seq in 1..=500 {
        writer.keep(Entry::Event(event(seq))).unwrap();
    }
    assert!(writer.finish());
    let State { kept, tells, .. } = open_here(&path);
    assert_eq!((kept.events.len(), kept.events[499].seq), (500, 500));
    assert!(tells.is_empty());
}

#[test]
fn a_damaged_file_is_put_aside_and_told_of() {
    let folder = Folder::new("damaged");
    let path = folder.0.join("a.redb");
    assert!(open_here(&path).writer.unwrap().finish());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let State { writer, kept, tells } = open_here(&path);
    assert_eq!(kept, Kept::default());
    let [tell] = &tells[..] else { panic!("{tells:?}") };
    assert_eq!(tell.kind, "state_damaged");
    assert!(tell.message.contains("a.redb.damaged-5") && !tell.hint.is_empty(), "{tell:?}");
    assert!(writer.unwrap().finish());
    assert_eq!(folder.files(), ["a.redb", "a.redb.damaged-5"]);
    assert_eq!(std::fs::read(folder.0.join("a.redb.damaged-5")).unwrap().len(), whole.len() / 2);
}

#[test]
fn a_file_on_which_the_reader_crashes_is_put_aside_too() {
    let folder = Folder::new("crash");
    let path = folder.0.join("a.redb");
    std::fs::write(&path, "on this the library would panic").unwrap();
    let crashes = |_: &Path| Err(Unusable::Damaged("it cannot be read".into()));
    let State { writer, tells, .. } = open_with(&path, 7_000_000_000, crashes);
    assert!(writer.is_some() && tells[0].kind == "state_damaged", "{tells:?}");
}

#[test]
fn a_node_goes_on_without_what_it_cannot_use_and_leaves_it_alone() {
    let folder = Folder::new("without");
    let foreign = folder.0.join("foreign");
    std::fs::write(&foreign, "precious ".repeat(1000)).unwrap();
    for path in [foreign, folder.0.join("no/such/folder.redb"), folder.0.clone()] {
        let State { writer, tells, .. } = open_here(&path);
        let [tell] = &tells[..] else { panic!("{tells:?}") };
        assert!(writer.is_none() && tell.kind == "state_unusable" && !tell.hint.is_empty(), "{tell:?}");
        assert!(tell.message.contains(&path.display().to_string()), "{tell:?}");
    }
    assert_eq!(folder.files(), ["foreign"]);
}

#[test]
fn the_state_lies_beside_the_socket_unless_systemd_has_a_place_for_it() {
    // The variable is systemd's: tests do not set it.
    if std::env::var_os("STATE_DIRECTORY").is_none() {
        let place = default_place("site-a", Path::new("/run/midspan/api.sock"));
        assert_eq!(place, Path::new("/run/midspan/site-a.redb"));
    }
}
