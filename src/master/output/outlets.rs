//! All places that output goes to, and which stream of which worker goes where.

use std::{
    fs::File,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use super::{
    ERR, OUT, Rotation, Sink, Streams, Writer,
    file::LogFile,
    outlet::{Outlet, Target},
};
use crate::sys::output;

/// Stands for the slot in the name of a file.
const SLOT: &[u8] = b"{slot}";

/// See the module. Places are never given up, since there are as many as slots have been.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) all: Vec<Outlet>,
    routes: Streams<Route>,
    /// Where what lanes write to their standard output goes.
    access_log: Route,
    rotation: Rotation,
}

/// Where a stream goes.
#[derive(Debug)]
enum Route {
    /// Past us.
    Inherited,
    /// To the outlet with this number.
    Own(usize),
    /// To files of this name.
    File(PathBuf),
}

/// Where a stream of a worker goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The number of the outlet.
    pub(super) outlet: usize,
    /// What stands before each line.
    pub(super) prefix: Vec<u8>,
    /// The place is a standard stream of ours.
    pub(super) shown: bool,
}

impl Outlets {
    /// Opens the files of so many slots. `own` are our standard streams. The error comes with the path.
    pub(super) fn open(
        sinks: Streams<&Sink>,
        access_log: Option<&Sink>,
        own: Streams<File>,
        rotation: Rotation,
        slots: u32,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let mut all = Vec::new();
        let [stdout, stderr] = own;
        // On a terminal, and where one was made of both, a line begun on one stream is on the page of the other.
        let one = output::is_same(&stdout, &stderr);
        let [to_stdout, to_stderr] = sinks.map(|sink| *sink == Sink::Prefix);
        let log_to_stdout = access_log == Some(&Sink::Prefix);
        let mut routes = [Route::Inherited, Route::Inherited];
        if to_stdout || log_to_stdout {
            all.push(Outlet::new(Target::Stream("standard output", stdout)));
        }
        if to_stdout {
            routes[OUT] = Route::Own(0);
        }
        if to_stderr && to_stdout && one {
            routes[ERR] = Route::Own(0);
        } else if to_stderr {
            routes[ERR] = Route::Own(all.len());
            all.push(Outlet::new(Target::Stream("standard error", stderr)));
        }
        let mut access_route = if log_to_stdout { Route::Own(0) } else { Route::Inherited };
        let places = routes.iter_mut().zip(sinks).chain(std::iter::once(&mut access_route).zip(access_log));
        for (route, sink) in places {
            if let Sink::File(path) = sink {
                // What is relative stays where it is now.
                let absolute = std::path::absolute(path).map_err(|error| (path.clone(), error))?;
                *route = Route::File(absolute);
            }
        }
        let mut outlets = Self { all, routes, access_log: access_route, rotation };
        for slot in 0..slots {
            for stream in [OUT, ERR] {
                outlets.way(Writer::Slot(slot), stream);
            }
        }
        outlets.way(Writer::Lane(0), OUT);
        for outlet in &mut outlets.all {
            if let Err(error) = outlet.open()
                && let Target::File(file) = outlet.target()
            {
                return Err((file.path().to_owned(), error));
            }
        }
        Ok(outlets)
    }

    /// Where a stream of this process goes; `None` if past us.
    pub(super) fn way(&mut self, writer: Writer, stream: usize) -> Option<Way> {
        let (name, is_log) = match writer {
            Writer::Slot(slot) => (slot.to_string(), false),
            Writer::Lane(lane) => (format!("lane {lane}"), stream == OUT),
        };
        let route = if is_log { &self.access_log } else { &self.routes[stream] };
        let prefix = || if is_log { Vec::new() } else { format!("[{name}] ").into_bytes() };
        let template = match route {
            Route::Inherited => return None,
            Route::Own(outlet) => return Some(Way { outlet: *outlet, prefix: prefix(), shown: true }),
            Route::File(template) => template,
        };
        let path = path_of(template, &name.replace(' ', "-"));
        let prefix = if path == *template { prefix() } else { Vec::new() };
        let is_it = |outlet: &Outlet| matches!(outlet.target(), Target::File(file) if file.path() == path);
        let outlet = self.all.iter().position(is_it).unwrap_or(self.all.len());
        if outlet == self.all.len() {
            self.all.push(Outlet::new(Target::File(LogFile::new(path, self.rotation))));
        }
        Some(Way { outlet, prefix, shown: false })
    }
}

