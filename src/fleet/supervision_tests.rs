//! Replacement, scaling and readiness, event by event.

use std::time::Duration;

use super::{
    stage::{START, Stage, rules},
    *,
};
const CRASH: ExitStatus = ExitStatus::Code(1);

#[test]
fn a_reload_replaces_one_after_the_other() {
    let mut stage = Stage::ready(rules(2));
    assert_eq!(stage.reload(), ["spawn 3 in 0 of 2"]);
    assert_eq!(stage.becomes_ready(3), ["disconnect 1", "spawn 4 in 1 of 2"]);
    assert!(stage.exits(1, ExitStatus::Code(0)).is_empty());
    assert_eq!(stage.becomes_ready(4), ["disconnect 2", "forget 1", "reloaded 2"]);
    assert!(stage.exits(2, ExitStatus::Code(0)).is_empty());
    assert_eq!(stage.exits(3, CRASH), ["spawn 5 in 0 of 2"], "the new generation holds");
}

#[test]
fn a_batch_is_started_at_once() {
    let mut stage = Stage::ready(Rules { reload_batch: Batch::Percent(50), ..rules(4) });
    assert_eq!(stage.reload(), ["spawn 5 in 0 of 2", "spawn 6 in 1 of 2"]);
    assert_eq!(stage.becomes_ready(6), ["disconnect 2", "spawn 7 in 2 of 2"], "whoever is first");
}

#[test]
fn one_that_fails_before_it_is_ready_changes_nothing() {
    let mut stage = Stage::ready(rules(2));
    stage.reload();
    assert_eq!(stage.exits(3, CRASH), ["forget 2", "failed 2 in Some(0), 0 go back"]);
    assert_eq!(stage.ready_workers(), 2);
    assert_eq!(stage.exits(1, CRASH), ["spawn 4 in 0 of 1"], "the old generation holds");
}

#[test]
fn one_that_is_late_is_withdrawn_with_the_others() {
    let mut stage = Stage::ready(Rules { reload_batch: Batch::Count(2), ..rules(2) });
    stage.reload();
    stage.speaks(4);
    let expected = ["signal 15 to 3", "disconnect 4", "forget 2", "failed 2 in Some(0), 0 go back"];
    assert_eq!(stage.later(60)[..4], expected);
    assert_eq!(stage.ready_workers(), 2);
}

#[test]
fn what_was_replaced_goes_back_when_a_later_one_fails() {
    let mut stage = Stage::ready(rules(2));
    stage.reload();
    stage.becomes_ready(3);
    let expected = ["forget 2", "failed 2 in Some(1), 1 go back", "spawn 5 in 0 of 1"];
    assert_eq!(stage.exits(4, CRASH), expected);
    assert_eq!(stage.becomes_ready(5), ["disconnect 3", "rolled back to 1"]);
}

#[test]
fn a_new_worker_that_dies_while_the_reload_lasts_ends_it() {
    let mut stage = Stage::ready(rules(2));
    stage.reload();
    stage.becomes_ready(3);
    stage.speaks(4);
    let said = stage.exits(3, CRASH);
    assert_eq!(said, ["disconnect 4", "forget 2", "failed 2 in Some(0), 0 go back", "spawn 5 in 0 of 1"]);
}

#[test]
fn a_second_reload_takes_the_place_of_the_first() {
    let mut stage = Stage::ready(rules(2));
    stage.reload();
    stage.becomes_ready(3);
    stage.speaks(4);
    assert_eq!(stage.reload(), ["disconnect 4", "forget 2", "spawn 5 in 0 of 3"]);
    assert_eq!(stage.becomes_ready(5), ["disconnect 3", "spawn 6 in 1 of 3"]);
    let said = stage.exits(6, CRASH);
    assert_eq!(said[..2], ["forget 3", "failed 3 in Some(1), 1 go back"], "to the last that has held");
    assert_eq!(said[2], "spawn 7 in 0 of 1");
}

#[test]
fn a_reload_that_is_called_off_is_withdrawn() {
    let mut stage = Stage::ready(rules(1));
    stage.reload();
    let said = stage.does(|fleet, now| assert!(fleet.abort_reload(now)));
    assert_eq!(said, ["signal 15 to 2", "forget 2", "failed 2 in None, 0 go back"]);
    assert!(!stage.fleet.abort_reload(stage.now), "there is none");
}

