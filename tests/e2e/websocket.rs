//! WebSockets through a lane, to a real server of npm.

use std::{net::TcpStream, path::Path, time::Duration};

use nix::sys::signal::Signal;
use tungstenite::{Message, WebSocket, client};

use crate::harness::{Master, Node, Pointsman, eventually, eventually_some, now};

const FRAMES: usize = 5_000;

fn run(workers: usize) -> Pointsman {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node_modules/ws");
    let run = Pointsman::multiport().workers(workers);
    run.env("WS_PACKAGE", package).node(Node::DEFAULT, "ws_echo.js")
}

fn open(master: &Master) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(master.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client("ws://test/chat?room=1", stream).unwrap().0
}

fn echo(socket: &mut WebSocket<TcpStream>, message: &Message) {
    socket.send(message.clone()).unwrap();
    assert_eq!(socket.read().unwrap(), *message);
}

#[test]
fn thousands_of_frames_of_all_sizes_come_back() {
    let mut master = run(2).start();
    master.wait_ready(2);
    let (mut one, mut other) = (open(&master), open(&master));
    for number in 0..FRAMES {
        echo(&mut one, &Message::text(format!("one {number}")));
        if number % 50 == 0 {
            echo(&mut other, &Message::binary(vec![number.to_le_bytes()[0]; number * 20]));
        }
    }
    // Many under way at once, in order.
    for number in 0..1000 {
        one.send(Message::text(number.to_string())).unwrap();
    }
    for number in 0..1000 {
        assert_eq!(one.read().unwrap(), Message::text(number.to_string()));
    }
    one.close(None).unwrap();
    eventually("the end is answered", || one.read().is_err());
    drop((one, other));
    master.finish();
}

#[test]
fn a_connection_survives_a_reload_until_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(4);
    let run = run(1).option("--stop-timeout", "4s");
    let mut master = run.allow_log("has not left").allow_log("SIGTERM").start();
    master.wait_ready(1);
    let before = master.get("/").number("pid");
    let mut socket = open(&master);
    echo(&mut socket, &Message::text("before"));
    let begun = now();
    master.signal(Signal::SIGHUP);
    eventually_some("requests go to the successor", || {
        let pid = master.get("/").number("pid");
        (pid != before).then_some(pid)
    });
    while begun.elapsed() < DEADLINE / 2 {
        echo(&mut socket, &Message::text("meanwhile"));
    }
    eventually("its time is over", || socket.send(Message::text("after")).is_err() || socket.read().is_err());
    assert!(begun.elapsed() >= DEADLINE, "it was cut after {:?}", begun.elapsed());
    master.finish();
}
