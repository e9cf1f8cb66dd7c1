//! Custody of connections: windows, answers, refusals, ends.

use super::*;

const A: WorkerId = WorkerId(1);
const B: WorkerId = WorkerId(2);
const LISTENER: ListenerId = ListenerId(0);
const NOW: Time = Time(100);
const LATER: Time = Time(200);

fn held(connection: u32, listener: ListenerId) -> Held<u32> {
    Held { connection, listener, accepted: NOW }
}

fn handoff() -> Handoff<u32> {
    let (stall, handoff_timeout) = (Duration::from_nanos(50), Some(Duration::from_nanos(500)));
    let mut handoff = Handoff::new(&Rules { window: 2, stall, handoff_timeout, ..Rules::default() });
    for worker in [A, B] {
        handoff.add(worker);
        assert!(!handoff.has_room(NOW, worker), "it is not ready");
        handoff.open(worker);
    }
    handoff
}

fn assign(handoff: &mut Handoff<u32>, worker: WorkerId, seq: u64, connection: u32) {
    handoff.assign(NOW, worker, seq, held(connection, LISTENER)).unwrap();
}

/// The number that is kept is the number that there is.
fn check_counts(handoff: &Handoff<u32>) {
    for outbox in handoff.outboxes.values() {
        let unacked = outbox.unacked.iter().filter_map(Parcel::flight).count();
        assert_eq!(outbox.connections, unacked + outbox.acked.len());
    }
}

/// What A accepts.
fn accepted(handoff: &mut Handoff<u32>, seq: u64) -> Result<(u32, bool), Unexpected> {
    check_counts(handoff);
    handoff.accepted(NOW, A, seq).map(|(held, ended)| (held.connection, ended))
}

fn returned(handoff: &mut Handoff<u32>) -> Vec<u32> {
    check_counts(handoff);
    std::iter::from_fn(|| handoff.take_returned(|_, _| true)).map(|held| held.connection).collect()
}

#[test]
fn a_connection_leaves_when_it_is_accepted() {
    let mut handoff = handoff();
    assign(&mut handoff, A, 5, 50);
    assign(&mut handoff, A, 6, 60);
    assert_eq!(handoff.connection(A, 6), Some(&60));
    assert!(!handoff.has_room(NOW, A), "the window is full");
    assert!(handoff.has_room(NOW, B));
    assert_eq!(accepted(&mut handoff, 5), Err(Unexpected), "not before its descriptor has arrived");
    handoff.acknowledged(NOW, A).unwrap();
    assert!(!handoff.has_room(NOW, A), "an acknowledged one still counts");
    handoff.acknowledged(NOW, A).unwrap();
    assert_eq!(handoff.acknowledged(NOW, A), Err(Unexpected));
    assert_eq!(accepted(&mut handoff, 6), Ok((60, false)), "in any order");
    assert_eq!(accepted(&mut handoff, 6), Err(Unexpected), "and once");
    handoff.ended(A, 5);
    assert_eq!(accepted(&mut handoff, 5), Ok((50, true)), "its end was told before");
    assert_eq!(handoff.in_flight(A), 0);
    assert!(!handoff.has_returned());
}

#[test]
fn what_a_worker_does_not_take_comes_back_and_it_gets_a_rest() {
    let mut handoff = handoff();
    assign(&mut handoff, A, 1, 10);
    handoff.not_acknowledged(NOW, A, LATER).unwrap();
    assert!(!handoff.has_room(NOW, A));
    assert_eq!(handoff.deadline(), Some(LATER));
    handoff.handle_timeout(NOW);
    assert!(!handoff.has_room(NOW, A));
    handoff.handle_timeout(LATER);
    assert!(handoff.has_room(NOW, A));
    assert_eq!(handoff.deadline(), None);
    assert_eq!(returned(&mut handoff), [10]);
    assign(&mut handoff, B, 1, 11);
    handoff.acknowledged(NOW, B).unwrap();
    handoff.refused(NOW, B, 1, LATER).unwrap();
    assert!(!handoff.has_room(NOW, B));
    assert_eq!(returned(&mut handoff), [11]);
    assert_eq!(handoff.not_acknowledged(NOW, A, LATER), Err(Unexpected));
    assert_eq!(handoff.refused(NOW, A, 9, LATER), Err(Unexpected));
}