#[test]
fn an_old_worker_that_dies_meanwhile_is_followed_by_its_successor() {
    let mut stage = Stage::ready(rules(1));
    stage.reload();
    assert!(stage.exits(1, CRASH).is_empty(), "one is on its way");
    assert_eq!(stage.becomes_ready(2), ["forget 1", "reloaded 2"]);
}

#[test]
fn a_reload_tries_errored_slots_anew_and_changes_the_number() {
    let mut stage = Stage::ready(Rules { max_crashes: Some(1), ..rules(2) });
    stage.exits(1, CRASH);
    assert_eq!(stage.exits(3, CRASH), ["errored 0 after 1"]);
    let rules = Rules { workers: 3, ..stage.fleet.rules.clone() };
    let said = stage.does(|fleet, now| {
        fleet.reload(now, rules);
    });
    assert_eq!(said, ["spawn 4 in 0 of 2"]);
    assert_eq!(stage.becomes_ready(4), ["spawn 5 in 1 of 2"]);
    assert_eq!(stage.becomes_ready(5), ["disconnect 2", "forget 1", "reloaded 2", "spawn 6 in 2 of 2"]);
}

#[test]
fn when_every_slot_is_errored_a_fleet_may_fail() {
    for fails in [false, true] {
        let rules = Rules { max_crashes: Some(2), fail_when_errored: fails, ..rules(2) };
        let mut stage = Stage::new(rules);
        stage.take();
        assert_eq!(stage.exits(1, CRASH), ["spawn 3 in 0 of 1"]);
        assert_eq!(stage.exits(3, CRASH), ["errored 0 after 2"]);
        stage.exits(2, CRASH);
        let said = stage.exits(4, CRASH);
        assert_eq!(said, ["errored 1 after 2".to_owned(), format!("failed, ends: {fails}")]);
        assert_eq!((stage.fleet.has_failed(), stage.fleet.is_stopped()), (fails, fails));
        assert!(fails || stage.fleet.poll_timeout().is_none(), "nothing is going to happen");
    }
}

#[test]
fn scaling_keeps_the_lowest_slots() {
    let mut stage = Stage::ready(rules(3));
    assert_eq!(stage.does(|fleet, now| fleet.scale(now, 1)), ["disconnect 3", "disconnect 2"]);
    assert_eq!(
        stage.does(|fleet, now| fleet.scale(now, 2)),
        ["spawn 4 in 1 of 1"],
        "while the old one leaves"
    );
    assert!(stage.exits(2, CRASH).is_empty(), "it was told to leave");
    assert_eq!(stage.does(|fleet, now| fleet.drain(now)), ["signal 15 to 4", "disconnect 1"]);
    assert_eq!(stage.fleet.wanted(), 0);
}

#[test]
fn scaling_down_takes_slots_out_of_a_reload() {
    let mut stage = Stage::ready(rules(2));
    stage.reload();
    stage.becomes_ready(3);
    assert_eq!(
        stage.does(|fleet, now| fleet.scale(now, 1)),
        ["signal 15 to 4", "disconnect 2", "forget 1", "reloaded 2"]
    );
    assert!(stage.exits(4, CRASH).is_empty(), "that is no failure");
}

#[test]
fn workers_may_start_one_after_the_other() {
    let warm_up = Duration::from_secs(3);
    let mut stage = Stage::new(Rules { max_starting: Some(1), warm_up, ..rules(3) });
    assert_eq!(stage.take(), ["spawn 1 in 0 of 1"]);
    assert!(stage.later(30).is_empty());
    assert!(stage.becomes_ready(1).is_empty());
    assert!(stage.later(2).is_empty());
    assert_eq!(stage.later(1), ["spawn 2 in 1 of 1"]);
    assert_eq!(stage.exits(2, CRASH), ["spawn 3 in 1 of 1"], "no other is on its way");
}

#[test]
fn a_worker_that_is_used_up_is_replaced_once_and_one_at_a_time() {
    let mut stage = Stage::ready(Rules { max_memory: Some(1000), ..rules(2) });
    let memory =
        |stage: &mut Stage, id, bytes| stage.does(|fleet, now| fleet.handle_memory(now, WorkerId(id), bytes));
    assert!(memory(&mut stage, 1, 1000).is_empty());
    assert_eq!(memory(&mut stage, 1, 1001), ["recycle 1", "spawn 3 in 0 of 1"]);
    assert!(memory(&mut stage, 1, 1001).is_empty());
    assert!(memory(&mut stage, 2, 1001).is_empty(), "one at a time");
    assert_eq!(stage.becomes_ready(3), ["disconnect 1", "recycle 2", "spawn 4 in 1 of 1"]);
    assert!(stage.exits(1, ExitStatus::Code(0)).is_empty());
    assert!(stage.exits(4, CRASH).is_empty(), "its predecessor stays");
    assert!(memory(&mut stage, 2, 1001).is_empty(), "not again at once");
    assert_eq!(stage.later(30), ["recycle 2", "spawn 5 in 1 of 1"]);
}

