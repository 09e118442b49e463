//! Less and less of a seed that fails. Each try is a process of its own: an assertion of a machine ends only that.

use std::process::{Command, ExitCode, Stdio};

use sim::lies::Lie;
use sim::plan::Less;
use sim::run::{again, world_of};
use sim::shrink::{self, Verdict};

pub fn shrink(seed: u64, lie: Lie) -> ExitCode {
    let mut tries = 0_u64;
    let mut judge = |less: &Less| {
        tries += 1;
        let verdict = try_out(seed, lie, less);
        let (left_out, requests) = (less.without.len(), less.requests);
        let class = verdict.as_ref().map_or("holds", |verdict| verdict.class.as_str());
        eprintln!("try {tries}: without {left_out} faults, requests {requests:?}: {class}");
        verdict
    };
    let Some(shrunk) = shrink::shrink(seed, &mut judge) else {
        println!("seed {seed} holds");
        return ExitCode::SUCCESS;
    };
    let words = again(seed, lie, &shrunk.less);
    let given = words.split(" -- ").nth(1).unwrap_or_default();
    // Its trace first, so that what is to be kept stands at the end.
    let shown =
        std::env::current_exe().and_then(|program| Command::new(program).args(given.split(' ')).status());
    if let Err(error) = shown {
        eprintln!("the trace cannot be shown: {error}");
    }
    let (_, plan) = world_of(seed);
    println!("seed {seed} breaks {} with {} of {} faults:", shrunk.class, shrunk.kept.len(), shrunk.planned);
    for (index, planned) in plan.iter().enumerate().filter(|(index, _)| shrunk.kept.contains(index)) {
        println!("  {index:>3} at {} us: {:?}", planned.at / 1000, planned.fault);
    }
    println!("{} runs; again: {words}", shrunk.tries);
    ExitCode::FAILURE
}

fn try_out(seed: u64, lie: Lie, less: &Less) -> Option<Verdict> {
    let words = again(seed, lie, less);
    let given = words.split(" -- ").nth(1).unwrap_or_default();
    let given = given.split(' ').filter(|word| *word != "--trace");
    let program = std::env::current_exe().ok()?;
    let output = Command::new(program).args(given).arg("--verdict").stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let (at, class) = said.lines().next_back()?.split_once('\t')?;
    Some(Verdict { class: class.to_owned(), at: at.parse().ok()? })
}

/// Says how a seed ends: nothing, or when it broke which rule.
pub fn verdict(seed: u64, lie: Lie, less: &Less) -> ExitCode {
    let Some(Verdict { class, at }) = shrink::judge(seed, lie, less) else { return ExitCode::SUCCESS };
    println!("{at}\t{class}");
    ExitCode::FAILURE
}

/// The same for an assertion of a machine.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        println!("{}\tan assertion, {place}", u64::MAX);
    }));
}
