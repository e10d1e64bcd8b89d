//! The repository's shape: what a compiler does not check and a reviewer would have to. Reads text only; it starts
//! nothing and changes nothing.
//!
//! Each test collects every violation before it fails, as `file:line: what`.

#![allow(
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests; clippy.toml covers test functions only"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Looks within a row that stand, each with its reason. None looks up.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "cli",
        "demo",
        "the command line starts the demo, which is built only with its feature",
    ),
    ("reload", "body", "one alias, BoxError"),
    ("ready", "metrics", "each module writes its own families"),
    ("release", "metrics", "each module writes its own families"),
    ("reload", "metrics", "each module writes its own families"),
    (
        "tenancy",
        "reader",
        "tests of the informers see as whom they ask",
    ),
    (
        "watch",
        "filter",
        "a watch drops what a list drops, read by the same layout",
    ),
];

/// Names in the documents that no file has: a pattern, and where something would go.
const NO_FILES: &[&str] = &["foo.rs", "mod.rs", "policy/tenants.rs"];

#[test]
fn a_module_uses_itself_and_the_rows_above_it_in_lib_rs() {
    let rows = rows();
    let mut violations = Violations::default();
    for source in sources() {
        let Some(row) = rows.get(&source.module) else {
            continue;
        };
        for (number, code) in source.code() {
            for used in paths_of(code, "crate::") {
                let Some(above) = rows.get(used) else {
                    continue;
                };
                let stands =
                    used == source.module || above < row || is_allowed(&source.module, used);
                if !stands {
                    let text = format!("{} (row {row}) uses {used} (row {above})", source.module);
                    violations.add(&source.path, number, &text);
                }
            }
        }
    }
    violations.none("a module uses rows above its own in src/lib.rs; if two need each other, a value type is missing above");
}

#[test]
fn no_spelling_hides_a_path_from_the_rows() {
    let mut violations = Violations::default();
    for source in sources() {
        // In a file of the first level `super` is the crate; inside an inline module, which is indented, it is the file.
        let first_level = source.path.components().count() == 2;
        for (number, code) in source.code() {
            for spelling in [
                "super::super::",
                "use crate::{",
                "use crate::*",
                "use crate as",
                "use crate::self",
            ] {
                if code.contains(spelling) {
                    violations.add(
                        &source.path,
                        number,
                        &format!("`{spelling}`: write the path from `crate::`, one per line"),
                    );
                }
            }
            let at_the_margin = !code.starts_with(char::is_whitespace);
            if first_level && at_the_margin && code.contains("super::") && source.module != "lib" {
                violations.add(
                    &source.path,
                    number,
                    "`super::` is the crate here: write `crate::`",
                );
            }
        }
    }
    violations.none("the rows are read from `crate::` paths");
}

#[test]
fn every_module_has_a_row() {
    let rows = rows();
    let files: BTreeSet<String> = sources().into_iter().map(|source| source.module).collect();
    let without: Vec<&String> = files
        .iter()
        .filter(|module| !rows.contains_key(*module) && !["lib", "main"].contains(&module.as_str()))
        .collect();
    assert!(
        without.is_empty(),
        "not below a `// row N:` in src/lib.rs: {without:?}"
    );
    let missing: Vec<&String> = rows
        .keys()
        .filter(|module| !files.contains(*module))
        .collect();
    assert!(
        missing.is_empty(),
        "in src/lib.rs, but not there: {missing:?}"
    );
}

#[test]
fn an_exception_stays_within_a_row_and_is_needed() {
    let (rows, sources) = (rows(), sources());
    for (module, used, why) in ALLOWED {
        assert_eq!(rows[*module], rows[*used], "{module} looks up to {used}");
        let needed = sources
            .iter()
            .filter(|source| source.module == *module)
            .any(|source| {
                source
                    .code()
                    .any(|(_, code)| paths_of(code, "crate::").any(|path| path == *used))
            });
        assert!(
            needed,
            "{module} no longer uses {used}; remove the exception ({why})"
        );
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    let mut violations = Violations::default();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            violations.add(&source.path, 1, "does not open with `//! `");
        }
    }
    violations.none("a file opens with what it is, and what it must never do");
}

#[test]
fn a_folder_stands_beside_its_file() {
    let folders_own: Vec<PathBuf> = sources()
        .into_iter()
        .map(|source| source.path)
        .filter(|path| path.ends_with("mod.rs"))
        .collect();
    assert!(
        folders_own.is_empty(),
        "`foo.rs` beside `foo/`, no mod.rs: {folders_own:?}"
    );
}

#[test]
fn nothing_unfinished_and_no_machine_of_ours_is_in_a_file() {
    // In two parts each, so that this file does not hold what it looks for.
    let anywhere = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|parts| parts.concat());
    let in_rust = [
        ["#[ign", "ore"],
        ["todo", "!("],
        ["unimplemen", "ted!("],
        ["db", "g!("],
    ]
    .map(|parts| parts.concat());
    let mut violations = Violations::default();
    for path in files_below("") {
        // What is no text holds no words.
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        for (number, line) in numbered(&text) {
            let rust_words = in_rust.iter().filter(|_| is_rust);
            for word in anywhere
                .iter()
                .chain(rust_words)
                .filter(|word| line.contains(word.as_str()))
            {
                violations.add(&path, number, &format!("`{word}`"));
            }
        }
    }
    violations.none("these words have no place here");
}

