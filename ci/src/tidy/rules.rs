//! The rules, one function each, and the tables that say what they look for.

use super::code::is_word;
use super::{Finding, Source};

/// Where `unsafe` may stand, and why.
pub(super) const UNSAFE_HOMES: &[(&str, &str)] = &[
    ("transport/src/sys/", "system calls and mappings, one file per facility"),
    ("tools/toolkit/tests/no_alloc.rs", "a global allocator that counts is an unsafe trait"),
    ("bench/src/raw.rs", "the system calls of the floors that ours are compared with"),
];

/// The rooms that read no clock, draw no random number, start no thread and do no IO.
const PURE: [&str; 4] =
    ["ordering/src/", "membership/src/", "transport/src/reliable/", "transport/src/wire/"];

/// What a pure room must not name, and what it is.
const AMBIENT: [(&str, &str); 23] = [
    ("Instant::now", "a clock: `now` is an argument"),
    ("SystemTime", "a clock: `now` is an argument"),
    ("sys::", "the system: only the engine and the media touch it"),
    ("std::thread", "threads"),
    ("thread::", "threads"),
    ("std::fs", "files"),
    ("fs::", "files"),
    ("File", "files"),
    ("std::env", "the environment"),
    ("env::", "the environment"),
    ("std::process", "processes"),
    ("UdpSocket", "sockets"),
    ("TcpStream", "sockets"),
    ("TcpListener", "sockets"),
    ("UnixDatagram", "sockets"),
    ("UnixStream", "sockets"),
    ("ToSocketAddrs", "name service"),
    ("socket2::", "sockets"),
    ("rand::", "an ambient generator: a seeded one is an argument"),
    ("getrandom", "an ambient generator: a seeded one is an argument"),
    ("RandomState", "ambient randomness"),
    ("HashMap", "a map in random order: a vector or an ordered map is the same in every run"),
    ("HashSet", "a set in random order: a vector or an ordered set is the same in every run"),
];

/// Modules of `std` that a pure room must not import, in a list of imports either.
const AMBIENT_MODULES: [&str; 4] = ["thread", "fs", "env", "process"];

/// Our crates: each may depend on those before it. Development dependencies are free.
const DOWNWARDS: [(&str, &str); 6] = [
    ("transport", "sistrum-transport"),
    ("ordering", "sistrum-ordering"),
    ("membership", "sistrum-membership"),
    ("tools/toolkit", "sistrum"),
    ("tools/cli", "sistrum-cli"),
    ("bench", "sistrum-bench"),
];

/// Lines of the largest room.
const ROOM: usize = 600;

/// Notes that say that something is yet to be done. Written in two halves, or this line were one.
const LEFTOVERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Everything that the rules find.
pub(super) fn all(sources: &[Source]) -> Vec<Finding> {
    let each = [unsafe_home, safety, forbid_unsafe, ambient, downwards, global_random, room, leftover];
    let mut findings: Vec<_> =
        sources.iter().flat_map(|source| each.iter().flat_map(|rule| rule(source))).collect();
    findings.extend(empty_homes(sources, UNSAFE_HOMES));
    findings
}

fn unsafe_home(source: &Source) -> Vec<Finding> {
    if UNSAFE_HOMES.iter().any(|(home, _)| source.path.starts_with(home)) {
        return Vec::new();
    }
    let permits = |at: &usize| {
        let attribute = source.code[..*at].rsplit('#').next().unwrap_or_default();
        ["allow(", "expect(", "warn("].iter().any(|permit| attribute.contains(permit))
    };
    let uses = words(&source.code, "unsafe").into_iter();
    let permissions = words(&source.code, "unsafe_code").into_iter().filter(permits);
    let found = uses.chain(permissions);
    found
        .map(|at| source.finding(at, "unsafe-home", "`unsafe` outside the places that may have it"))
        .collect()
}

