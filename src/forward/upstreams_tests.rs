use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn upstream(id: u32) -> Upstream {
    let endpoint = format!("127.0.0.1:{}", 3000 + id);
    Upstream {
        id,
        endpoint,
        name: format!("slot {}", id % 10),
        weight: 1,
        backup: false,
        draining: false,
        column: None,
    }
}

fn rules() -> ForwardRules {
    ForwardRules { eject_after: Some(3), max_in_flight: Some(2), ..ForwardRules::default() }
}

fn seconds(seconds: u64) -> Time {
    Time(seconds * 1_000_000_000)
}

/// A lane's upstreams and its rules, and the time that goes by.
struct Bench {
    upstreams: Upstreams,
    rules: ForwardRules,
    now: Time,
}

impl Bench {
    fn new(list: &[Upstream]) -> Self {
        let mut upstreams = Upstreams::new(PolicyName::RoundRobin, 0);
        upstreams.update(Time(0), list);
        Self { upstreams, rules: rules(), now: Time(0) }
    }

    fn of(ids: impl IntoIterator<Item = u32>) -> Self {
        Self::new(&ids.into_iter().map(upstream).collect::<Vec<_>>())
    }

    fn ask(&mut self, ask: Ask<'_>) -> Pick {
        self.upstreams.pick(self.now, &self.rules, &ask)
    }

    fn pick(&mut self) -> Pick {
        self.ask(Ask::default())
    }

    fn end(&mut self, id: u32, outcome: Outcome) -> Freed {
        self.upstreams.end(self.now, &self.rules, id, outcome)
    }

    /// A request to this one, which ends like this.
    fn one(&mut self, id: u32, outcome: Outcome) -> Freed {
        let sticky = self.upstreams.sticky(id);
        assert_eq!(self.ask(Ask { sticky, ..Ask::default() }), Pick::To(id));
        self.end(id, outcome)
    }

    fn eject(&mut self, id: u32) {
        let ejected: Vec<_> = (0..3).map(|_| self.one(id, Outcome::Failed).ejected).collect();
        assert_eq!(ejected, [false, false, true]);
    }

    /// Who gets the next requests, each of which is over before the next.
    fn turns(&mut self, count: usize) -> Vec<u32> {
        let turn = |_| match self.pick() {
            Pick::To(id) => {
                self.end(id, Outcome::Neither);
                id
            }
            other => panic!("{other:?}"),
        };
        (0..count).map(turn).collect()
    }
}

#[test]
fn nobody_is_there_at_first_and_full_is_not_nobody() {
    let mut bench = Bench::of([]);
    assert_eq!(bench.pick(), Pick::Nobody);
    let mut bench = Bench::of([1, 2]);
    let picks = [bench.pick(), bench.pick(), bench.pick(), bench.pick(), bench.pick()];
    assert_eq!(picks, [Pick::To(1), Pick::To(2), Pick::To(1), Pick::To(2), Pick::Full]);
    assert!(!bench.upstreams.has_room(bench.now, &bench.rules));
    assert_eq!(bench.end(2, Outcome::Served), Freed { room: true, ..Freed::default() });
    assert!(bench.upstreams.has_room(bench.now, &bench.rules));
    assert_eq!(bench.end(2, Outcome::Served), Freed::default(), "there was room already");
    assert_eq!(bench.upstreams.in_flight(), 2);
    bench.rules.max_in_flight = None;
    assert_eq!(bench.turns(4), [1, 2, 1, 2]);
}

#[test]
fn one_that_drains_gets_nothing_and_its_last_is_told_once() {
    let mut bench = Bench::of([1, 2]);
    assert_eq!((bench.pick(), bench.pick()), (Pick::To(1), Pick::To(2)));
    bench.end(1, Outcome::Served);
    let drains = |id| Upstream { draining: true, ..upstream(id) };
    let update = bench.upstreams.update(bench.now, &[drains(1), drains(2), upstream(3)]);
    assert_eq!(update, Update { gone: vec![], idle: vec![1], changed_room: true });
    assert_eq!(bench.turns(2), [3, 3]);
    assert_eq!(bench.end(2, Outcome::Served), Freed { idle: true, ..Freed::default() });
    let update = bench.upstreams.update(bench.now, &[drains(1), drains(2), upstream(3)]);
    assert_eq!(update, Update::default(), "nothing new");
    let update = bench.upstreams.update(bench.now, &[drains(2), drains(3)]);
    assert_eq!(update, Update { gone: vec![1], idle: vec![3], changed_room: true });
    assert_eq!(bench.pick(), Pick::Nobody, "all drain");
    assert_eq!(bench.end(1, Outcome::Failed), Freed::default(), "it is gone");
    let update = bench.upstreams.update(bench.now, &[upstream(2)]);
    assert!(update.changed_room && bench.pick() == Pick::To(2), "it was called back");
}

