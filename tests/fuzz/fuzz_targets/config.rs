//! Configuration files: any text is read or refused with its line, and whatever is read can be checked.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use midspan_daemon::config::{Config, ConfigError, Finding, check_together};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = match Config::parse(Path::new("node.toml"), text) {
        Ok(config) => config,
        Err(ConfigError::Parse(finding)) => return names_a_line(&finding, text),
        Err(ConfigError::Read { .. }) => panic!("a text is not read from a file"),
    };
    config.check().iter().for_each(|finding| names_a_line(finding, text));
    let both = [config.clone(), config];
    let findings = check_together(&both);
    assert!(!findings.is_empty(), "two nodes of the same id do not fit");
    findings.iter().for_each(|finding| names_a_line(finding, text));
});

fn names_a_line(finding: &Finding, text: &str) {
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    assert!((1..=lines).contains(&finding.line), "{finding}");
    assert!(!finding.message.is_empty() && finding.to_string().starts_with("node.toml:"));
}