/// A place that is listed but has no `unsafe` left would quietly permit the next one.
fn empty_homes(sources: &[Source], homes: &[(&str, &str)]) -> Vec<Finding> {
    let lives = |home: &str| {
        sources
            .iter()
            .any(|source| source.path.starts_with(home) && !words(&source.code, "unsafe").is_empty())
    };
    let empty = homes.iter().filter(|(home, _)| !lives(home));
    let what = "listed as a place for `unsafe`, but there is none";
    empty
        .map(|(home, _)| Finding {
            path: (*home).to_owned(),
            line: 0,
            rule: "unsafe-home",
            what: what.to_owned(),
        })
        .collect()
}

fn safety(source: &Source) -> Vec<Finding> {
    let lines: Vec<(&str, &str)> = source.code.lines().zip(source.text.lines()).collect();
    let needs_reason = |at: &usize| {
        let next = source.code[at + "unsafe".len()..].trim_start();
        next.starts_with('{') || next.starts_with("impl")
    };
    let blocks = words(&source.code, "unsafe").into_iter().filter(needs_reason);
    let silent = blocks.filter(|at| !has_reason(&lines, source.line(*at)));
    silent.map(|at| source.finding(at, "safety", "`unsafe` without a `SAFETY:` comment")).collect()
}

/// Whether a `SAFETY:` stands on `line` (from 1), or above it with at most three lines of code between.
fn has_reason(lines: &[(&str, &str)], line: usize) -> bool {
    let mut code_lines = 0;
    for (code, text) in lines[..line].iter().rev() {
        if text.contains("SAFETY:") {
            return true;
        }
        code_lines += usize::from(!code.trim().is_empty());
        if code_lines > 4 {
            return false;
        }
    }
    false
}

fn forbid_unsafe(source: &Source) -> Vec<Finding> {
    let is_root = ["ordering/src/lib.rs", "membership/src/lib.rs"].contains(&source.path.as_str());
    let forbids = source.code.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]");
    if !is_root || forbids {
        return Vec::new();
    }
    vec![source.finding(0, "forbid-unsafe", "the root of a pure crate must say `#![forbid(unsafe_code)]`")]
}

fn ambient(source: &Source) -> Vec<Finding> {
    if !PURE.iter().any(|room| source.path.starts_with(room)) {
        return Vec::new();
    }
    let named = AMBIENT.iter().flat_map(|(name, what)| {
        words(&source.code, name).into_iter().map(move |at| (at, format!("`{name}` is {what}")))
    });
    let imports = source.code.match_indices("use std::{").map(|(at, _)| at);
    let imported = imports.flat_map(|at| {
        let list = source.code[at..].split(';').next().unwrap_or_default();
        let found = AMBIENT_MODULES.iter().filter(|module| !words(list, module).is_empty());
        found.map(move |module| (at, format!("imports `std::{module}`")))
    });
    named.chain(imported).map(|(at, what)| source.finding(at, "ambient", &what)).collect()
}