#[test]
fn the_documents_name_files_that_exist() {
    let mut violations = Violations::default();
    for document in documents() {
        let text = read(&document);
        for (number, line) in numbered(&text) {
            for name in line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|name| is_path(name))
            {
                let exists = [
                    name.to_owned(),
                    format!("src/{name}"),
                    format!("charts/kube-tenant-proxy/{name}"),
                ]
                .iter()
                .any(|path| root().join(path).exists());
                // The rest of a row about one module leaves its folder out.
                let in_proxy = root().join("src/proxy").join(name).exists();
                if !exists && !in_proxy && !NO_FILES.contains(&name) {
                    violations.add(&document, number, &format!("`{name}` is not there"));
                }
            }
        }
    }
    violations.none("a document that names a file is read by somebody who looks for it");
}

#[test]
fn the_documents_links_lead_somewhere() {
    let mut violations = Violations::default();
    for document in documents() {
        let text = read(&document);
        // A link may be broken over two lines.
        let flowing = text.replace('\n', " ");
        for target in flowing
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let found = match target.strip_prefix('#') {
                Some(anchor) => anchors(&text).contains(anchor),
                None => target.starts_with("https://") || root().join(target).exists(),
            };
            if !found {
                violations.add(&document, 0, &format!("`{target}` leads nowhere"));
            }
        }
    }
    violations.none("links");
}

#[test]
fn the_readmes_configuration_file_is_accepted() {
    let text = read(Path::new("README.md"));
    let mut examples = 0;
    for example in text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
    {
        if let Err(mistakes) = kube_tenant_proxy::config::File::parse("README.md", example) {
            panic!("{mistakes}");
        }
        examples += 1;
    }
    assert_eq!(examples, 1, "the README shows one configuration file");
}

#[test]
fn rows_and_paths_are_read_as_they_are_written() {
    let rows = read_rows(
        "// row 0: values\npub mod a;\n\n// row 2: more\n#[cfg(test)]\npub mod b;\n/// pub mod no;\n",
    );
    assert_eq!(
        rows,
        BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 2)])
    );
    let used: Vec<&str> = paths_of(
        "use crate::a::X; let y = crate::b_c::d(); mycrate::e; $crate::f!();",
        "crate::",
    )
    .collect();
    assert_eq!(used, ["a", "b_c", "f"]);
    assert_eq!(code_of("let a = 1; // crate::b"), "let a = 1; ");
    assert_eq!(code_of("/// see crate::b"), "");
    assert_eq!(code_of("let a = \"https://b\";"), "let a = \"https://b\";");
}

/// A source file of the crate.
struct Source {
    /// From the repository's root.
    path: PathBuf,
    /// The module of the first level that it belongs to.
    module: String,
    text: String,
}

impl Source {
    /// Its lines with their numbers, without comments: a link in a docstring uses nothing.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.text).map(|(number, line)| (number, code_of(line)))
    }
}

#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, path: &Path, line: usize, what: &str) {
        self.0.push(format!("{}:{line}: {what}", path.display()));
    }

    fn none(self, rule: &str) {
        assert!(
            self.0.is_empty(),
            "{rule}\n{}\n{} in all",
            self.0.join("\n"),
            self.0.len()
        );
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// A line without its comment. `//` right after a colon is part of a URL.
fn code_of(line: &str) -> &str {
    let comment = line
        .match_indices("//")
        .find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// First segments of the paths in `code` that begin with `prefix`.
fn paths_of<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    code.match_indices(prefix)
        .filter(move |(at, _)| !code[..*at].ends_with(is_part))
        .filter_map(move |(at, _)| {
            code[at + prefix.len()..]
                .split(|byte| !is_part(byte))
                .next()
        })
}

/// Rows by module, as src/lib.rs has them.
fn rows() -> BTreeMap<String, u32> {
    read_rows(&read(Path::new("src/lib.rs")))
}

fn read_rows(text: &str) -> BTreeMap<String, u32> {
    let mut rows = BTreeMap::new();
    let mut row = None;
    for line in text.lines() {
        if let Some(number) = line
            .strip_prefix("// row ")
            .and_then(|rest| rest.split(':').next())
        {
            let next: u32 = number
                .parse()
                .unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(row.is_none_or(|row| row < next), "rows ascend: {line}");
            row = Some(next);
        }
        if let Some(module) = line
            .strip_prefix("pub mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            let row = row.unwrap_or_else(|| panic!("before the first row: {line}"));
            rows.insert(module.to_owned(), row);
        }
    }
    assert!(!rows.is_empty(), "src/lib.rs has no `// row N:`");
    rows
}

fn is_allowed(module: &str, used: &str) -> bool {
    ALLOWED
        .iter()
        .any(|(from, to, _)| (*from, *to) == (module, used))
}

fn sources() -> Vec<Source> {
    let files = files_below("src").into_iter();
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let first = path.components().nth(1).unwrap();
            let module = Path::new(first.as_os_str()).file_stem().unwrap();
            Source {
                module: module.to_str().unwrap().to_owned(),
                text: read(&path),
                path,
            }
        })
        .collect()
}

/// All files below a folder of the repository, sorted, without hidden ones and what builds leave behind.
fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let path = folder.join(&name);
            let skipped = name
                .to_str()
                .is_none_or(|name| name.starts_with('.') || name == "target");
            if skipped || entry.file_type().unwrap().is_symlink() {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no file below `{folder}`");
    files
}

/// The documents at the root.
fn documents() -> Vec<PathBuf> {
    [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ]
    .map(PathBuf::from)
    .into()
}

/// Whether a word in backticks is the path of a file that should be in the repository.
fn is_path(word: &str) -> bool {
    let endings = [".rs", ".yaml", ".toml", ".md", ".json"];
    endings.iter().any(|ending| word.ends_with(ending)) && !word.contains([' ', '*', '<', '{'])
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|char| char.is_alphanumeric() || " -_".contains(*char));
            kept.map(|char| if char == ' ' { '-' } else { char })
                .collect()
        })
        .collect()
}
