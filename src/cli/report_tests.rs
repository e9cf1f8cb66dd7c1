//! What is said of a cluster, event by event.

use super::*;
use pointsman::Address;

fn lines(report: &mut Report, events: &[Event]) -> Vec<String> {
    let mut line = |event| {
        let line = report.line(event);
        (line.level <= Info).then(|| format!("{}: {}", line.level, line.text))
    };
    events.iter().filter_map(&mut line).collect()
}

fn fork(id: u32) -> Event {
    Event::Fork { worker: WorkerId(id), slot: 0, pid: 100 + id, generation: 1 }
}

fn listening(id: u32) -> Event {
    Event::Listening {
        worker: WorkerId(id),
        address: Address::Tcp { host: None, port: 8000 },
        elsewhere: false,
    }
}

fn ready(id: u32) -> Event {
    Event::Ready { worker: WorkerId(id), after: Duration::from_millis(20) }
}

fn exit(id: u32, status: ExitStatus, expected: bool, restart: bool) -> Event {
    Event::Exit {
        worker: WorkerId(id),
        status,
        exited_after_disconnect: expected,
        lived: Duration::from_millis(40),
        restart: restart.then_some(Duration::from_secs(1)),
    }
}

fn silent(id: u32) -> Event {
    Event::Trouble { worker: WorkerId(id), trouble: Trouble::Silent { after: Duration::from_secs(5) } }
}

#[test]
fn a_good_life_is_a_few_lines() {
    let mut report = Report::new("node x".into(), 2, Vec::new());
    let online = |id| Event::Online { worker: WorkerId(id) };
    let events = [
        fork(1),
        fork(2),
        online(2),
        listening(2),
        ready(2),
        listening(2),
        online(1),
        listening(1),
        ready(1),
    ];
    assert_eq!(lines(&mut report, &events), ["INFO: ready: all 2 workers listen"]);
    let crash = [exit(1, ExitStatus::Signal(11), false, true), fork(3), listening(3), ready(3)];
    assert_eq!(
        lines(&mut report, &crash),
        [
            "WARN: worker 1 (pid 101) was killed by SIGSEGV after 40 ms; its successor starts in 1 s",
            "INFO: worker 3 (pid 103) is ready",
        ]
    );
    let end = [
        Event::Stopping { workers: 2, timeout: Some(Duration::from_secs(30)) },
        exit(2, ExitStatus::Code(0), true, false),
        exit(3, ExitStatus::Signal(9), true, false),
        exit(4, ExitStatus::Signal(15), false, false),
        Event::Stopped,
    ];
    assert_eq!(
        lines(&mut report, &end),
        [
            "INFO: stopping: accepts nothing more; 2 workers have 30 s to finish what is in flight",
            "INFO: worker 3 (pid 103) was killed by SIGKILL after 40 ms",
            "INFO: stopped",
        ]
    );
}

#[test]
fn what_is_waited_for_before_the_start_is_named() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    let what = || "127.0.0.1:5432".to_owned();
    let events = [Event::WaitsFor { what: what() }, Event::Found { what: what() }];
    let expected = [
        "INFO: waits for 127.0.0.1:5432 before it starts workers (depends)",
        "INFO: 127.0.0.1:5432 is there now",
    ];
    assert_eq!(lines(&mut report, &events), expected);
}

#[test]
fn a_crash_loop_is_explained_once() {
    let code = ExitStatus::Code(1);
    let told = vec!["127.0.0.1:8000".parse().unwrap()];
    let unheard = trouble::never_spoke("node x", &told);
    assert!(unheard.contains("never spoke") && unheard.contains("holds 127.0.0.1:8000"), "{unheard}");
    let of_itself = "its own output may say why; try it alone: node x";
    for (online, advice) in [(false, &*unheard), (true, of_itself)] {
        let mut report = Report::new("node x".into(), 1, told.clone());
        let life = |id| {
            let spoken = online.then_some(Event::Online { worker: WorkerId(id) });
            [Some(fork(id)), spoken, Some(exit(id, code, false, true))].into_iter().flatten()
        };
        let events: Vec<_> = (1..=3).flat_map(life).collect();
        let lines = lines(&mut report, &events);
        let first = "WARN: worker 1 (pid 101) exited with code 1 after 40 ms, before it listened; its successor \
                     starts in 1 s";
        assert_eq!(lines[0], format!("{first}\n{advice}"));
        assert!(lines[1..].iter().all(|line| line.ends_with("starts in 1 s")), "{lines:?}");
        assert_eq!(lines.len(), 3);
    }
}