fn downwards(source: &Source) -> Vec<Finding> {
    let folder = source.path.strip_suffix("/Cargo.toml");
    let Some(place) = DOWNWARDS.iter().position(|(path, _)| Some(*path) == folder) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut at = 0;
    let mut counts = false;
    for line in source.text.split_inclusive('\n') {
        if line.starts_with('[') {
            counts = line.trim_end().ends_with("dependencies]") && !line.contains("dev-");
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let below = DOWNWARDS[..place].iter().any(|(_, below)| *below == name);
        if counts && name.starts_with("sistrum") && !below {
            findings.push(source.finding(at, "downwards", &format!("`{name}` is not below this crate")));
        }
        at += line.len();
    }
    findings
}

fn global_random(source: &Source) -> Vec<Finding> {
    let calls = words(&source.code, "fastrand::").into_iter().filter(|at| {
        let name = &source.code[at + "fastrand::".len()..];
        !name.starts_with("Rng") && !name.starts_with("{Rng}")
    });
    let ambient_seeds = ["Rng::new(", "Rng::default("].into_iter().flat_map(|call| words(&source.code, call));
    let found = calls.chain(ambient_seeds);
    found.map(|at| source.finding(at, "global-random", "a generator whose seed nobody handed in")).collect()
}

fn room(source: &Source) -> Vec<Finding> {
    let is_source = source.path.ends_with(".rs") && format!("/{}", source.path).contains("/src/");
    let is_tests = source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
    let lines = source.text.lines().count();
    let lines = tests_start(&source.code).unwrap_or(lines);
    if !is_source || is_tests || lines <= ROOM {
        return Vec::new();
    }
    vec![source.finding(
        0,
        "room",
        &format!("{lines} lines, and {ROOM} are the most: a second idea has moved in"),
    )]
}

/// How many lines stand before the tests at the bottom of a file.
fn tests_start(code: &str) -> Option<usize> {
    let lines: Vec<_> = code.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'))
}

fn leftover(source: &Source) -> Vec<Finding> {
    let found = LEFTOVERS.iter().flat_map(|note| words(&source.text, note));
    found.map(|at| source.finding(at, "leftover", "a note that something is yet to be done")).collect()
}

/// Where `name` stands in `text` as a whole word. A name that ends in punctuation may go on.
fn words(text: &str, name: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let open_end = name.bytes().last().is_some_and(|byte| !is_word(byte));
    let is_whole = |at: &usize| {
        let end = at + name.len();
        let starts = *at == 0 || !is_word(bytes[at - 1]);
        starts && (open_end || bytes.get(end).is_none_or(|byte| !is_word(*byte)))
    };
    text.match_indices(name).map(|(at, _)| at).filter(is_whole).collect()
}

impl Source {
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn finding(&self, at: usize, rule: &'static str, what: &str) -> Finding {
        Finding { path: self.path.clone(), line: self.line(at), rule, what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [usize; 0] = [];

    /// The lines at which `rule` fires on a file.
    fn fires(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unsafe_has_one_home() {
        let bad = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(fires(unsafe_home, "bench/src/main.rs", bad), [2]);
        assert_eq!(fires(unsafe_home, "transport/src/sys/clock.rs", bad), NOTHING);
        assert_eq!(fires(unsafe_home, "bench/src/main.rs", "#![allow(unsafe_code)]\n"), [1]);
        assert_eq!(fires(unsafe_home, "bench/src/main.rs", "#[expect(dead_code,\n    unsafe_code)]\n"), [2]);
        let prose = "#![forbid(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe {\";\n";
        assert_eq!(fires(unsafe_home, "bench/src/main.rs", prose), NOTHING);
    }

    #[test]
    fn a_listed_home_must_be_lived_in() {
        let homes = [("transport/src/sys/", "why"), ("bench/", "why")];
        let sources = [
            Source::new("transport/src/sys/a.rs", "unsafe fn f() {}"),
            Source::new("bench/src/main.rs", "// unsafe"),
        ];
        let findings = empty_homes(&sources, &homes);
        assert_eq!(findings.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["bench/"]);
    }

    #[test]
    fn unsafe_gives_its_reason() {
        assert_eq!(fires(safety, "a.rs", "fn f() {\n    unsafe { g() }\n}\n"), [2]);
        assert_eq!(fires(safety, "a.rs", "unsafe impl Send for A {}\n"), [1]);
        assert_eq!(fires(safety, "a.rs", "// SAFETY: one thread.\nunsafe impl Send for A {}\n"), NOTHING);
        assert_eq!(
            fires(
                safety,
                "a.rs",
                "// SAFETY: a\n// b\n// c\n// d\n// e\n// f\nlet a =\n    unsafe { g() };\n"
            ),
            NOTHING
        );
        assert_eq!(
            fires(safety, "a.rs", "// SAFETY: far\nb();\nc();\nd();\ne();\nf();\nunsafe { g() }\n"),
            [7]
        );
        assert_eq!(fires(safety, "a.rs", "unsafe fn f() {}\nunsafe extern \"C\" {}\n"), NOTHING);
    }

    #[test]
    fn pure_crates_forbid_unsafe() {
        assert_eq!(fires(forbid_unsafe, "ordering/src/lib.rs", "//! #![forbid(unsafe_code)]\n"), [1]);
        assert_eq!(
            fires(forbid_unsafe, "membership/src/lib.rs", "//! A\n#![forbid(unsafe_code)]\n"),
            NOTHING
        );
        assert_eq!(fires(forbid_unsafe, "bench/src/lib.rs", ""), NOTHING);
    }

    #[test]
    fn every_ambient_name_fires() {
        for (name, _) in AMBIENT {
            let bad = format!("fn f() {{\n    let a = {name} a;\n}}\n");
            assert!(fires(ambient, "ordering/src/a.rs", &bad).contains(&2), "{name}");
        }
        for module in AMBIENT_MODULES {
            let bad = format!("use std::{{\n    cmp, {module} as other,\n}};\n");
            assert_eq!(fires(ambient, "membership/src/a.rs", &bad), [1], "{module}");
        }
    }

    #[test]
    fn pure_code_may_speak_of_what_it_avoids() {
        let good = "// Instant::now\nfn f(now: Instant, rng: &mut fastrand::Rng) -> Instant { now }\nuse std::{cmp, mem};\n";
        assert_eq!(fires(ambient, "ordering/src/a.rs", good), NOTHING);
        assert_eq!(fires(ambient, "transport/src/engine/cycle.rs", "Instant::now()"), NOTHING);
        assert_eq!(fires(ambient, "transport/src/wire/a.rs", "use std::net::SocketAddr;"), NOTHING);
    }

    #[test]
    fn dependencies_run_downwards() {
        let bad =
            "[package]\nname = \"x\"\n[dependencies]\nlibc = \"1\"\nsistrum-membership.workspace = true\n";
        assert_eq!(fires(downwards, "ordering/Cargo.toml", bad), [5]);
        assert_eq!(fires(downwards, "membership/Cargo.toml", bad), [5], "nor on itself");
        assert_eq!(fires(downwards, "tools/toolkit/Cargo.toml", bad), NOTHING);
        let development = "[dev-dependencies]\nsistrum = { path = \"..\" }\n";
        assert_eq!(fires(downwards, "transport/Cargo.toml", development), NOTHING);
    }

    #[test]
    fn randomness_is_handed_in() {
        assert_eq!(fires(global_random, "a.rs", "let a = fastrand::u64(..);"), [1]);
        assert_eq!(fires(global_random, "a.rs", "use fastrand::{Rng, u64};"), [1]);
        assert_eq!(fires(global_random, "a.rs", "let a = fastrand::Rng::new();"), [1]);
        assert_eq!(fires(global_random, "a.rs", "use fastrand::Rng;\nlet a = Rng::default();"), [2]);
        assert_eq!(fires(global_random, "a.rs", "let a = fastrand::Rng::with_seed(7);"), NOTHING);
    }

    #[test]
    fn a_room_has_a_limit_without_its_tests() {
        let long = "a();\n".repeat(ROOM + 1);
        assert_eq!(fires(room, "transport/src/a.rs", &long), [1]);
        assert_eq!(fires(room, "transport/tests/a.rs", &long), NOTHING);
        assert_eq!(fires(room, "transport/src/reliable/tests.rs", &long), NOTHING);
        let tests = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}\n", "a();\n".repeat(ROOM));
        assert_eq!(fires(room, "transport/src/a.rs", &tests), NOTHING);
    }

    #[test]
    fn leftovers_fire_in_comments_too() {
        for note in LEFTOVERS {
            assert_eq!(fires(leftover, "a.md", &format!("fine\n<!-- {note}: later -->\n")), [2]);
            assert_eq!(fires(leftover, "a.rs", &format!("// {note}\n")), [1]);
        }
        assert_eq!(fires(leftover, "a.rs", &format!("const MAST{}S: u8 = 1;", LEFTOVERS[0])), NOTHING);
    }
}