#[test]
fn workers_that_are_too_old_do_not_all_go_together() {
    let mut stage = Stage::ready(Rules { max_age: Some(Duration::from_secs(1000)), seed: 3, ..rules(2) });
    let ends: Vec<_> = stage.fleet.workers.values().map(|worker| worker.wear.expires.unwrap()).collect();
    let range = START + Duration::from_secs(900)..=START + Duration::from_secs(1000);
    assert!(ends[0] != ends[1] && ends.iter().all(|end| range.contains(end)), "{ends:?}");
    assert!(stage.later(899).is_empty());
    assert_eq!(stage.later(101)[..1], ["recycle 1"]);
}

#[test]
fn one_that_is_told_to_leave_is_talked_of_until_it_has() {
    let mut stage = Stage::ready(rules(2));
    stage.does(|fleet, now| fleet.scale(now, 1));
    assert_eq!(stage.later(5), ["2 has 25 s"]);
    assert_eq!(stage.later(25), ["signal 15 to 2"]);
    assert_eq!(stage.later(5), ["signal 9 to 2"]);
}

#[test]
fn the_words_and_the_signal_of_the_rules_are_used() {
    let stop_with = StopWith::Message("shutdown".into());
    let mut stage = Stage::ready(Rules { stop_with, stop_signal: 2, ..rules(2) });
    assert_eq!(stage.does(|fleet, now| fleet.scale(now, 1)), ["say shutdown to 2"]);
    stage.later(5);
    assert_eq!(stage.later(25), ["signal 2 to 2"]);
    let mut stage = Stage::ready(Rules { stop_with: StopWith::Signal, ..rules(2) });
    assert_eq!(stage.does(|fleet, now| fleet.scale(now, 1)), ["signal 15 to 2"]);
}

