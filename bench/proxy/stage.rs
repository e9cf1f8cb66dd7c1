//! A front with what stands behind it: two upstreams are started, and this process then becomes the front, so that they are
//! its children and end with it. Usage: `--stage FRONT PORT DIRECTORY POINTSMAN`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::{floor, upstream};

/// The first argument that asks for a stage, and for an upstream.
pub(crate) const STAGE: &str = "--stage";
const UPSTREAM: &str = "--upstream";

/// Upstreams behind every front.
pub(crate) const UPSTREAMS: usize = 2;

/// Serves until it is killed, if the arguments (without the program's name) ask for it.
pub(crate) fn run_if_asked(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let first = args.next()?;
    let failed = if first == OsStr::new(UPSTREAM) {
        run_upstream().map(|never| match never {})
    } else if first == OsStr::new(STAGE) {
        let mut text = || args.next().unwrap_or_default();
        let (front, port, directory, pointsman) = (text(), text(), text(), text());
        let port = port.to_str().and_then(|port| port.parse().ok()).unwrap_or(0);
        set(&front, port, Path::new(&directory), Path::new(&pointsman))
    } else {
        return None;
    };
    if let Err(error) = failed {
        eprintln!("stage: {error}");
    }
    Some(ExitCode::FAILURE)
}

fn run_upstream() -> io::Result<std::convert::Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    upstream::serve(&TcpListener::from(listener))
}

/// Starts the upstreams and becomes the front. Returns only if that fails.
fn set(front: &OsStr, port: u16, directory: &Path, pointsman: &Path) -> io::Result<()> {
    let mut upstreams = Vec::new();
    for _ in 0..UPSTREAMS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        upstreams.push(listener.local_addr()?);
        let mut command = Command::new("/proc/self/exe");
        command.arg(UPSTREAM).stdin(Stdio::from(OwnedFd::from(listener)));
        // It ends with this process.
        drop(command.spawn()?);
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match front.to_str().unwrap_or_default() {
        "nginx" => nginx(address, &upstreams, directory),
        "haproxy" => haproxy(address, &upstreams, directory),
        "pointsman" => self::pointsman(address, &upstreams, directory, pointsman),
        "floor" => floor::serve(&TcpListener::bind(address)?, &upstreams).map(|never| match never {}),
        other => Err(io::Error::other(format!("no such front: {other}"))),
    }
}

fn written(directory: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// One process, no access log, no file for a body, and the fields that Pointsman adds.
fn nginx(address: SocketAddr, upstreams: &[SocketAddr], directory: &Path) -> io::Result<()> {
    let servers: String = upstreams.iter().map(|upstream| format!("server {upstream};")).collect();
    let here = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {here}/{name};\n"))
        .collect();
    let text = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {here}/nginx.pid;\nerror_log {here}/error.log;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\nclient_max_body_size 0;\n{temporary}\
         upstream behind {{ {servers} keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen {address} backlog=4096;\nlocation / {{\nproxy_pass http://behind;\nproxy_http_version 1.1;\n\
         proxy_request_buffering off;\nproxy_max_temp_file_size 0;\n\
         proxy_set_header Connection \"\";\nproxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\nproxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host;\nproxy_set_header X-Request-ID $request_id;\n\
         proxy_set_header Via \"1.1 nginx\";\n}} }} }}\n"
    );
    let path = written(directory, "nginx.conf", &text)?;
    Err(Command::new("nginx").arg("-c").arg(path).exec())
}

/// One thread, connections to upstreams shared by all clients, and the fields that Pointsman adds.
fn haproxy(address: SocketAddr, upstreams: &[SocketAddr], directory: &Path) -> io::Result<()> {
    let servers: String =
        upstreams.iter().zip(1..).map(|(upstream, n)| format!("    server s{n} {upstream}\n")).collect();
    let text = format!(
        "global\n    nbthread 1\n    maxconn 9000\ndefaults\n    mode http\n    http-reuse always\n    timeout connect 5s\n    \
         timeout client 60s\n    timeout server 60s\n    timeout http-keep-alive 75s\n    maxconn 9000\n\
         frontend in\n    bind {address} backlog 4096\n    default_backend behind\n    option forwardfor\n    \
         unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid\n    unique-id-header X-Request-ID\n    \
         http-request set-header X-Forwarded-Proto http\n    http-request set-header X-Forwarded-Host %[req.hdr(Host)]\n    \
         http-request set-header Via \"1.1 haproxy\"\nbackend behind\n    balance roundrobin\n{servers}"
    );
    let path = written(directory, "haproxy.cfg", &text)?;
    Err(Command::new("haproxy").arg("-db").arg("-f").arg(path).exec())
}

fn pointsman(
    address: SocketAddr,
    upstreams: &[SocketAddr],
    directory: &Path,
    pointsman: &Path,
) -> io::Result<()> {
    let list: Vec<String> = upstreams.iter().map(|upstream| format!("\"{upstream}\"")).collect();
    let text = format!(
        "mode = \"multiport\"\nworkers = 0\nlisten = {{ address = \"{address}\", backlog = 4096 }}\nupstreams = [{}]\n",
        list.join(", ")
    );
    let path = written(directory, "pointsman.toml", &text)?;
    Err(Command::new(pointsman).args(["run", "-c"]).arg(path).exec())
}
