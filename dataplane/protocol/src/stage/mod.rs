//! The stages a record passes, each blind to the others; roles route between them.

pub mod inflight;
pub mod ring_read;
pub mod framed;
pub mod area;
pub mod area_scan;
pub mod guard;
pub mod tracker;
pub mod unreceived;
pub mod resend;
pub mod state_store;
pub mod tally;
pub mod applier;
pub mod frame_pool;
pub mod sealer;
pub mod manifests;
pub mod recall;
pub mod receipts;
pub mod landing;
pub mod throttle;
pub mod round;
pub mod verification;
pub mod acquirer;
pub mod fetcher;
pub mod cut;
pub mod course;