#[test]
fn no_connection_goes_to_a_worker_that_is_not_ready() {
    let mut stage = Stage::new(Rules { ready_on: ReadyOn::Message, ..rules(1) });
    let listener = stage.fleet.listen("127.0.0.1:8000".parse().unwrap(), false);
    stage.speaks(1);
    let say = |stage: &mut Stage, text: &str| stage.says(1, text);
    let query =
        r#"{"cmd":"NODE_CLUSTER","act":"ACT","seq":1,"index":0,"address":null,"port":8000,"addressType":4}"#;
    say(&mut stage, &query.replace("ACT", "queryServer"));
    say(&mut stage, &query.replace("ACT", "listening"));
    assert!(!stage.fleet.has_room(stage.now, listener) && !stage.fleet.is_served(listener));
    assert_eq!(stage.fleet.admit(stage.now, listener), Admission::Leave);
    say(&mut stage, r#""ready""#);
    assert!(stage.fleet.has_room(stage.now, listener) && stage.fleet.is_served(listener));
    assert_eq!(stage.fleet.admit(stage.now, listener), Admission::Take);
}

#[test]
fn who_can_answer_is_asked_and_ended_if_he_does_not() {
    let mut stage = Stage::ready(Rules { ping_timeout: Some(Duration::from_secs(10)), ..rules(3) });
    stage.says(1, r#"{"cmd":"NODE_POINTSMAN","hello":1,"script":true}"#);
    stage.says(2, r#"{"cmd":"NODE_POINTSMAN","hello":1}"#);
    stage.take();
    assert!(stage.later(4).is_empty());
    assert_eq!(stage.later(1), ["ping 1", "ping 2"], "the third could not answer");
    stage.says(2, r#"{"cmd":"NODE_POINTSMAN","pong":3}"#);
    assert!(stage.later(4).is_empty());
    assert_eq!(stage.later(1), ["1 is silent for 10 s", "signal 9 to 1", "ping 2"]);
}

#[test]
fn a_reload_brings_its_rules_and_takes_them_back_when_it_fails() {
    for fails in [false, true] {
        let mut stage = Stage::ready(Rules { window: 8, ..rules(1) });
        let anew = Rules { window: 3, workers: 1, ..Rules::default() };
        stage.does(|fleet, now| {
            fleet.reload(now, anew);
        });
        assert_eq!(stage.fleet.rules().window, 3);
        if fails {
            stage.exits(2, CRASH);
        } else {
            stage.becomes_ready(2);
        }
        assert!(!stage.fleet.is_reloading());
        assert_eq!(stage.fleet.rules().window, if fails { 8 } else { 3 });
    }
}

#[test]
fn a_successor_that_inherits_and_fails_keeps_nobody_from_being_replaced() {
    let mut stage = Stage::ready(Rules { max_memory: Some(1000), ..rules(2) });
    let memory =
        |stage: &mut Stage, id| stage.does(|fleet, now| fleet.handle_memory(now, WorkerId(id), 1001));
    assert_eq!(memory(&mut stage, 1), ["recycle 1", "spawn 3 in 0 of 1"]);
    assert!(stage.exits(1, CRASH).is_empty(), "one is on its way");
    assert_eq!(stage.exits(3, CRASH), ["spawn 4 in 0 of 1"]);
    assert_eq!(memory(&mut stage, 2), ["recycle 2", "spawn 5 in 1 of 1"]);
}

#[test]
fn who_was_used_up_before_a_reload_that_failed_is_found_out_again() {
    let mut stage = Stage::ready(Rules { max_memory: Some(1000), ..rules(1) });
    let memory = |stage: &mut Stage| stage.does(|fleet, now| fleet.handle_memory(now, WorkerId(1), 1001));
    assert_eq!(memory(&mut stage), ["recycle 1", "spawn 2 in 0 of 1"]);
    assert_eq!(stage.reload(), ["signal 15 to 2", "spawn 3 in 0 of 2"]);
    assert_eq!(stage.exits(3, CRASH), ["forget 2", "failed 2 in Some(0), 0 go back"]);
    assert_eq!(memory(&mut stage), ["recycle 1", "spawn 4 in 0 of 1"]);
}

#[test]
fn nobody_is_ended_for_a_silence_in_which_the_master_stood_still() {
    let mut stage = Stage::ready(Rules { ping_timeout: Some(Duration::from_secs(10)), ..rules(1) });
    stage.says(1, r#"{"cmd":"NODE_POINTSMAN","hello":1,"script":true}"#);
    stage.take();
    assert_eq!(stage.later(3600), ["ping 1"]);
    assert!(stage.later(4).is_empty());
    stage.says(1, r#"{"cmd":"NODE_POINTSMAN","pong":3}"#);
    assert!(stage.later(4).is_empty());
}

#[test]
fn all_that_are_sent_away_during_a_reload_stay_away_and_it_has_failed() {
    let mut stage = Stage::ready(rules(2));
    stage.reload();
    let said = stage.does(|fleet, now| fleet.drain(now));
    assert_eq!(
        said,
        ["signal 15 to 3", "forget 2", "failed 2 in None, 0 go back", "disconnect 2", "disconnect 1"]
    );
    assert_eq!((stage.fleet.wanted(), stage.fleet.generation), (0, 1));
    assert_eq!(stage.reload()[..2], ["forget 1", "reloaded 3"], "of nobody");
    assert_eq!(stage.fleet.wanted(), 2, "they come back");
}

#[test]
fn a_reload_lasts_until_the_last_worker_is_warm() {
    let warm_up = Duration::from_secs(3);
    let mut stage = Stage::ready(Rules { warm_up, max_starting: None, ..rules(1) });
    stage.later(3);
    assert_eq!(stage.reload(), ["spawn 2 in 0 of 2"]);
    assert_eq!(stage.becomes_ready(2), ["disconnect 1"]);
    stage.exits(1, ExitStatus::Code(0));
    assert!(stage.fleet.is_reloading() && stage.fleet.poll_timeout() == Some(stage.now + warm_up));
    assert_eq!(stage.exits(2, CRASH), ["forget 2", "failed 2 in Some(0), 0 go back"]);
    assert_eq!(stage.later(3), ["spawn 3 in 0 of 1"], "the old version comes back");
    stage.becomes_ready(3);
    stage.later(3);
    stage.reload();
    stage.becomes_ready(4);
    assert_eq!(stage.later(3), ["forget 1", "reloaded 3"]);
}
