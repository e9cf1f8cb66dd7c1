use super::*;

const START: Time = Time(1_000_000_000);

fn rules() -> Rules {
    let secs = Duration::from_secs;
    Rules { patience: secs(1), stop_timeout: secs(30), kill_timeout: secs(5), ..Rules::default() }
}

/// Lives through `steps` (seconds after the start, what happens; `None`: the timer) and returns the actions, but for
/// welcomes and reminders.
fn live(steps: &[(u64, Option<Happening>)]) -> (Lifecycle, Vec<Action>) {
    let (life, mut actions) = live_by(&rules(), false, steps);
    actions.retain(|action| !matches!(action, Action::Welcome | Action::Remind { .. }));
    (life, actions)
}

/// The same under other rules, of a worker that may have connections `open`, and with all actions.
fn live_by(rules: &Rules, open: bool, steps: &[(u64, Option<Happening>)]) -> (Lifecycle, Vec<Action>) {
    let mut life = Lifecycle::new(START, rules);
    let step = |&(at, happening): &(u64, Option<Happening>)| {
        let now = START + Duration::from_secs(at);
        match happening {
            Some(happening) => life.handle(now, happening, rules),
            None => life.handle_timeout(now, rules, open),
        }
    };
    let actions = steps.iter().filter_map(step).collect();
    (life, actions)
}

const DISCONNECT: Action = Action::Disconnect;
const TERMINATE: Action = Action::Terminate { overdue: None };
const KILL: Action = Action::Kill { overdue: None };

