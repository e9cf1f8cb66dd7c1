//! The rings of ARCHITECTURE.md, kept by a test: a file may use what stands in its own ring or further in.
//!
//! Every word and path of `src/**/*.rs` is judged by the tables below. `cfg(test)` code obeys the rings, but may
//! use clocks and files.

mod source;

use std::{fs, path::Path};

use Ring::{Api, Face, Loop, Pure, Root, System};
use source::{Reader, Token, begins};

/// From the innermost out; a file uses its own ring and those before it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Ring {
    Pure,
    System,
    Loop,
    /// Stands outside of the loops, because they must not know it.
    Api,
    /// `lib.rs` shows the crate's users what is theirs.
    Root,
    /// The binary is a crate of its own, and a user of the library like any other.
    Face,
}

const MODULES: &[(Ring, &[&str])] = &[
    (
        Pure,
        &[
            "protocol", "control", "http", "balance", "fleet", "forward", "metrics", "chance", "endpoint",
            "time",
        ],
    ),
    (System, &["sys"]),
    (Loop, &["master", "lane", "worker"]),
    (Api, &["api"]),
    (Root, &["lib"]),
    (Face, &["main", "cli", "config"]),
];

/// What a pure module does not say (`!` for a macro), and whose insides it does not use.
const IMPURE_WORDS: &str = "Instant SystemTime OwnedFd BorrowedFd RawFd \
    TcpStream TcpListener UdpSocket UnixStream UnixListener UnixDatagram \
    thread_local! OnceLock LazyLock OnceCell LazyCell println! eprintln! print! eprint! dbg!";
const IMPURE_PATHS: &str = "std::env std::fs std::io std::os std::process std::thread libc log mio nix";
/// Make a `static` a variable, where no word above does.
const CELLS: &str = "mut Mutex RwLock Cell RefCell UnsafeCell Once";
const BINARY_WITHOUT: &str = "libc nix";

/// What of the library is open to a part of the binary, though not to users: the demo worker reads requests as the master
/// does.
const OPEN: (&str, &[&str]) = ("http", &["cli", "demo"]);

const PURE_RULE: &str = "is not for a pure module; take the value as an argument, or move this outward";

fn ring_of(module: &str) -> Option<Ring> {
    MODULES.iter().find(|(_, names)| names.contains(&module)).map(|(ring, _)| *ring)
}

/// All that is wrong in one file; `file` is relative to `src/`.
fn check(file: &str, text: &str) -> Vec<String> {
    let top = file.split(['/', '.']).next().unwrap_or_default();
    let Some(ring) = ring_of(top) else {
        return vec![format!(
            "src/{file}:1: `{top}` stands in no ring; add it to MODULES in tests/rings/main.rs"
        )];
    };
    let module = module_path(file);
    let is_test_file = module.contains(&"tests");
    let tokens = source::tokens(text);
    let mut reader = Reader::new(&tokens, module);
    let mut found = Vec::new();
    while let Some(token) = reader.rest().first() {
        let paths = reader.paths();
        let home = Home { ring, top, in_test: is_test_file || reader.is_in_test(), module: reader.module() };
        found.extend(judge_token(&home, reader.rest()).map(|what| (token.line, what)));
        found.extend(paths.iter().filter_map(|(line, path)| Some((*line, judge_path(&home, path)?))));
        reader.advance();
    }
    found.into_iter().map(|(line, what)| format!("src/{file}:{line}: {what}")).collect()
}

/// `fleet/mod.rs` is `fleet`, `fleet/handoff.rs` is `fleet::handoff`, and its tests may be in `fleet/handoff_tests.rs`
/// by `#[path]`; the two roots are empty.
fn module_path(file: &str) -> Vec<&str> {
    let mut path: Vec<_> = file.trim_end_matches(".rs").split('/').collect();
    let last = path.pop_if(|last| ["mod", "lib", "main"].contains(last) || last.ends_with("_tests"));
    if let Some(tested) = last.and_then(|name| name.strip_suffix("_tests")) {
        path.extend([tested, "tests"]);
    }
    path
}

/// Where the code under judgement stands.
struct Home<'a> {
    ring: Ring,
    top: &'a str,
    in_test: bool,
    module: &'a [&'a str],
}

impl Home<'_> {
    fn is_pure(&self) -> bool {
        self.ring == Pure && !self.in_test
    }
}

fn judge_token(home: &Home<'_>, tokens: &[Token<'_>]) -> Option<String> {
    let word = tokens[0].text;
    if word == "unsafe" && home.top != "sys" {
        return Some("`unsafe` is for src/sys/ only; make a safe wrapper there".to_owned());
    }
    if begins(tokens, "[ path =") && !home.in_test {
        return Some("`#[path]` hides where a module stands; move the file instead".to_owned());
    }
    let is_macro = begins(tokens.get(1..)?, "!");
    let said = |entry: &str| entry == word || is_macro && entry.strip_suffix('!') == Some(word);
    let mut declared = tokens.iter().map(|token| token.text).take_while(|text| !["=", ";"].contains(text));
    let varies = |text: &str| text.starts_with("Atomic") || CELLS.split(' ').any(|cell| cell == text);
    let impure = IMPURE_WORDS.split_whitespace().any(said) || word == "static" && declared.any(varies);
    (home.is_pure() && impure).then(|| format!("`{word}` {PURE_RULE}"))
}

