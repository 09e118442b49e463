//! What stands behind the `?` of an API path: arbitrary text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use midspan_daemon::api::query::{After, KEPT, Wanted};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(wanted) = Wanted::parse(Some(text)) {
        assert!((1..=KEPT).contains(&wanted.limit));
        let after = wanted.after.map_or(String::new(), |after| format!("&after={after}"));
        let group = wanted.group.as_ref().map_or(String::new(), |group| format!("&group={group}"));
        let again = format!("limit={}{after}{group}", wanted.limit);
        assert_eq!(Wanted::parse(Some(&again)), Some(wanted));
    }
    if let Some(After::Numbers(numbers)) = After::parse(Some(text)) {
        assert!(!numbers.is_empty());
        let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let again = format!("after={}", words.join(","));
        assert_eq!(After::parse(Some(&again)), Some(After::Numbers(numbers)));
    }
});