#[test]
fn a_full_channel_gives_the_connection_back_first() {
    let mut handoff = handoff();
    assign(&mut handoff, B, 1, 10);
    handoff.not_acknowledged(NOW, B, LATER).unwrap();
    assign(&mut handoff, A, 1, 20);
    assign(&mut handoff, A, 2, 30);
    handoff.unsent(A, 2, Gate::Full);
    assert!(!handoff.has_room(NOW, A));
    handoff.writable(A);
    assert!(handoff.has_room(NOW, A));
    assert_eq!(returned(&mut handoff), [30, 10]);
    assert_eq!(handoff.connection(A, 1), Some(&20), "the one before it stays on its way");
}

#[test]
fn a_dead_worker_keeps_nothing() {
    let mut handoff = handoff();
    let by_word = ListenerId(7);
    assign(&mut handoff, A, 1, 10);
    assign(&mut handoff, A, 2, 20);
    handoff.acknowledged(NOW, A).unwrap();
    handoff.assign(NOW, A, 3, held(30, by_word)).unwrap();
    let takes_word = |listener| listener == by_word;
    let doubtful: Vec<_> = handoff.remove(A, takes_word).into_iter().map(|held| held.connection).collect();
    assert_eq!(doubtful, [20, 10], "it may have read from these, acknowledged or not");
    assert_eq!(returned(&mut handoff), [30], "but not from this one, by its word");
    assert!(handoff.assign(NOW, A, 3, held(30, LISTENER)).is_err());
    assert!(handoff.remove(A, takes_word).is_empty());
    assert!(!handoff.has_room(NOW, A));
    handoff.assign(NOW, B, 1, held(40, by_word)).unwrap();
    handoff.acknowledged(NOW, B).unwrap();
    assert_eq!(handoff.remove(B, takes_word).len(), 1, "it has said that it had this");
}

#[test]
fn a_worker_that_does_not_answer_gets_no_more_and_is_given_up_once() {
    let mut handoff = handoff();
    assign(&mut handoff, A, 1, 10);
    let (stalled, overdue) = (Time(150), Time(600));
    assert!(handoff.has_room(NOW, A) && !handoff.has_room(stalled, A) && handoff.has_room(stalled, B));
    assert_eq!(handoff.deadline(), Some(overdue));
    assert_eq!(handoff.handle_timeout(Time(599)), None);
    assert_eq!(handoff.handle_timeout(overdue), Some((A, Duration::from_nanos(500))));
    assert_eq!((handoff.handle_timeout(overdue), handoff.deadline()), (None, None), "once");
    handoff.acknowledged(NOW, A).unwrap();
    assert!(!handoff.has_room(stalled, A), "it still has not accepted");
    handoff.accepted(NOW, A, 1).unwrap();
    assert!(handoff.has_room(stalled, A));
}

/// A slow one, with its window full: the oldest connection has waited for longer than the timeout, which is 500.
#[test]
fn a_worker_that_answers_one_after_the_other_is_not_stuck() {
    let mut handoff = handoff();
    let (mut now, half) = (NOW, Duration::from_nanos(250));
    let mut next = 0;
    let mut fill = |handoff: &mut Handoff<u32>, now| {
        while handoff.in_flight(A) < 8 {
            handoff.assign(now, A, next, held(0, LISTENER)).unwrap();
            next += 1;
        }
    };
    for answer in 0..40 {
        fill(&mut handoff, now);
        now = now + half;
        assert_eq!(handoff.handle_timeout(now), None, "answer {answer}");
        assert!(!handoff.has_room(now, A), "it gets no more while others wait for an answer");
        handoff.acknowledged(now, A).unwrap();
        match answer % 4 {
            0 => handoff.refused(now, A, answer, now).unwrap(),
            _ => drop(handoff.accepted(now, A, answer).unwrap()),
        }
    }
    fill(&mut handoff, now);
    assert_eq!(handoff.deadline().map(|at| at - now), Some(2 * half));
    assert_eq!(handoff.handle_timeout(now + 2 * half), Some((A, 2 * half)), "silence since its last answer");
}