/// The file of a slot, or of a lane.
fn path_of(template: &Path, name: &str) -> PathBuf {
    let bytes = template.as_os_str().as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, SLOT) {
        path.extend_from_slice(&rest[..at]);
        path.extend_from_slice(name.as_bytes());
        rest = &rest[at + SLOT.len()..];
    }
    path.extend_from_slice(rest);
    std::ffi::OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> File {
        File::options().write(true).open("/dev/null").unwrap()
    }

    fn zero() -> File {
        File::options().write(true).open("/dev/zero").unwrap()
    }

    fn ways(stdout: &Sink, stderr: &Sink, own: Streams<File>) -> Vec<Option<(usize, String, bool)>> {
        let mut outlets = Outlets::open([stdout, stderr], None, own, Rotation::default(), 0).unwrap();
        let mut way = |slot, stream| {
            let way = outlets.way(Writer::Slot(slot), stream)?;
            Some((way.outlet, String::from_utf8(way.prefix).unwrap(), way.shown))
        };
        [(0, OUT), (0, ERR), (12, OUT), (12, ERR)].map(|(slot, stream)| way(slot, stream)).into()
    }

    #[test]
    fn each_stream_has_its_way() {
        let file = |name: &str| Sink::File(name.into());
        let plain = |outlet| Some((outlet, String::new(), false));
        let marked = |outlet, slot, shown| Some((outlet, format!("[{slot}] "), shown));
        for (stdout, stderr, own, expected) in [
            (Sink::Inherit, Sink::Inherit, [null(), zero()], [None, None, None, None]),
            (
                Sink::Prefix,
                Sink::Prefix,
                [null(), zero()],
                [marked(0, 0, true), marked(1, 0, true), marked(0, 12, true), marked(1, 12, true)],
            ),
            (
                Sink::Prefix,
                Sink::Prefix,
                [null(), null()],
                [marked(0, 0, true), marked(0, 0, true), marked(0, 12, true), marked(0, 12, true)],
            ),
            (
                Sink::Inherit,
                Sink::Prefix,
                [null(), null()],
                [None, marked(0, 0, true), None, marked(0, 12, true)],
            ),
            (
                file("/x/{slot}/{slot}"),
                file("/x/12/12"),
                [null(), null()],
                [plain(0), marked(1, 0, false), plain(1), marked(1, 12, false)],
            ),
        ] {
            assert_eq!(ways(&stdout, &stderr, own), expected, "{stdout:?} {stderr:?}");
        }
    }

    #[test]
    fn what_lanes_write_is_the_access_log_and_their_own_trouble() {
        let ways = |access_log: Option<&Sink>, stderr: &Sink| {
            let own = [null(), zero()];
            let mut outlets =
                Outlets::open([&Sink::Inherit, stderr], access_log, own, Rotation::default(), 0).unwrap();
            [OUT, ERR].map(|stream| {
                let way = outlets.way(Writer::Lane(1), stream)?;
                let name = outlets.all[way.outlet].target().name();
                Some((name, String::from_utf8(way.prefix).unwrap()))
            })
        };
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (log, own) = (Sink::File(at("access.log")), Sink::File(at("{slot}.err")));
        let is = |path: std::path::PathBuf| path.display().to_string();
        assert_eq!(ways(None, &Sink::Inherit), [None, None]);
        let found = ways(Some(&log), &Sink::Prefix);
        let error = Some(("standard error".into(), "[lane 1] ".into()));
        assert_eq!(found, [Some((is(at("access.log")), String::new())), error]);
        assert!(at("access.log").exists(), "it is opened at once");
        let found = ways(Some(&Sink::Prefix), &own);
        let output = Some(("standard output".into(), String::new()));
        assert_eq!(found, [output, Some((is(at("lane-1.err")), String::new()))]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str, slots| {
            let sink = Sink::File(directory.path().join(name));
            Outlets::open([&sink, &Sink::Inherit], None, [null(), null()], Rotation::default(), slots)
        };
        std::fs::create_dir(directory.path().join("log-2")).unwrap();
        open("log-{slot}", 2).unwrap();
        assert!(directory.path().join("log-1").exists());
        let (path, error) = open("log-{slot}", 3).unwrap_err();
        assert_eq!((path, error.kind()), (directory.path().join("log-2"), io::ErrorKind::IsADirectory));
    }
}
