//! What workers say, and what becomes of it.

use std::time::Duration;

use super::*;
use crate::{
    balance::PolicyName,
    fleet::Rules,
    protocol::{frame::MAX_VALUES, serialization::Serialization},
};

const WORKER: WorkerId = WorkerId(1);
const NOW: Time = Time(0);
const HELLO: &str = r#"{"cmd":"NODE_POINTSMAN","hello":1,"script":true}"#;
const QUERY: &str = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1,"index":0,"address":null,"port":8000,"addressType":4,"fd":null,"flags":0,"data":null,"backlog":511}"#;

fn say(fleet: &mut Fleet<u32>, text: &str) {
    fleet.handle_message(NOW, WORKER, Message::decode(Serialization::Json, text.as_bytes()).unwrap());
}

fn outputs(fleet: &mut Fleet<u32>) -> Vec<Output<u32>> {
    std::iter::from_fn(|| fleet.poll_output()).collect()
}

#[test]
fn a_connection_that_comes_back_from_a_socket_which_is_closed_is_let_go() {
    let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::RoundRobin);
    fleet.start(NOW);
    fleet.handle_spawned(WORKER, 100);
    say(&mut fleet, QUERY);
    let bind = outputs(&mut fleet).into_iter().find_map(|output| match output {
        Output::Bind { ack, wish, .. } => Some((ack, wish)),
        _ => None,
    });
    let (ack, wish) = bind.unwrap();
    let endpoint = "[::]:8000".parse().unwrap();
    let listener = fleet.handle_bound(NOW, WORKER, ack, &wish, endpoint).unwrap();
    fleet.happens(NOW, WORKER, Happening::Listening);
    fleet.handle_connection(NOW, listener, 7);
    let seq = outputs(&mut fleet).into_iter().find_map(|output| match output {
        Output::Hand { seq, .. } => Some(seq),
        _ => None,
    });
    say(&mut fleet, r#"{"cmd":"NODE_CLUSTER","act":"close","seq":2,"key":"null:8000:4:undefined:0"}"#);
    say(&mut fleet, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    say(&mut fleet, &format!(r#"{{"cmd":"NODE_CLUSTER","seq":3,"ack":{},"accepted":false}}"#, seq.unwrap()));
    let [closed, released, told] = &outputs(&mut fleet)[..] else { panic!("three outputs") };
    assert!(matches!(closed, Output::CloseListener(id) if *id == listener), "{closed:?}");
    assert!(matches!(released, Output::Release(7)), "{released:?}");
    assert!(matches!(told, Output::Event(Event::LostConnections { count: 1, .. })), "{told:?}");
}

#[test]
fn a_hand_over_lasts_from_the_kernels_queue_to_the_worker_that_accepts_in_the_end() {
    let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::RoundRobin);
    let listener = fleet.listen(std::net::SocketAddr::from(([127, 0, 0, 1], 8000)).into(), false);
    fleet.start(NOW);
    fleet.handle_spawned(WORKER, 100);
    say(&mut fleet, QUERY);
    fleet.happens(NOW, WORKER, Happening::Listening);
    fleet.handle_connection(NOW, listener, 7);
    let mut now = NOW;
    let mut answer = |accepted: bool| {
        let seq = outputs(&mut fleet).into_iter().find_map(|output| match output {
            Output::Hand { seq, .. } => Some(seq),
            _ => None,
        });
        now = now + Duration::from_secs(1);
        let answer =
            format!(r#"{{"cmd":"NODE_CLUSTER","seq":3,"ack":{},"accepted":{accepted}}}"#, seq.unwrap());
        for word in [r#"{"cmd":"NODE_HANDLE_ACK"}"#, &answer] {
            fleet.handle_message(now, WORKER, Message::decode(Serialization::Json, word.as_bytes()).unwrap());
        }
        fleet.handle_timeout(now + Rules::default().refusal_pause);
        (fleet.handoff_times().count(), fleet.handoff_times().sum())
    };
    assert_eq!(answer(false), (0, Duration::ZERO));
    assert_eq!(answer(true), (1, Duration::from_secs(2)));
}

#[test]
fn a_message_of_too_many_values_is_dropped_and_told_of() {
    let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::RoundRobin);
    fleet.start(NOW);
    fleet.handle_spawned(WORKER, 100);
    outputs(&mut fleet);
    say(&mut fleet, &format!("[1{}]", ",1".repeat(MAX_VALUES)));
    let [Output::Event(Event::Trouble { worker: WORKER, trouble: Trouble::DroppedMessage { why } })] =
        &outputs(&mut fleet)[..]
    else {
        panic!("it is not dropped")
    };
    assert_eq!(why, "it holds more than 524288 values");
}

/// What a fleet does and tells about who counts the connections of a worker that says this.
fn told(policy: PolicyName, words: &[&str], kernel_tells: bool) -> Vec<String> {
    let mut fleet = Fleet::<u32>::new(Rules::default(), policy);
    fleet.start(NOW);
    fleet.handle_spawned(WORKER, 100);
    let mut told = Vec::new();
    for word in words {
        fleet.handle_message(NOW, WORKER, Message::decode(Serialization::Json, word.as_bytes()).unwrap());
        while let Some(output) = fleet.poll_output() {
            match output {
                Output::WatchKernel(worker) => {
                    told.push("kernel?".to_owned());
                    fleet.handle_kernel_tells(worker, kernel_tells);
                }
                Output::Event(Event::LoadSource { worker: WORKER, source }) => {
                    told.push(format!("{source:?}"));
                }
                _ => {}
            }
        }
    }
    told
}

#[test]
fn what_the_kernel_is_known_for_too_late_changes_nothing() {
    for tells in [true, false] {
        let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::LeastConnections);
        fleet.start(NOW);
        fleet.handle_spawned(WORKER, 100);
        for word in [QUERY, HELLO] {
            fleet.handle_message(
                NOW,
                WORKER,
                Message::decode(crate::protocol::serialization::Serialization::Json, word.as_bytes())
                    .unwrap(),
            );
        }
        fleet.handle_kernel_tells(WORKER, tells);
        assert_eq!(fleet.workers(NOW).next().unwrap().load_source, LoadSource::Script);
        let told = |output: &Output<u32>| matches!(output, Output::Event(Event::LoadSource { .. }));
        assert_eq!(std::iter::from_fn(|| fleet.poll_output()).filter(told).count(), 1);
    }
}

#[test]
fn only_a_script_whose_word_nothing_goes_by_may_report_late() {
    let intervals = |policy, words: &[&str]| {
        let mut fleet = Fleet::<u32>::new(Rules::default(), policy);
        fleet.start(NOW);
        fleet.handle_spawned(WORKER, 100);
        words.iter().for_each(|word| say(&mut fleet, word));
        let told = outputs(&mut fleet).into_iter().filter_map(|output| match output {
            Output::Tell(WORKER, Told::Interval { interval_ms }) => Some(interval_ms),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let by_itself = r#"{"cmd":"NODE_POINTSMAN","hello":1}"#;
    assert_eq!(intervals(PolicyName::RoundRobin, &[HELLO, HELLO]), [100], "told once");
    assert_eq!(intervals(PolicyName::RoundRobin, &[by_itself]), [0; 0]);
    assert_eq!(intervals(PolicyName::LeastConnections, &[HELLO]), [0; 0]);
    assert_eq!(intervals(PolicyName::LeastConnections, &[QUERY, HELLO]), [0; 0]);
}

#[test]
fn what_only_a_master_says_and_an_answer_to_a_ping_change_nothing() {
    let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::RoundRobin);
    fleet.start(NOW);
    fleet.handle_spawned(WORKER, 100);
    outputs(&mut fleet);
    for word in [r#""pong":1"#, r#""ping":1"#, r#""interval":1"#] {
        say(&mut fleet, &format!(r#"{{"cmd":"NODE_POINTSMAN",{word}}}"#));
        assert!(outputs(&mut fleet).is_empty(), "{word}");
    }
}

#[test]
fn who_counts_is_asked_once_and_told_once() {
    use PolicyName::{LeastConnections, RoundRobin};
    assert_eq!(told(LeastConnections, &[HELLO, HELLO, QUERY, QUERY], true), ["Script"]);
    assert_eq!(told(RoundRobin, &[HELLO, QUERY], true), ["Script"]);
    assert_eq!(told(RoundRobin, &[QUERY, QUERY], true), [""; 0]);
    assert_eq!(told(LeastConnections, &[QUERY, QUERY], true), ["kernel?", "Kernel"]);
    assert_eq!(told(LeastConnections, &[QUERY, QUERY], false), ["kernel?", "None"]);
    assert_eq!(told(LeastConnections, &[QUERY, HELLO], true), ["kernel?", "Kernel", "Script"]);
}