#[test]
fn a_listener_that_nobody_serves_holds_up_no_other() {
    let mut handoff = handoff();
    let other = ListenerId(7);
    handoff.hold(held(1, LISTENER));
    handoff.hold(held(2, other));
    handoff.hold(held(3, LISTENER));
    let taken = handoff.take_returned(|_, listener| listener == other).unwrap();
    assert_eq!(taken.connection, 2);
    assert!(handoff.take_returned(|_, listener| listener == other).is_none());
    assert_eq!(returned(&mut handoff), [3, 1]);
}

#[test]
fn a_socket_waits_for_room_and_is_acknowledged_among_connections() {
    let mut handoff = handoff();
    let share = |seq| Share {
        seq,
        ack: 0,
        listener: LISTENER,
        reply: Box::new(ListenReply { errno: Some(0), key: String::new(), data: None, sockname: None }),
    };
    assign(&mut handoff, A, 1, 10);
    handoff.share(A, share(2));
    assert_eq!((handoff.next_share(), handoff.next_share()), (Some((A, 2)), None));
    assert!(
        handoff.shared(A, 2).is_some()
            && handoff.shared(A, 1).is_none()
            && handoff.connection(A, 2).is_none()
    );
    assert_eq!(handoff.in_flight(A), 1, "it is no connection");
    handoff.unsent(A, 2, Gate::Full);
    assert_eq!(handoff.next_share(), None, "until there is room");
    handoff.writable(A);
    assert_eq!(handoff.next_share(), Some((A, 2)));
    assign(&mut handoff, A, 3, 30);
    handoff.acknowledged(NOW, A).unwrap();
    handoff.not_acknowledged(NOW, A, LATER).unwrap();
    assert_eq!(handoff.next_share(), None, "it gets a rest");
    handoff.acknowledged(NOW, A).unwrap();
    assert_eq!((accepted(&mut handoff, 1), accepted(&mut handoff, 3)), (Ok((10, false)), Ok((30, false))));
    handoff.handle_timeout(LATER);
    assert_eq!(handoff.next_share(), Some((A, 2)));
    handoff.acknowledged(NOW, A).unwrap();
    assert_eq!(handoff.acknowledged(NOW, A), Err(Unexpected));
    handoff.share(A, share(3));
    assign(&mut handoff, A, 4, 40);
    assert_eq!(handoff.next_share(), Some((A, 3)));
    handoff.withdraw(A, 4);
    assert_eq!(handoff.connection(A, 4), Some(&40), "it is no socket");
    handoff.withdraw(A, 3);
    handoff.acknowledged(NOW, A).unwrap();
    assert_eq!(handoff.acknowledged(NOW, A), Err(Unexpected), "what was not sent is not acknowledged");
    assert_eq!(accepted(&mut handoff, 4), Ok((40, false)));
    handoff.share(A, share(5));
    assert!(handoff.remove(A, |_| true).is_empty());
    assert_eq!(handoff.next_share(), None, "it went with its worker");
    assert!(returned(&mut handoff).is_empty());
}

#[test]
fn nobody_is_given_up_for_a_time_in_which_nobody_looked() {
    let mut handoff = handoff();
    assign(&mut handoff, A, 1, 7);
    let much_later = NOW + LATE * 2;
    assert_eq!(handoff.handle_timeout(much_later), None, "its answer may be there unread");
    assert_eq!(handoff.deadline(), Some(much_later + Duration::from_nanos(500)));
    let (worker, _) = handoff.handle_timeout(much_later + Duration::from_nanos(500)).unwrap();
    assert_eq!(worker, A);
}