fn judge_path(home: &Home<'_>, path: &[&str]) -> Option<String> {
    let written = path.join("::");
    match path[0] {
        "crate" | "self" | "super" => judge_own(home, path).map(|rule| format!("`{written}` {rule}")),
        "pointsman" if home.ring == Face => {
            let inside = *path.get(1)?;
            let ring = ring_of(inside)?;
            let is_open = inside == OPEN.0 && home.module.starts_with(OPEN.1);
            (ring < Api && !is_open)
                .then(|| format!("`{written}` is inside the library; use what lib.rs shows to everybody"))
        }
        _ if home.is_pure() && meets(path, IMPURE_PATHS) => Some(format!("`{written}` {PURE_RULE}")),
        _ if home.ring == Face && meets(path, BINARY_WITHOUT) => {
            Some(format!("`{written}` is not for the binary; let the library do it behind its face"))
        }
        _ => None,
    }
}

fn judge_own(home: &Home<'_>, path: &[&str]) -> Option<String> {
    let lead = path.iter().take_while(|name| ["crate", "self", "super"].contains(name)).count();
    let ups = path[..lead].iter().filter(|name| **name == "super").count();
    let kept = if path[0] == "crate" { 0 } else { home.module.len().saturating_sub(ups) };
    let target = home.module[..kept].iter().chain(&path[lead..]).next();
    match target.and_then(|top| ring_of(top)) {
        _ if home.ring >= Root => None,
        None => Some("goes through the crate's root; name the module that the thing comes from".to_owned()),
        Some(ring) if ring <= home.ring => None,
        Some(ring) => {
            let own = home.ring;
            Some(format!(
                "reaches from ring {own:?} out to {ring:?}; turn the call around or move the thing inward"
            ))
        }
    }
}

/// Whether the path is one of these, below one, or imports a whole module that holds one.
fn meets(path: &[&str], forbidden: &str) -> bool {
    forbidden.split(' ').any(|name| path.iter().zip(name.split("::")).all(|(ours, theirs)| *ours == theirs))
}