#[test]
fn another_reason_to_end_is_explained_too() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    let code = ExitStatus::Code(1);
    let online = Event::Online { worker: WorkerId(2) };
    let events = [fork(1), exit(1, code, false, true), fork(2), online, exit(2, code, false, true)];
    let lines = lines(&mut report, &events);
    assert!(lines[0].contains("never spoke") && lines[1].contains("its own output"), "{lines:?}");
}

#[test]
fn a_program_that_cannot_be_executed_is_not_explained_twice() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    // There is no advice for this errno.
    let trouble = Trouble::LaunchFailed { step: "exec".into(), errno: 12 };
    let failed = Event::Trouble { worker: WorkerId(1), trouble };
    let lines = lines(&mut report, &[fork(1), failed, exit(1, ExitStatus::Code(1), false, true)]);
    assert!(lines.len() == 2 && lines[0].starts_with("ERROR: "), "{lines:?}");
    assert!(lines[1].ends_with("starts in 1 s"), "{lines:?}");
}

#[test]
fn a_program_that_accepts_by_itself_is_told_where_its_sockets_are() {
    let told = vec!["127.0.0.1:8000".parse().unwrap()];
    let mut report = Report::new("python3 x.py".into(), 1, told).shared(true);
    let lines = lines(&mut report, &[fork(1), exit(1, ExitStatus::Code(1), false, true)]);
    assert!(lines[0].contains("code 1 after 40 ms; its successor"), "{lines:?}");
    assert!(lines[0].contains("127.0.0.1:8000 is descriptor 3"), "{lines:?}");
}

#[test]
fn another_trouble_of_the_same_kind_is_said() {
    let mut report = Report::new("node x".into(), 4, Vec::new());
    let events = [80, 81, 80, 0, 0].map(|port| {
        let unix = Address::Unix("/x".to_owned());
        let (address, errno) = if port == 0 { (unix, 13) } else { (Address::Tcp { host: None, port }, 98) };
        let trouble = Trouble::ListenFailed { address, errno };
        Event::Trouble { worker: WorkerId(1), trouble }
    });
    let lines = lines(&mut report, &events);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("*:80") && lines[0].contains("ss -ltnp"), "{lines:?}");
    assert!(lines[1].contains("*:81") && !lines[1].contains('\n'), "{lines:?}");
    assert!(lines[2].contains("unix:/x") && lines[2].contains("that directory"), "{lines:?}");
}

#[test]
fn what_is_remembered_is_bounded_and_nothing_is_lost_by_that() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    let broke = |why: usize| {
        let trouble = Trouble::BrokeProtocol { why: why.to_string() };
        Event::Trouble { worker: WorkerId(1), trouble }
    };
    let events: Vec<_> = (0..1000).map(broke).collect();
    assert_eq!(lines(&mut report, &events).len(), 1000);
    assert_eq!(report.said.len(), REMEMBERED);
}

#[test]
fn who_tells_of_connections_is_for_those_who_ask_unless_it_is_nobody() {
    let mut report = Report::new("node x".into(), 2, Vec::new());
    let event = |source| Event::LoadSource { worker: WorkerId(1), source };
    for (source, text) in [
        (LoadSource::Reports, "itself"),
        (LoadSource::Script, "by the script"),
        (LoadSource::Kernel, "the kernel does"),
    ] {
        let event = event(source);
        let line = report.line(&event);
        assert_eq!(line.level, Debug);
        assert!(line.text.to_string().contains(text), "{}", line.text);
    }
    let nobody = || event(LoadSource::None);
    let [line] = &lines(&mut report, &[nobody(), nobody()])[..] else { panic!("once") };
    assert!(line.starts_with("WARN: worker 1 does not tell the ends of its connections"), "{line}");
}

