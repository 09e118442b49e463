//! Finding out what a ring holds, whose history that is, and bringing disks to it.

pub mod lineage;
pub mod walk;