#[test]
fn failures_in_a_row_eject_and_a_success_resets() {
    let mut bench = Bench::of([1, 2]);
    for outcome in [Outcome::Failed, Outcome::Failed, Outcome::Served, Outcome::Failed, Outcome::Failed] {
        assert!(!bench.one(1, outcome).ejected);
    }
    bench.one(1, Outcome::Neither);
    assert_eq!(bench.upstreams.deadline(), None);
    assert!(bench.one(1, Outcome::Failed).ejected);
    assert_eq!(bench.upstreams.deadline(), Some(seconds(1)));
    assert_eq!(bench.turns(3), [2, 2, 2]);
    let ejected: Vec<_> = bench.upstreams.states().map(|state| state.ejected).collect();
    assert_eq!(ejected, [true, false]);
    bench.rules.eject_after = None;
    (0..9).for_each(|_| assert!(!bench.one(2, Outcome::Failed).ejected, "switched off"));
}

#[test]
fn what_is_ejected_gets_nothing_even_if_the_others_are_full() {
    let mut bench = Bench::of([1, 2]);
    bench.eject(1);
    assert_eq!([bench.pick(), bench.pick(), bench.pick()], [Pick::To(2), Pick::To(2), Pick::Full]);
    let update = bench.upstreams.update(bench.now, &[upstream(1)]);
    assert!(update.changed_room, "with the last good one gone, the other serves");
    assert_eq!(bench.pick(), Pick::To(1));
}

#[test]
fn one_comes_back_on_trial_and_its_time_is_doubled_each_time_in_a_row() {
    let mut bench = Bench::of([1, 2]);
    bench.eject(1);
    for (ejected, expected) in [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 60), (60, 60)] {
        bench.now = bench.now + (Duration::from_secs(ejected) - Duration::from_nanos(1));
        assert_eq!(bench.turns(2), [2, 2], "not before {ejected} s");
        bench.now = bench.now + Duration::from_nanos(1);
        assert_eq!(bench.upstreams.deadline(), Some(bench.now));
        assert!(bench.upstreams.come_back(bench.now) && !bench.upstreams.come_back(bench.now));
        assert!(bench.one(1, Outcome::Failed).ejected, "once is enough");
        assert_eq!(bench.upstreams.deadline(), Some(bench.now + Duration::from_secs(expected)));
    }
    bench.now = bench.now + Duration::from_secs(60);
    bench.one(1, Outcome::Served);
    assert!((0..3).map(|_| bench.one(1, Outcome::Failed)).any(|freed| freed.ejected));
    assert_eq!(bench.upstreams.deadline(), Some(bench.now + Duration::from_secs(1)), "all is forgotten");
}

#[test]
fn one_on_trial_gets_one_request_at_a_time_until_it_answers() {
    let mut bench = Bench::of([1, 2]);
    bench.rules.max_in_flight = None;
    assert_eq!((bench.pick(), bench.pick()), (Pick::To(1), Pick::To(2)));
    bench.eject(1);
    bench.now = seconds(1);
    let picks: Vec<_> = (0..4).map(|_| bench.pick()).collect();
    assert_eq!(picks.iter().filter(|&&pick| pick == Pick::To(1)).count(), 1, "{picks:?}");
    bench.end(1, Outcome::Neither);
    let picks: Vec<_> = (0..4).map(|_| bench.pick()).collect();
    assert_eq!(picks.iter().filter(|&&pick| pick == Pick::To(1)).count(), 1, "another: {picks:?}");
    bench.upstreams.answered(1);
    let picks: Vec<_> = (0..4).map(|_| bench.pick()).collect();
    assert_eq!(picks.iter().filter(|&&pick| pick == Pick::To(1)).count(), 2, "{picks:?}");
}

#[test]
fn if_all_are_ejected_all_get_requests() {
    let mut bench = Bench::of([1, 2]);
    for id in [1, 2] {
        bench.eject(id);
    }
    assert_eq!(bench.turns(4), [1, 2, 1, 2]);
    assert!(!matches!(bench.pick(), Pick::Full | Pick::Nobody));
}