/// Every `.rs` file below `directory`, by its path below it.
fn sources(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(sources(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
        } else if name.ends_with(".rs") {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn the_tree_keeps_the_rings() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&source);
    assert!(files.contains(&"lib.rs".to_owned()), "no lib.rs among {files:?}");
    let read = |file: &String| fs::read_to_string(source.join(file)).unwrap();
    let found: Vec<_> = files.iter().flat_map(|file| check(file, &read(file))).collect();
    assert!(found.is_empty(), "against the rings of ARCHITECTURE.md:\n{}", found.join("\n"));
}

#[test]
fn what_breaks_a_ring_is_found() {
    let planted = [
        // Out of the ring, by every way of writing it.
        ("fleet/handoff.rs", "use crate::sys::net;", "1: `crate::sys::net` reaches from ring Pure"),
        (
            "fleet/mod.rs",
            "\nuse crate::{\n    protocol::{frame, message::{self}},\n    master as m,\n};",
            "4: `crate::master`",
        ),
        ("fleet/handoff.rs", "fn f() { super::super::sys::kill(1) }", "`super::super::sys::kill` reaches"),
        ("time.rs", "use super::{balance, lane::*};", "`super::lane` reaches"),
        ("http/head.rs", "mod tests { mod deep { use super::super::super::super::api; } }", "out to Api"),
        ("http/head.rs", "#[cfg(test)] mod tests { use crate::worker::Worker; }", "out to Loop"),
        ("http/tests.rs", "use crate::worker::Worker;", "out to Loop"),
        ("http/head_tests.rs", "use super::super::super::worker::Worker;", "out to Loop"),
        ("http/head.rs", "mod a { fn f() {} } use super::super::sys::net;", "out to System"),
        ("http/head.rs", "fn f<T>() -> impl Sized + use<T> { crate::sys::x() }", "out to System"),
        ("sys/mod.rs", "type A = Vec<crate::master::Key>;", "from ring System out to Loop"),
        ("master/control.rs", "pub use crate::api::Event;", "from ring Loop out to Api"),
        ("api/mod.rs", "macro_rules! m { () => { $crate::cli::x() } }", "out to Face"),
        ("worker/mod.rs", "use crate::Settings;", "goes through the crate's root"),
        ("balance/mod.rs", "use super::*;", "`super` goes through the crate's root"),
        ("cli/run.rs", "use pointsman::{Cluster, fleet::Fleet};", "`pointsman::fleet::Fleet` is inside"),
        ("cli/run.rs", "use pointsman::http::Head;", "`pointsman::http::Head` is inside"),
        ("cli/demo/http.rs", "use pointsman::fleet::Fleet;", "`pointsman::fleet::Fleet` is inside"),
        // Not pure.
        (
            "fleet/mod.rs",
            "// a\n/* b\n/* c */ */ let s = \"\n\\\"\"; use std::time::Instant;",
            "4: `Instant` is not for",
        ),
        ("time.rs", "#[cfg(not(test))] use std::time::{Duration, SystemTime};", "`SystemTime`"),
        ("time.rs", "#[cfg(test)] mod tests {} fn f() { Instant::now() }", "`Instant`"),
        ("time.rs", "#[cfg(test)] mod tests; fn f() { Instant::now() }", "`Instant`"),
        ("metrics/mod.rs", "use std::{collections::HashMap, io::{self}};", "`std::io` is not for"),
        ("metrics/mod.rs", "use std::{collections::HashMap, net::TcpStream};", "`TcpStream`"),
        ("forward/mod.rs", "fn f<'a>(x: &'a str) { ::std::fs::read(x) }", "`std::fs::read` is not for"),
        ("forward/mod.rs", "fn f() -> Vec<u8> { std::env::var('x') }", "`std::env::var` is not for"),
        ("forward/mod.rs", "use std as rust;", "`std` is not for"),
        ("protocol/mod.rs", "let q = '\"'; log::warn!(\"x\");", "`log::warn` is not for"),
        ("protocol/mod.rs", "use nix::errno::Errno;", "`nix::errno::Errno`"),
        ("protocol/mod.rs", "let r = r#\"\"\"#; println!()", "`println` is not for"),
        ("http/mod.rs", "static COUNT: AtomicU64 = AtomicU64::new(0);", "`static`"),
        ("http/mod.rs", "static mut COUNT: u64 = 0;", "`static`"),
        ("http/mod.rs", "thread_local! { static X: u8 = 0; }", "`thread_local`"),
        // Unsafe outside sys, the binary's own rules, the unknown.
        ("master/mod.rs", "fn f() { unsafe { g() } }", "`unsafe` is for src/sys/ only"),
        ("lib.rs", "unsafe extern \"C\" {}", "`unsafe` is for src/sys/ only"),
        ("main.rs", "fn main() { libc::abort() }", "`libc::abort` is not for the binary"),
        ("config/mod.rs", "use nix::unistd;", "`nix::unistd` is not for the binary"),
        ("master/mod.rs", "#[path = \"../api/x.rs\"] mod x;", "`#[path]` hides"),
        ("util/mod.rs", "", "src/util/mod.rs:1: `util` stands in no ring"),
        ("util.rs", "", "src/util.rs:1: `util` stands in no ring"),
    ];
    for (file, text, expected) in planted {
        let found = check(file, text);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{file}: {text}\nfound {found:#?}\nnot {expected}"
        );
    }
}

#[test]
fn what_keeps_the_rings_passes() {
    let innocent = [
        ("lib.rs", "pub mod api; pub use crate::api::Cluster; pub use sys::trampoline;"),
        ("main.rs", "mod cli; fn main() { pointsman::Cluster::new(); crate::cli::run(); }"),
        (
            "cli/demo.rs",
            "use super::*; use crate::config; use std::{env, io}; use pointsman::{Worker, api::Event};",
        ),
        ("cli/demo/http.rs", "use pointsman::http::{Head, answer::Manner};"),
        ("api/mod.rs", "use crate::{fleet, lane, master, sys, worker}; use self::event::Event;"),
        ("lane/mod.rs", "use crate::master; use log::info; fn f() { std::time::Instant::now(); }"),
        ("sys/net.rs", "use std::os::fd::OwnedFd; fn f() { unsafe { libc::close(0) } }"),
        (
            "fleet/handoff.rs",
            "use super::Fleet; use crate::{balance::*, protocol, time::Time}; use self::inner::X;",
        ),
        (
            "fleet/mod.rs",
            "use std::{net::{IpAddr, SocketAddr}, sync::Arc, time::Duration}; static T: [u8; 2] = [0; 2];",
        ),
        (
            "fleet/mod.rs",
            "/// Not an Instant, crate::sys::x or \"unsafe\n fn log() { log(\"std::fs::read \\\" unsafe\") }",
        ),
        (
            "fleet/mod.rs",
            "const S: &'static str = br##\"crate::sys \"# Instant\"##; const C: char = '\\''; // '",
        ),
        (
            "fleet/mod.rs",
            "/* /* */ unsafe */ fn f() { self.log.print(); r#unsafe() } pub(in crate::fleet) fn g() {}",
        ),
        (
            "time.rs",
            "#[cfg(test)] mod tests { use super::*; fn f() { std::fs::read(\"\"); Instant::now(); } }",
        ),
        ("time.rs", "#[cfg(all(test, unix))] fn f(x: [u8; 4]) { println!(); }"),
        ("time/tests.rs", "use super::Time; use std::time::Instant;"),
        ("http/head.rs", "#[cfg(test)] #[path = \"head_tests.rs\"] mod tests;"),
        ("http/head_tests.rs", "use super::{super::body::Body, Head}; use std::time::Instant;"),
    ];
    for (file, text) in innocent {
        assert_eq!(check(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
