//! Writes the seed corpora anew, from the golden files of the formats and the example configurations.
//!
//! `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`

use std::fs;
use std::path::{Path, PathBuf};

use midspan_daemon::api::types::{
    AloneVolume, ApiError, AreaStatus, ChangeProgress, ErrorBody, Event, ExportStatus, GroupConfig,
    GroupRecording, GroupStatus, HeldAlone, KeptManifests, LaneStatus, NodeStatus, OperationStatus,
    ResolveRequest, ShardRecording, TakeoverOutcome, TakeoverProgress, TakeoverRequest, TraceEvent,
    TraceStage,
};
use midspan_format::checked::CheckedFrame;
use midspan_format::frame::HEADER_BYTES;
use midspan_format::geometry::BLOCK;
use midspan_fuzz::repair::RECORD;
use midspan_protocol::host::nbd_wire::{
    EXTENDED_REQUEST_MAGIC, OPTION_MAGIC, REQUEST_MAGIC, cmd, cmd_flag, opt,
};

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = Seeds { golden: here.join("../../dataplane/format/golden"), corpus: here.join("corpus") };
    seeds.frames()?;
    seeds.blocks()?;
    seeds.messages()?;
    seeds.nbd()?;
    seeds.api()?;
    seeds.configurations(&here.join("../../deploy/examples"))
}

struct Seeds {
    golden: PathBuf,
    corpus: PathBuf,
}

impl Seeds {
    fn write(&self, target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let folder = self.corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    }

    fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        fs::read(self.golden.join(format!("{name}.bin")))
    }

    /// Golden files whose name starts so, with the rest of the name.
    fn read_all(&self, start: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.golden)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_prefix(start).and_then(|name| name.strip_suffix(".bin")) {
                found.push((name.to_owned(), self.read(&format!("{start}{name}"))?));
            }
        }
        Ok(found)
    }

    fn frames(&self) -> std::io::Result<()> {
        for (name, bytes) in self.read_all("frame-")? {
            let header = &bytes[..HEADER_BYTES];
            self.write("frame", &name, &bytes)?;
            self.write("frame_header", &name, header)?;
            if name == "empty" {
                // In the last block that 64 bits can name: no frame ends behind it.
                let beyond = [&header[..56], &(u64::MAX - 4095).to_le_bytes(), &header[64..]].concat();
                self.write("frame_header", "beyond", &beyond)?;
            }
            self.write("message_block", &format!("frame-{name}"), header)?;
            let frame = CheckedFrame::parse(&bytes).expect("a golden frame");
            let entries = frame.header().records as usize;
            let table = &bytes[HEADER_BYTES..HEADER_BYTES + frame.header().table_length as usize];
            // Ahead of the table: first time, span of times, then what the target reads.
            let times = [0, 0, 0xFF, 0];
            match name.as_str() {
                "manifest" => {
                    let count = [entries as u8, 0];
                    let lists = &table[..table.len() - 16];
                    self.write("manifest", &name, &[&times[..], &[0], &count, lists].concat())?;
                }
                "receipt" => {
                    let (lanes, root) = table.split_at(table.len() - 40);
                    self.write("receipt", &name, &[&times[..], &[0], &root[..32], lanes].concat())?;
                }
                _ => {
                    let mut records = table[..entries * RECORD].to_vec();
                    for (index, time) in records.chunks_mut(RECORD).enumerate() {
                        time[..8].copy_from_slice(&(index as u64).to_le_bytes());
                    }
                    self.write("record_table", &name, &[&times[..], &[0, 0], &records].concat())?;
                }
            }
            for record in frame.records().filter(|record| frame.mark(record).is_some()) {
                let seed = [&[record.kind], trimmed(frame.data(&record))].concat();
                self.write("mark", &format!("kind-{}", record.kind), &seed)?;
            }
        }
        Ok(())
    }

    fn blocks(&self) -> std::io::Result<()> {
        for target in ["area", "node", "permit", "state"] {
            let block = self.read(target)?;
            // Whole, and without zeroes and checksum, which the target adds.
            self.write(target, "whole", &block)?;
            self.write(target, "content", trimmed(&block[..BLOCK - 8]))?;
        }
        for (name, block) in self.read_all("dirty-")? {
            let index: u8 = name.parse().expect("a number");
            self.write("dirty_map", &name, &[&[index], trimmed(&block)].concat())?;
        }
        Ok(())
    }

    fn messages(&self) -> std::io::Result<()> {
        for (name, bytes) in self.read_all("message-")? {
            self.write("message", &name, &bytes)?;
            self.write("message_block", &name, &bytes)?;
        }
        self.write("heartbeat", "whole", &self.read("heartbeat")?)?;
        for start in ["command-", "report-"] {
            for (name, bytes) in self.read_all(start)? {
                self.write("control", &format!("{start}{name}"), &bytes)?;
            }
        }
        Ok(())
    }

    fn nbd(&self) -> std::io::Result<()> {
        let cuts = [5, 1, 40, 3];
        let flags = 3_u32.to_be_bytes();
        let name = [&1_u32.to_be_bytes()[..], b"a"].concat();
        let facts = [&name[..], &[0, 2, 0, 1, 0, 2]].concat();
        let query = [&15_u32.to_be_bytes()[..], b"base:allocation"].concat();
        let contexts = [&name[..], &1_u32.to_be_bytes(), &query].concat();
        let structured =
            [option(opt::STRUCTURED_REPLY, &[]), option(opt::SET_META_CONTEXT, &contexts)].concat();
        let asking = [option(opt::LIST, &[]), option(opt::INFO, &facts), option(opt::ABORT, &[])].concat();
        let talks = [
            ("go", option(opt::GO, &facts)),
            ("asking", asking),
            ("structured", [structured.clone(), option(opt::GO, &facts)].concat()),
            (
                "extended",
                [
                    option(opt::EXTENDED_HEADERS, &[]),
                    option(opt::LIST_META_CONTEXT, &contexts),
                    option(opt::SET_META_CONTEXT, &contexts),
                    option(opt::GO, &facts),
                ]
                .concat(),
            ),
            ("export-name", option(opt::EXPORT_NAME, b"a")),
            ("too-long", [option(opt::LIST, &[0; 17 << 10]), option(opt::GO, &facts)].concat()),
        ];
        for (talk, options) in talks {
            self.write("nbd_negotiation", talk, &[&cuts[..], &flags, &options].concat())?;
        }
        for (mode, kind) in [(0, "simple"), (1, "structured"), (2, "extended")] {
            // Mode, both contexts, byte-granular, size, writable, able to do everything.
            let session = [&[mode, 3, 0][..], &(1_u32 << 20).to_le_bytes(), &[0, 1, 1, 1]].concat();
            let request =
                |flags, command, length, payload: &[u8]| request(mode == 2, flags, command, length, payload);
            let requests = [
                request(0, cmd::WRITE, 16, &[0xA5; 16]),
                request(cmd_flag::FUA, cmd::WRITE, 8, &[0x5A; 8]),
                request(0, cmd::READ, 4096, &[]),
                request(0, cmd::TRIM, 512, &[]),
                request(cmd_flag::NO_HOLE, cmd::WRITE_ZEROES, 65536, &[]),
                request(0, cmd::CACHE, 512, &[]),
                request(cmd_flag::REQ_ONE, cmd::BLOCK_STATUS, 65536, &[]),
                request(cmd_flag::PAYLOAD_LEN, cmd::BLOCK_STATUS, 12, &[0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 1]),
                request(0, cmd::DISC, 0, &[]),
            ];
            self.write("nbd_transmission", kind, &[&session[..], &cuts, &requests.concat()].concat())?;
        }
        Ok(())
    }

    /// One body of each kind with something in it, a few queries, and a response of each length.
    fn api(&self) -> std::io::Result<()> {
        let group = GroupStatus { lanes: vec![LaneStatus::default()], ..GroupStatus::default() };
        let status = NodeStatus { groups: vec![group.clone()], ..NodeStatus::default() };
        let alone = HeldAlone { volumes: vec![AloneVolume::default()], ..HeldAlone::default() };
        let taken =
            TakeoverProgress { outcome: Some(TakeoverOutcome::default()), ..TakeoverProgress::default() };
        let changed = ChangeProgress { error: Some(ApiError::default()), ..ChangeProgress::default() };
        let event = TraceEvent(1, TraceStage::Sealed, 2, 3, 4, 5);
        let shard = ShardRecording { events: vec![event], ..ShardRecording::default() };
        let recording = GroupRecording { shards: vec![shard], ..GroupRecording::default() };
        let bodies = [
            ("takeover-request", json(&TakeoverRequest::default())),
            ("resolve-request", json(&ResolveRequest { keep: "site-a".into() })),
            ("status", json(&status)),
            ("group", json(&group)),
            ("group-config", json(&GroupConfig::default())),
            ("recording", json(&recording)),
            ("manifests", json(&KeptManifests::default())),
            ("alone", json(&alone)),
            ("areas", json(&[AreaStatus::default()])),
            ("exports", json(&[ExportStatus::default()])),
            ("error", json(&ErrorBody::default())),
            ("takeover-progress", json(&taken)),
            ("change-progress", json(&changed)),
            ("event", json(&Event::default())),
            ("operation", json(&OperationStatus::default())),
        ];
        for (name, body) in bodies {
            self.write("api", name, &body)?;
        }
        self.write("query", "wanted", b"group=vault&after=7&limit=10000")?;
        self.write("query", "after", b"after=12,34")?;
        let answers = [
            ("known", "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabcdef"),
            (
                "chunked",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            ),
            ("to-end", "HTTP/1.1 200 OK\r\n\r\nabc"),
        ];
        for (name, answer) in answers {
            self.write("http", name, &[&[2], answer.as_bytes()].concat())?;
        }
        Ok(())
    }

    /// The examples, and one of them with numbers at and beyond what 64 bits hold.
    fn configurations(&self, examples: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(examples)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_file() {
                self.write("config", &name, &fs::read(&path)?)?;
                continue;
            }
            for file in fs::read_dir(&path)? {
                let file = file?;
                let name = format!("{name}-{}", file.file_name().to_string_lossy());
                self.write("config", &name, &fs::read(file.path())?)?;
            }
        }
        let site = fs::read_to_string(examples.join("site-a.toml"))?;
        let beyond = [
            ("id", "id = 1\n", "id = 65536\n"),
            ("size", "\"10GiB\"", "\"16777216TiB\""),
            ("largest", "\"10GiB\"", "\"18446744073709551615B\""),
            ("lease", "\"500ms\"", "\"307445734561825861min\""),
            ("longest", "\"500ms\"", "\"18446744073709551615s\""),
        ];
        for (name, old, new) in beyond {
            assert!(site.contains(old), "the example has no {old}");
            self.write("config", &format!("beyond-{name}.toml"), site.replace(old, new).as_bytes())?;
        }
        Ok(())
    }
}

fn json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("a body")
}

/// Without the zeroes at its end.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    [&OPTION_MAGIC.to_be_bytes()[..], &code.to_be_bytes(), &length, data].concat()
}

fn request(is_extended: bool, flags: u16, command: u16, length: u32, payload: &[u8]) -> Vec<u8> {
    let magic = if is_extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC };
    let wide = u64::from(length).to_be_bytes();
    let length = if is_extended { &wide[..] } else { &wide[4..] };
    let offset = if command == cmd::DISC { 0_u64 } else { 4096 };
    let start = [&magic.to_be_bytes()[..], &flags.to_be_bytes(), &command.to_be_bytes()].concat();
    [&start[..], &7_u64.to_be_bytes(), &offset.to_be_bytes(), length, payload].concat()
}