fn overdue(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn a_graceful_end_is_told_ever_more_plainly() {
    use Happening::*;
    let up = [(0, Some(Online)), (0, Some(Listening)), (10, Some(StopGracefully))];
    let with = |more: &[(u64, Option<Happening>)]| live(&[&up[..], more].concat()).1;
    assert_eq!(with(&[(39, None)]), [DISCONNECT]);
    let (term, kill) = (Action::Terminate { overdue: overdue(30) }, Action::Kill { overdue: overdue(5) });
    assert_eq!(with(&[(40, None), (44, None)]), [DISCONNECT, term]);
    let give_up = Action::GiveUp { after: Duration::from_secs(5) };
    assert_eq!(with(&[(40, None), (45, None), (49, None)]), [DISCONNECT, term, kill]);
    assert_eq!(with(&[(40, None), (45, None), (50, None), (99, None)]), [DISCONNECT, term, kill, give_up]);
    assert_eq!(
        with(&[(11, Some(StopGracefully)), (40, None)]),
        [DISCONNECT, term],
        "a second word changes nothing"
    );
    assert_eq!(with(&[(11, Some(StopNow)), (15, None)]), [DISCONNECT, KILL]);
    let closed = Action::Terminate { overdue: overdue(6) };
    assert_eq!(with(&[(11, Some(ChannelClosed)), (16, None)]), [DISCONNECT, closed], "nothing left to serve");
    assert_eq!(with(&[(11, Some(Exited)), (99, None), (99, Some(StopNow))]), [DISCONNECT]);
}

#[test]
fn without_a_deadline_it_may_take_for_ever_until_one_is_set() {
    use Happening::*;
    let up = [(0, Some(Online)), (1, Some(StopWithoutDeadline)), (9999, None)];
    assert_eq!(live(&up).1, [DISCONNECT]);
    assert_eq!(live(&up).0.deadline(), Some(START + Duration::from_secs(2 * 9999 - 1)), "it is talked of");
    let later = [&up[..], &[(10_000, Some(StopGracefully)), (10_030, None)]].concat();
    assert_eq!(live(&later).1, [DISCONNECT, Action::Terminate { overdue: overdue(10_029) }]);
}

#[test]
fn one_that_never_spoke_gets_the_signal_at_once() {
    assert_eq!(live(&[(0, Some(Happening::StopGracefully))]).1, [TERMINATE]);
}

#[test]
fn silence_and_idleness_are_reported_once() {
    use Happening::*;
    let silence = Action::ComplainOfSilence { after: Duration::from_secs(1) };
    let idleness = Action::ComplainOfIdleness { after: Duration::from_secs(2) };
    assert_eq!(live(&[(1, None), (2, None), (9, Some(Online)), (20, None)]).1, [silence]);
    assert_eq!(live(&[(0, Some(Online)), (2, None), (3, None)]).1, [idleness]);
    assert_eq!(live(&[(0, Some(Online)), (0, Some(Listening)), (9, None)]).1, []);
}

#[test]
fn one_that_leaves_by_itself_is_waited_for() {
    use Happening::*;
    for left in [Leaves, ChannelClosed] {
        let (life, actions) =
            live(&[(0, Some(Online)), (1, Some(left)), (2, Some(ChannelClosed)), (31, None)]);
        assert_eq!(actions, [Action::Terminate { overdue: overdue(30) }]);
        assert!(!life.is_staying() && !life.is_unheard(&rules()));
    }
}

#[test]
fn every_state_answers_every_event_and_nothing_follows_the_end() {
    use Happening::*;
    let all = [
        Online,
        Listening,
        SentReady,
        Notified,
        Reachable,
        Retired,
        Leaves,
        ChannelClosed,
        ChannelBroken,
        StopGracefully,
        StopWithoutDeadline,
        StopNow,
        Exited,
    ];
    // Every path of four events, with the timer run out after each.
    for mode in [Mode::Handoff, Mode::Shared, Mode::Multiport] {
        check_paths(&Rules { mode, ..rules() }, &all);
    }
}

fn check_paths(rules: &Rules, all: &[Happening]) {
    use Happening::*;
    let live = |steps: &[(u64, Option<Happening>)]| {
        let (life, mut actions) = live_by(rules, false, steps);
        actions.retain(|action| !matches!(action, Action::Welcome | Action::Remind { .. }));
        (life, actions)
    };
    let mut steps = Vec::new();
    for path in 0..all.len().pow(4) {
        steps.clear();
        for place in 0..4u32 {
            let event = all[path / all.len().pow(place) % all.len()];
            steps.extend([(u64::from(place) * 100, Some(event)), (u64::from(place) * 100 + 50, None)]);
        }
        let (life, actions) = live(&steps);
        let kills = actions.iter().filter(|action| matches!(action, Action::Kill { .. })).count();
        assert!(kills <= 1, "{steps:?}: {actions:?}");
        let retires = actions.iter().filter(|action| **action == Action::Retire).count();
        assert!(retires <= 1 && (retires == 0 || rules.mode == Mode::Multiport), "{steps:?}: {actions:?}");
        let exit = steps.iter().position(|step| step.1 == Some(Exited));
        if let Some(exit) = exit {
            assert_eq!(life.state, State::Gone);
            assert_eq!(life.deadline(), None);
            assert_eq!(live(&steps[..exit]).1, actions, "nothing follows the end");
        }
        let told_to_stop = steps.iter().any(|step| matches!(step.1, Some(StopGracefully | StopNow)));
        assert!(!told_to_stop || !life.is_staying(), "{steps:?}");
    }
}

#[test]
fn a_worker_is_ready_by_what_it_is_to_be_ready_by() {
    use Happening::*;
    let words = [Listening, SentReady, Notified, Reachable];
    for (ready_on, mode, by) in [
        (ReadyOn::Auto, Mode::Handoff, [true, false, false, false]),
        (ReadyOn::Auto, Mode::Shared, [true, true, true, true]),
        (ReadyOn::Listening, Mode::Handoff, [true, false, false, false]),
        (ReadyOn::Message, Mode::Handoff, [false, true, false, false]),
        (ReadyOn::Notify, Mode::Shared, [false, false, true, false]),
        (ReadyOn::Alive, Mode::Handoff, [false, false, false, false]),
        (ReadyOn::Auto, Mode::Multiport, [false, false, false, true]),
        (ReadyOn::Listening, Mode::Multiport, [false, false, false, true]),
        (ReadyOn::Message, Mode::Multiport, [false, true, false, false]),
        (ReadyOn::Notify, Mode::Multiport, [false, false, true, false]),
    ] {
        for (word, expected) in words.into_iter().zip(by) {
            let rules = Rules { ready_on, mode, ..rules() };
            let (life, actions) =
                live_by(&rules, false, &[(0, Some(Online)), (1, Some(word)), (1, Some(word))]);
            assert_eq!(life.is_ready(), expected, "{ready_on} {word:?}");
            assert_eq!(actions.contains(&Action::Welcome), expected);
            assert_eq!(life.ready_since(), expected.then(|| START + Duration::from_secs(1)));
        }
    }
}

#[test]
fn being_alive_is_enough_where_workers_need_not_speak() {
    for (ready_on, mode, expected) in [
        (ReadyOn::Auto, Mode::Shared, true),
        (ReadyOn::Alive, Mode::Shared, true),
        (ReadyOn::Alive, Mode::Handoff, true),
        (ReadyOn::Auto, Mode::Handoff, false),
        (ReadyOn::Notify, Mode::Shared, false),
        (ReadyOn::Auto, Mode::Multiport, false),
        (ReadyOn::Alive, Mode::Multiport, true),
    ] {
        let rules = Rules { ready_on, mode, patience: Duration::from_secs(50), ..rules() };
        let (life, actions) = live_by(&rules, false, &[(1, None), (2, None)]);
        assert_eq!(life.is_ready(), expected, "{ready_on} {mode:?}");
        assert_eq!(actions, vec![Action::Welcome; usize::from(expected)]);
    }
}

#[test]
fn one_that_is_not_ready_in_time_is_ended() {
    use Happening::*;
    let rules =
        Rules { start_timeout: Some(Duration::from_secs(20)), patience: Duration::from_secs(99), ..rules() };
    let reject = Action::Reject { after: Duration::from_secs(20) };
    let kill = Action::Kill { overdue: overdue(5) };
    let (life, actions) = live_by(&rules, false, &[(1, Some(Online)), (19, None), (20, None), (25, None)]);
    assert_eq!(actions, [reject, kill]);
    assert!(life.ready_since().is_none());
    let in_time = [(1, Some(Online)), (19, Some(Listening)), (20, None)];
    assert_eq!(live_by(&rules, false, &in_time).1, [Action::Welcome]);
    let late = [(1, Some(Online)), (20, None), (21, Some(Listening))];
    assert_eq!(live_by(&rules, false, &late).1, [reject], "it is on its way out");
    let patient = Rules { start_timeout: None, ..rules };
    assert_eq!(live_by(&patient, false, &[(98, None)]).1, []);
}

#[test]
fn connections_that_are_open_may_have_more_time() {
    use Happening::*;
    let rules = Rules { linger_timeout: Some(Duration::from_secs(100)), ..rules() };
    let steps = [(0, Some(Online)), (0, Some(Listening)), (0, Some(StopGracefully)), (30, None), (100, None)];
    let after = |open| live_by(&rules, open, &steps[..4]).1.last().copied();
    assert_eq!(after(false), Some(Action::Terminate { overdue: overdue(30) }));
    assert_eq!(after(true), Some(Action::Remind { left: overdue(70) }));
    assert_eq!(live_by(&rules, true, &steps).1.last(), Some(&Action::Terminate { overdue: overdue(100) }));
}

#[test]
fn what_is_waited_for_is_said_ever_more_seldom() {
    use Happening::*;
    let mut life = live(&[(0, Some(Online)), (0, Some(Listening)), (0, Some(StopWithoutDeadline))]).0;
    let mut said = Vec::new();
    while let Some(at) = life.deadline().filter(|&at| at < START + Duration::from_secs(100)) {
        assert_eq!(life.handle_timeout(at, &rules(), false), Some(Action::Remind { left: None }));
        said.push((at - START).as_secs());
    }
    assert_eq!(said, [5, 10, 20, 40, 80]);
}

#[test]
fn a_stop_by_signal_leaves_as_much_time() {
    use Happening::*;
    let rules = Rules { stop_with: StopWith::Signal, ..rules() };
    let steps = [(0, Some(Online)), (0, Some(Listening)), (1, Some(StopGracefully)), (35, None), (36, None)];
    let kill = Action::Kill { overdue: overdue(35) };
    assert_eq!(live_by(&rules, false, &steps).1, [Action::Welcome, TERMINATE, kill]);
    let unready = [(0, Some(Online)), (1, Some(StopGracefully)), (6, None)];
    assert_eq!(live_by(&rules, false, &unready).1, [TERMINATE, Action::Kill { overdue: overdue(5) }]);
}

/// Lives by these rules where requests are forwarded, and is ready at first.
fn forwarded(rules: Rules, steps: &[(u64, Option<Happening>)]) -> Vec<Action> {
    let rules = Rules { mode: Mode::Multiport, ..rules };
    let steps = [&[(0, Some(Happening::Reachable))], steps].concat();
    let (_, mut actions) = live_by(&rules, false, &steps);
    actions.retain(|action| !matches!(action, Action::Welcome));
    actions
}

#[test]
fn one_that_requests_are_forwarded_to_is_told_to_leave_when_it_has_none() {
    use Happening::*;
    let stop = (10, Some(StopGracefully));
    assert_eq!(forwarded(rules(), &[stop]), [Action::Retire]);
    let told = [Action::Retire, TERMINATE];
    let retired = [stop, (20, Some(Retired))];
    assert_eq!(forwarded(rules(), &[retired[0], retired[1], (21, Some(Retired))]), told);
    // It has what was left of its time, and the time of the signal.
    assert_eq!(forwarded(rules(), &[retired[0], retired[1], (44, None)]), told);
    let kill = Action::Kill { overdue: overdue(25) };
    assert_eq!(forwarded(rules(), &[retired[0], retired[1], (45, None)]), [told[0], told[1], kill]);
    let by_message = Rules { stop_with: StopWith::Message("bye".into()), ..rules() };
    assert_eq!(
        forwarded(by_message, &retired),
        [Action::Retire, DISCONNECT],
        "it may hear, and does not say so"
    );
    assert_eq!(forwarded(rules(), &[stop, (11, Some(StopNow))]), [Action::Retire, KILL]);
    assert_eq!(forwarded(rules(), &[stop, (11, Some(ChannelClosed)), (12, Some(Exited))]), [Action::Retire]);
}

#[test]
fn requests_for_one_that_leaves_are_not_waited_for_without_end() {
    use Happening::*;
    let stop = (10, Some(StopGracefully));
    let (late, remind) = (Action::Terminate { overdue: overdue(30) }, Action::Remind { left: overdue(25) });
    assert_eq!(forwarded(rules(), &[stop, (15, None), (40, None)]), [Action::Retire, remind, late]);
    let kill = Action::Kill { overdue: overdue(5) };
    assert_eq!(forwarded(rules(), &[stop, (40, None), (45, None)]), [Action::Retire, late, kill]);
    let lingers = Rules { linger_timeout: Some(Duration::from_secs(100)), ..rules() };
    let (more, last) = (Action::Remind { left: overdue(70) }, Action::Terminate { overdue: overdue(100) });
    assert_eq!(forwarded(lingers, &[stop, (40, None), (110, None)]), [Action::Retire, more, last]);
    let patient = [(10, Some(StopWithoutDeadline)), (9999, None)];
    let waits = Action::Remind { left: None };
    assert_eq!(forwarded(rules(), &patient), [Action::Retire, waits]);
    let ends = [patient[0], patient[1], (10_000, Some(StopGracefully)), (10_030, None)];
    let late = Action::Terminate { overdue: overdue(10_020) };
    assert_eq!(forwarded(rules(), &ends), [Action::Retire, waits, late]);
}
