//! Manifest tables behind right checksums: reader and sealer must accept the same and agree on every byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::FrameKind;
use midspan_format::manifest::{
    MANIFEST_ENTRY_BYTES, MAX_MANIFEST_ENTRIES, ManifestEntry, ManifestTable, REGION_RUN_BYTES, RegionRun,
};
use midspan_format::seal::{manifest_head_length, seal_manifest};
use midspan_fuzz::frames;
use midspan_fuzz::input::Input;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mut header = frames::header(FrameKind::Manifest, &mut input);
    let has_odd_root = input.byte() & 7 == 7;
    let count = usize::from(input.u16()) % (MAX_MANIFEST_ENTRIES + 2);
    let count = count.min(input.rest().len() / MANIFEST_ENTRY_BYTES);
    let entries: Vec<[u8; MANIFEST_ENTRY_BYTES]> = (0..count).map(|_| input.array()).collect();
    let count = input.rest().len() / REGION_RUN_BYTES;
    let runs: Vec<[u8; REGION_RUN_BYTES]> = (0..count).map(|_| input.array()).collect();
    let wanted = ManifestTable {
        entries: entries.iter().map(entry).collect(),
        regions: runs.iter().map(run).collect(),
    };

    let runs_bytes = runs.concat();
    let mut table = [entries.concat(), runs_bytes.clone()].concat();
    // Both lists lie behind each other, their places are counted from the list's own place in the root.
    let root =
        [frames::list(table.len(), entries.len()), frames::list(runs_bytes.len() + 8, runs.len())].concat();
    table.extend_from_slice(&if has_odd_root { input.array::<16>() } else { root.try_into().unwrap() });
    let bytes = frames::assemble(header, &table, entries.len(), &[]);
    let parsed = CheckedFrame::parse(&bytes);
    if let Ok(frame) = &parsed {
        frames::holds(frame, &bytes);
        frames::reseals(frame, &bytes);
    }
    if has_odd_root {
        return;
    }
    if let Ok(frame) = &parsed {
        let view = frame.manifest().expect("a manifest");
        assert!(view.entries.iter().eq(wanted.entries.iter().copied()));
        assert!(view.regions.iter().eq(wanted.regions.iter().copied()));
    }
    let mut out = vec![0xEE; manifest_head_length(entries.len(), runs.len())];
    let sealed = seal_manifest(&mut header, &wanted, &mut out);
    assert_eq!(sealed.is_ok(), parsed.is_ok(), "{sealed:?} {:?}", parsed.map(|_| ()));
    if sealed.is_ok() && !entries.is_empty() && !runs.is_empty() {
        assert!(out == bytes, "sealed and assembled manifests differ");
    }
});

fn entry(bytes: &[u8; MANIFEST_ENTRY_BYTES]) -> ManifestEntry {
    let mut input = Input::new(bytes);
    ManifestEntry {
        epoch_number: input.u64(),
        sequence: input.u64(),
        position: input.u64(),
        first_time: input.u64(),
        last_time: input.u64(),
        header_checksum: input.u64(),
        epoch_node: input.u32(),
        length: input.u32(),
        first_region: input.u32(),
        regions: input.u32(),
        lane: input.u16(),
        origin_lane: input.u16(),
        data_at: input.u32(),
    }
}

fn run(bytes: &[u8; REGION_RUN_BYTES]) -> RegionRun {
    let mut input = Input::new(bytes);
    RegionRun { volume: input.u32(), first: input.u32(), count: input.u32() }
}
