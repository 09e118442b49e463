//! A model of who may answer, checked in every reachable state: fence, takeover, lane set and leaving the lanes (I1, I5, I11).
//!
//! The simulator plays histories of the real machines; this plays *all* histories of a small model of them, for lane sets
//! that the code does not have yet, too. What an action stands for in the code: `docs/model.md`.
//!
//! ```text
//!  vocab ─▶ promise ─▶ rule (which sentence is left out) ─▶ bounds ─▶ state ─▶ action ─▶ step/* ─▶ check ─▶ scenario ─▶ run
//! ```

pub mod clock;
pub mod vocab;
pub mod promise;
pub mod rule;
pub mod bounds;
pub mod state;
pub mod action;
pub mod step;
pub mod check;
pub mod scenario;
pub mod run;