#[test]
fn in_the_shared_mode_nobody_needs_to_speak() {
    let end = |code, seconds| Event::Exit {
        worker: WorkerId(1),
        status: ExitStatus::Code(code),
        exited_after_disconnect: false,
        lived: Duration::from_secs(seconds),
        restart: None,
    };
    for (code, seconds, level, advice) in [
        (0, 60, Info, ""),
        (1, 60, Warn, ""),
        (0, 1, Warn, "\na worker is to listen and to stay"),
        (1, 1, Warn, "\nits own output may say why"),
    ] {
        let mut report = Report::new("puma".into(), 1, Vec::new()).shared(true);
        report.line(&fork(1));
        let event = end(code, seconds);
        let line = report.line(&event);
        let text = line.text.to_string();
        assert_eq!((line.level, text.contains('\n')), (level, !advice.is_empty()), "{text}");
        assert!(text.contains(advice) && !text.contains("before it listened"), "{text}");
    }
}

#[test]
fn in_the_shared_mode_nobody_is_lectured_for_being_killed() {
    for shared in [true, false] {
        let mut report = Report::new("puma".into(), 1, Vec::new()).shared(shared);
        let lines = lines(&mut report, &[fork(1), exit(1, ExitStatus::Signal(9), false, true)]);
        assert!(lines[0].contains("was killed by SIGKILL"), "{lines:?}");
        assert_eq!(lines[0].contains('\n'), !shared, "{lines:?}");
    }
}

#[test]
fn a_message_is_not_printed_to_be_thrown_away() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    report.line(&fork(1));
    let message = serde_json::json!({ "a": [1] });
    let event = Event::Message { worker: WorkerId(1), message: message.clone() };
    let line = report.line(&event);
    assert!(matches!(line.text, Text::Sent(_, sent) if *sent == message), "{line:?}");
    assert_eq!(line.text.to_string(), "worker 1 (pid 101) sent {\"a\":[1]}");
}

#[test]
fn the_same_trouble_of_all_first_workers_is_said_once() {
    let mut report = Report::new("python3 x.py".into(), 3, Vec::new());
    let lines =
        lines(&mut report, &[fork(1), fork(2), fork(3), silent(1), silent(2), silent(3), fork(4), silent(4)]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("-m multiport") && lines[0].contains("not said again"), "{lines:?}");
    assert!(lines[1].starts_with("WARN: worker 4 (pid 104) has said nothing") && !lines[1].contains('\n'));
}

#[test]
fn what_comes_ten_times_a_second_is_not_told_each_time() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    let endpoint: Endpoint = "127.0.0.1:1".parse().unwrap();
    let failed =
        || Event::AcceptFailed { endpoint: endpoint.clone(), errno: 24, pause: Duration::from_millis(100) };
    let lines = lines(&mut report, &(0..1000).map(|_| failed()).collect::<Vec<_>>());
    assert_eq!(lines.len(), 10);
    assert!(lines[0].contains("ulimit -n"), "{lines:?}");
}

#[test]
fn stopping_says_who_may_still_work() {
    let seconds = Some(Duration::from_secs(30));
    for (workers, timeout, expected) in [
        (0, seconds, "stopping: accepts nothing more"),
        (1, seconds, "stopping: accepts nothing more; 1 worker has 30 s to finish what is in flight"),
        (2, None, "stopping: accepts nothing more; 2 workers may finish what is in flight"),
    ] {
        let event = Event::Stopping { workers, timeout };
        let line = Report::new("node x".into(), 1, Vec::new()).line(&event);
        assert_eq!(line.text.to_string(), expected);
    }
}

#[test]
fn events_of_workers_that_are_gone_are_named_all_the_same() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    for event in [
        listening(9),
        exit(9, ExitStatus::Code(0), false, true),
        silent(9),
        Event::Disconnect { worker: WorkerId(9) },
    ] {
        let text = report.line(&event).text.to_string();
        assert!(text.contains("worker 9"), "{text}");
    }
}

#[test]
fn last_words_are_said_unless_they_were_shown() {
    let mut report = Report::new("node x".into(), 1, Vec::new());
    let words = |shown| {
        let lines = vec!["Error: boom".to_owned(), "    at x".to_owned()];
        Event::LastWords { worker: WorkerId(1), lines, shown }
    };
    let said = lines(&mut report, &[fork(1), words(true), words(false)]);
    assert_eq!(said, ["WARN: worker 1 (pid 101) wrote last:\nError: boom\n    at x"]);
    let full = Event::OutputFailed { sink: "/x".into(), errno: 28 };
    assert!(lines(&mut report, &[full])[0].starts_with("ERROR: cannot write the output of workers to /x: "));
}
