//! Starts other programs, shows each command line, and counts the tests they report.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Whether a program of this name is on the path.
pub fn exists(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&folders).chain(system).any(|folder| folder.join(program).is_file())
}

/// The cargo that runs us.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// `program argument argument`, as a person would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end; true where it succeeded.
pub fn run(command: &mut Command) -> Result<bool> {
    let shown = shown(command);
    say(&format!("    $ {shown}"))?;
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    Ok(status.success())
}

/// Tests that a command reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    pub passed: u64,
    pub failed: u64,
    /// Of those that passed: how many did only when they were run again.
    pub flaky: u64,
}

/// Runs a command that runs tests, passing on both its outputs line by line; true where it succeeded.
pub fn run_tests(mut command: Command, tests: &mut Tests) -> Result<bool> {
    let shown = shown(&command);
    say(&format!("    $ {shown}"))?;
    let (output, input) = std::io::pipe()?;
    command.stdout(input.try_clone()?).stderr(input);
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    // It holds our ends of the pipe for writing: the output would never end.
    drop(command);
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        count(&line, tests);
        say(&line)?;
    }
    Ok(child.wait()?.success())
}

/// A line on standard output; a reader that has gone away is an error and not a panic.
pub fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// Adds the numbers of a closing line of cargo test, `test result: ok. 12 passed; 0 failed; …`, or of nextest,
/// `Summary [ 1.2s] 12 tests run: 11 passed, 1 failed, …`.
fn count(line: &str, tests: &mut Tests) {
    let of_nextest = || line.trim_start().strip_prefix("Summary [").and_then(|line| line.split_once("run: "));
    let result = line.strip_prefix("test result: ").or_else(|| of_nextest().map(|(_, result)| result));
    let Some(result) = result else { return };
    let number = |word: &str| -> u64 {
        let before = result.split_once(word).map_or("", |(before, _)| before).trim_end();
        before.rsplit([' ', '(']).next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    tests.passed += number(" passed");
    tests.failed += [" failed", " exec failed", " timed out"].into_iter().map(number).sum::<u64>();
    tests.flaky += number(" flaky");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_add_up() {
        let mut tests = Tests::default();
        count("running 3 tests", &mut tests);
        count(
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 8 filtered out; finished in 0.02s",
            &mut tests,
        );
        count("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", &mut tests);
        assert_eq!(tests, Tests { passed: 4, failed: 2, flaky: 0 });
    }

    #[test]
    fn the_summary_of_nextest_counts_too() {
        let mut tests = Tests::default();
        count("     Summary [   0.013s] 35 tests run: 35 passed, 0 skipped", &mut tests);
        count(
            "     Summary [   9.1s] 7/9 tests run: 4 passed (1 slow), 2 failed, 1 timed out, 3 skipped",
            &mut tests,
        );
        count("     Summary [   3.0s] 3 tests run: 3 passed (1 slow, 2 flaky), 0 skipped", &mut tests);
        count("     Summary [   3.0s] 1 test run: 1 passed (1 flaky), 0 skipped", &mut tests);
        assert_eq!(tests, Tests { passed: 43, failed: 3, flaky: 3 });
    }

    #[test]
    fn a_command_is_shown_without_the_folder_of_its_program() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--locked"]);
        assert_eq!(shown(&command), "cargo test --locked");
    }
}
