//! Inside a crate a module imports only modules declared above it in `lib.rs`: so there are no cycles to get lost in.

use super::Finding;
use crate::source::{Source, words};

/// A crate's root file, and the folder that its modules lie in.
struct Root<'source> {
    source: &'source Source,
    folder: &'source str,
    /// Top-level modules in the order of their declaration.
    modules: Vec<&'source str>,
}

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let roots: Vec<Root<'_>> = sources.iter().filter_map(Root::new).collect();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test_file()) {
        for root in roots.iter().filter(|root| root.source.path != source.path) {
            findings.extend(root.check(source));
        }
    }
    findings
}

impl<'source> Root<'source> {
    fn new(source: &'source Source) -> Option<Self> {
        let (folder, name) = source.path.rsplit_once('/')?;
        let is_root =
            (name == "lib.rs" || name == "main.rs") && (folder.ends_with("/src") || folder == "tests/sim");
        is_root.then(|| Self { source, folder, modules: declared(source) })
    }

    /// The breaks of the order in one file, where the file is a module of this crate.
    fn check(&self, source: &Source) -> Vec<Finding> {
        let Some(path) = self.module_path(&source.path) else { return Vec::new() };
        let Some(own) = path.first().copied() else { return Vec::new() };
        let Some(place) = self.place(own) else { return Vec::new() };
        let mut findings = Vec::new();
        for (line, name) in imports(source, path.len()) {
            if self.place(&name).is_some_and(|other| other > place) {
                let message = format!(
                    "`{own}` imports `{name}`, which {} declares below it: move the declaration or cut the import",
                    self.source.path
                );
                findings.push(Finding::new(&source.path, line, message));
            }
        }
        findings
    }

    fn place(&self, module: &str) -> Option<usize> {
        self.modules.iter().position(|name| *name == module)
    }

    /// `a/src/b/c.rs` as `[b, c]` and `a/src/b/mod.rs` as `[b]`.
    fn module_path<'path>(&self, path: &'path str) -> Option<Vec<&'path str>> {
        let inner = path.strip_prefix(self.folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
        let mut parts: Vec<&str> = inner.split('/').collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        Some(parts)
    }
}

/// Names of the modules that a root declares outside its tests, in order.
fn declared(root: &Source) -> Vec<&str> {
    let mut modules = Vec::new();
    for (_, code) in root.production() {
        let mut line = words(code).skip_while(|word| ["pub", "crate", "super"].contains(word));
        if line.next() == Some("mod") && !code.starts_with(' ') {
            modules.extend(line.next());
        }
    }
    modules
}

/// Line and top-level module of every path that starts at the crate's root, seen from a module `depth` levels deep.
fn imports(source: &Source, depth: usize) -> Vec<(usize, String)> {
    let code: String = source
        .lines()
        .map(|(line, code)| if source.is_test_line(line) { "\n".to_owned() } else { format!("{code}\n") })
        .collect();
    let climb = "super::".repeat(depth);
    let mut found = Vec::new();
    for start in ["crate::", climb.as_str()] {
        for (offset, _) in code.match_indices(start) {
            let (before, rest) = code.split_at(offset);
            let Some(rest) = rest.strip_prefix(start) else { continue };
            let inside =
                before.ends_with(|character: char| character.is_alphanumeric() || "_:$".contains(character));
            if inside || rest.starts_with("super::") {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            found.extend(heads(rest).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// The first name of a path, or of each path in `{a::b, c::{d, e}}`.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return words(path).next().map(str::to_owned).into_iter().collect();
    };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut expects = true;
    let mut name = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                expects = true;
            }
            _ if expects && (character.is_alphanumeric() || character == '_') => name.push(character),
            _ if !name.is_empty() => expects = false,
            _ => {}
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let root = Source::new(
            "a/src/lib.rs",
            "//! X.\npub mod low;\nmod middle;\npub(crate) mod high;\n#[cfg(test)]\nmod tests;\n",
        );
        check(&[root, Source::new(path, text)]).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn what_stands_below_cannot_be_imported() {
        assert_eq!(found("a/src/middle.rs", "use crate::low::X;\nuse crate::high::Y;\n"), [2]);
        assert_eq!(found("a/src/high.rs", "use crate::low::X;\nuse crate::middle::Y;\n"), []);
        assert_eq!(found("a/src/low/inner.rs", "fn f() { crate::high::g() }\n"), [1]);
    }

    #[test]
    fn groups_and_super_are_followed() {
        assert_eq!(found("a/src/low.rs", "use crate::{\n    low::x,\n    middle::{y, z},\n};\n"), [1]);
        assert_eq!(found("a/src/low.rs", "use super::middle::X;\n"), [1]);
        assert_eq!(found("a/src/low/inner.rs", "use super::middle::X;\nuse super::super::high::Y;\n"), [2]);
        assert_eq!(found("a/src/low/mod.rs", "use super::middle::X;\n"), [1]);
    }

    #[test]
    fn tests_other_crates_and_words_in_comments_are_free() {
        let text = "// crate::high\n#[cfg(test)]\nmod tests {\n    use crate::high::X;\n}\n";
        assert_eq!(found("a/src/low.rs", text), []);
        assert_eq!(found("b/src/low.rs", "use crate::high::X;\n"), []);
        assert_eq!(found("a/src/low/tests.rs", "use crate::high::X;\n"), []);
    }

    #[test]
    fn heads_of_nested_groups_are_the_first_names() {
        assert_eq!(heads("{a::b, c::{d, e}, f as g}; x"), ["a", "c", "f"]);
        assert_eq!(heads("ring::Ring;"), ["ring"]);
    }
}