#[test]
fn tried_ones_and_backups_come_last() {
    let backup = Upstream { backup: true, ..upstream(3) };
    let mut bench = Bench::new(&[upstream(1), upstream(2), backup]);
    let tried = |bench: &mut Bench, tried: &[u32]| match bench.ask(Ask { tried, ..Ask::default() }) {
        Pick::To(id) => {
            bench.end(id, Outcome::Neither);
            id
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(bench.turns(4), [1, 2, 1, 2]);
    assert_eq!(tried(&mut bench, &[1]), 2);
    assert_eq!(tried(&mut bench, &[1, 2]), 3, "the backup, of those that have not failed");
    assert_ne!(tried(&mut bench, &[1, 2, 3]), 3, "if all have, again one of the others");
    bench.eject(1);
    bench.eject(2);
    assert_eq!(bench.turns(2), [3, 3], "the others are ejected");
    bench.pick();
    bench.pick();
    assert_eq!(bench.pick(), Pick::Full);
}

#[test]
fn who_has_been_with_one_stays_there_as_long_as_it_can_take_more() {
    let mut bench = Bench::of([1, 2]);
    let sticky = bench.upstreams.sticky(2);
    let ask = Ask { sticky, ..Ask::default() };
    assert_eq!((bench.ask(ask), bench.ask(ask)), (Pick::To(2), Pick::To(2)));
    assert_eq!(bench.ask(ask), Pick::To(1), "2 is full");
    bench.end(2, Outcome::Served);
    assert_eq!(bench.ask(Ask { tried: &[2], ..ask }), Pick::To(1));
    let drains = Upstream { draining: true, ..upstream(2) };
    bench.upstreams.update(bench.now, &[drains, upstream(3), upstream(12)]);
    assert_eq!(bench.ask(ask), Pick::To(12), "the successor has its name");
    assert_eq!(bench.upstreams.sticky(12), sticky);
    assert_ne!(bench.upstreams.sticky(3), sticky);
    assert_eq!(bench.upstreams.sticky(99), None);
}

#[test]
fn weights_and_keys_reach_the_policy() {
    let heavy = Upstream { weight: 3, ..upstream(1) };
    let mut bench = Bench::new(&[heavy, upstream(2)]);
    assert_eq!(bench.turns(4), [1, 1, 2, 1]);
    bench.upstreams = Upstreams::new(PolicyName::Hash, 0);
    bench.upstreams.update(bench.now, &[upstream(1), upstream(2), upstream(3)]);
    bench.rules.max_in_flight = None;
    let ask = |key| Ask { key: Some(key), ..Ask::default() };
    let first = bench.ask(ask(5));
    assert!((0..9).all(|_| bench.ask(ask(5)) == first));
    assert!((0..99).any(|key| bench.ask(ask(key)) != first));
}

#[test]
fn what_cannot_be_reached_or_comes_twice_is_no_upstream() {
    let nowhere = Upstream { endpoint: "nowhere".into(), ..upstream(1) };
    let mut bench = Bench::new(&[nowhere, upstream(2), upstream(2)]);
    assert_eq!(bench.turns(2), [2, 2]);
    assert_eq!(bench.upstreams.states().count(), 1);
    assert_eq!(bench.upstreams.endpoint(2), Some(&"127.0.0.1:3002".parse().unwrap()));
    assert_eq!((bench.upstreams.endpoint(1), bench.upstreams.name(2)), (None, Some("slot 2")));
}

proptest! {
    /// Whatever happens: one that drains gets nothing, nobody gets too much, and `Nobody` is said only if nobody serves.
    #[test]
    fn a_life_of_requests_keeps_to_the_rules(
        policy in 0..PolicyName::ALL.len(),
        steps in proptest::collection::vec((0u8..6, 0u32..6, any::<bool>(), 0u64..3), 0..300),
    ) {
        let mut bench = Bench::of([]);
        bench.upstreams = Upstreams::new(PolicyName::ALL[policy], 1);
        let (mut list, mut flights) = (Vec::<Upstream>::new(), Vec::new());
        for (kind, id, is_so, time) in steps {
            bench.now = bench.now + Duration::from_millis(time * 400);
            if bench.upstreams.deadline().is_some_and(|at| at <= bench.now) {
                prop_assert!(bench.upstreams.come_back(bench.now));
            }
            match kind {
                0 => {
                    list.retain(|known| known.id != id);
                    if is_so {
                        list.push(Upstream { backup: id > 4, draining: time == 0, weight: id, ..upstream(id) });
                    }
                    let update = bench.upstreams.update(bench.now, &list);
                    for gone in update.gone {
                        prop_assert!(list.iter().all(|known| known.id != gone));
                    }
                    flights.retain(|id| list.iter().any(|known| known.id == *id));
                }
                1 | 2 if !flights.is_empty() => {
                    let ended = flights.swap_remove(id as usize % flights.len());
                    let outcome = if is_so { Outcome::Failed } else { Outcome::Served };
                    let freed = bench.end(ended, outcome);
                    let drains = list.iter().any(|known| known.id == ended && known.draining);
                    prop_assert_eq!(freed.idle, drains && !flights.contains(&ended));
                }
                _ => {
                    let has_room = bench.upstreams.has_room(bench.now, &bench.rules);
                    match bench.ask(Ask { key: is_so.then_some(time), ..Ask::default() }) {
                        Pick::To(id) => {
                            prop_assert!(list.iter().any(|known| known.id == id && !known.draining));
                            flights.push(id);
                            prop_assert!(flights.iter().filter(|&&flight| flight == id).count() <= 2);
                        }
                        Pick::Full => prop_assert!(!has_room && list.iter().any(|known| !known.draining)),
                        Pick::Nobody => prop_assert!(list.iter().all(|known| known.draining)),
                    }
                }
            }
            prop_assert_eq!(bench.upstreams.in_flight() as usize, flights.len());
            prop_assert!(bench.upstreams.deadline().is_none_or(|at| at > bench.now));
        }
    }
}
