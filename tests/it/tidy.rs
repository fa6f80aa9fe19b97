//! The tree keeps its own rules: sizes, words, and a README that is true.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 400;
const ENCODER_LINES_MAX: usize = 600;

/// Words that the glossary does not use, as they would stand in a name.
const WORDS: [&str; 4] = ["wallet", "Wallet", "Manager", "Helper"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir()
            && !["target", "node_modules", "fixtures"].iter().any(|n| path.ends_with(n))
        {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

fn all_rust() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["schema", "actors", "src", "loadtest", "tests/it"] {
        rust_files(&root().join(folder), &mut found);
    }
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn each_file_says_its_one_idea_first() {
    for (path, text) in all_rust() {
        assert!(text.starts_with("//! "), "{} does not begin with `//!`", path.display());
    }
}

#[test]
fn files_are_small_without_their_tests() {
    for (path, text) in all_rust() {
        let is_test =
            path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().count();
        let is_dialect = path.components().any(|part| part.as_os_str() == "dialects");
        let max = match (is_test, is_dialect) {
            (true, _) => ENCODER_LINES_MAX * 2,
            (false, true) => ENCODER_LINES_MAX,
            (false, false) => LINES_MAX,
        };
        assert!(lines <= max, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_glossary_is_kept() {
    for (path, text) in all_rust() {
        // Stripe's names of fields stand in quotes.
        let text = text.replace("\"wallet", "");
        for word in WORDS {
            let used = text.contains(word) && !path.ends_with("tidy.rs");
            assert!(!used, "{} says {word}", path.display());
        }
    }
}

#[test]
fn the_readme_names_every_folder() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let tracked =
        std::process::Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    let tracked = String::from_utf8(tracked.stdout).unwrap();
    let mut folders: Vec<_> = tracked
        .lines()
        .filter_map(|path| path.split_once('/').map(|(folder, _)| folder))
        .filter(|folder| !folder.starts_with('.'))
        .collect();
    folders.dedup();
    assert!(!folders.is_empty());
    for folder in folders {
        assert!(readme.contains(&format!("| `{folder}/` |")), "README.md does not name {folder}/");
    }
}

#[test]
fn no_registry_address_is_committed() {
    for file in ["tests/sdk/package-lock.json", "tests/sdk/requirements.txt", "Cargo.lock"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let own = "registry+https://github.com/rust-lang/crates.io-index";
        let text = text.replace(own, "");
        assert!(!text.contains("https://registry") && !text.contains("\"resolved\""), "{file}");
    }
}
