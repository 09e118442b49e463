//! The daemon of a node, site or relay.

use std::process::ExitCode;

fn main() -> ExitCode {
    midspan_daemon::command::main()
}
