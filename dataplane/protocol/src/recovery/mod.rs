//! Finding out what a ring holds, and bringing disks to it.

pub mod walk;
