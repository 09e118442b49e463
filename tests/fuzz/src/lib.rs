//! What the fuzz targets share: repaired checksums, numbers out of fuzz input, a driver for streams cut into pieces.
//!
//! A checksum stops a fuzzer at the door. Each target therefore hands the decoder its input twice: as it is, and with the
//! checksums computed anew, so that every check behind them is reached.

pub mod input;
#[path = "../../../dataplane/format/tests/samples/repair.rs"]
pub mod repair;
pub mod frames;
pub mod nbd;
#[path = "../../../tools/midspan/src/cli/http.rs"]
pub mod http;
