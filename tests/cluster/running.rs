//! The simple form.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pointsman::{Cluster, Event, ExitStatus, Listen, Settings};

use crate::outer::children;

fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"pid\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

pub(crate) fn a_signal_ends_it_and_requests_before_it_are_answered() {
    let settings =
        Settings::new("/proc/self/exe").workers(2).listen(Listen::tcp((Ipv4Addr::LOCALHOST, 0).into()));
    let (mut serving, mut client, mut seen) = (0, None, Vec::new());
    let handler = |cluster: &mut Cluster, event: Event| {
        serving += usize::from(matches!(event, Event::Listening { .. }));
        if serving == 2 && client.is_none() {
            let address = cluster.addresses()[0];
            client = Some(thread::spawn(move || {
                let answers: Vec<_> = (0..6).map(|_| ask(address)).collect();
                kill(Pid::this(), Signal::SIGTERM).unwrap();
                answers
            }));
        }
        seen.push(event);
    };
    Cluster::new(settings).unwrap().run(handler).unwrap();
    let answers = client.unwrap().join().unwrap();
    assert!(answers.iter().all(|answer| answer.trim_end().parse::<u32>().is_ok()), "{answers:?}");
    let left = |event: &&Event| {
        matches!(event, Event::Exit { status: ExitStatus::Code(0), exited_after_disconnect: true, .. })
    };
    assert_eq!(seen.iter().filter(left).count(), 2, "{seen:?}");
    assert!(matches!(seen.last(), Some(Event::Stopped)), "{seen:?}");
    assert_eq!(children(), []);
}
