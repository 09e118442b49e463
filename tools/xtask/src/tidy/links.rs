//! Links between our pages lead somewhere.

use super::Finding;

pub(super) fn check(path: &str, text: &str, paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (line, words) in (1..).zip(text.lines()) {
        in_code ^= words.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for target in targets(words) {
            let resolved = resolve(path, target);
            let is_folder = || paths.iter().any(|path| path.starts_with(&format!("{resolved}/")));
            if !resolved.is_empty() && !paths.contains(&resolved) && !is_folder() {
                findings.push(Finding::new(path, line, format!("the link to {target} leads nowhere")));
            }
        }
    }
    findings
}

/// The relative targets of `[text](target)` in a line, without what follows `#`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let plain = ends.map(|target| target.split('#').next().unwrap_or(target));
    plain.filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

/// `target` seen from the folder of `path`, from the repository's root; empty for the root itself.
fn resolve(path: &str, target: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_from_the_page() {
        let paths =
            ["README.md".to_owned(), "docs/formats.md".to_owned(), "docs/decisions/0001.md".to_owned()];
        let text = "See [a](formats.md#x), [b](../README.md), [c](decisions), [d](https://e.x/y), [f](#g), [h](none.md).\n\
                    ```text\n[i](none.md)\n```\n";
        let found = check("docs/index.md", text, &paths);
        assert_eq!(found, [Finding::new("docs/index.md", 1, "the link to none.md leads nowhere")]);
    }
}
