use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use proptest::prelude::*;

use super::*;
use crate::{
    balance::PolicyName,
    forward::{
        orders::Upstream,
        rules::ForwardRules,
        upstreams::{Ask, Outcome, Pick, Upstreams},
    },
};

const LANES: usize = 3;
const LIMIT: u32 = 2;

fn upstream(id: u32) -> Upstream {
    let (endpoint, name) = (format!("127.0.0.1:{}", 3000 + id), format!("slot {id}"));
    Upstream { id, endpoint, name, weight: 1, backup: false, draining: false, column: Some(id) }
}

fn rules(max_in_flight: Option<u32>) -> ForwardRules {
    ForwardRules { max_in_flight, ..ForwardRules::default() }
}

fn millis(millis: u64) -> Time {
    Time(millis * 1_000_000)
}

type Cells = [[AtomicU32; 4]; LANES];

fn others(cells: &Cells, lane: usize, column: u32) -> u32 {
    let others = cells.iter().enumerate().filter(|&(other, _)| other != lane);
    others.map(|(_, row)| row[column as usize].load(SeqCst)).sum()
}

/// A lane's row of a table in memory.
#[derive(Debug)]
struct Row {
    cells: Arc<Cells>,
    lane: usize,
}

impl Shared for Row {
    fn set(&self, column: u32, own: u32) {
        self.cells[self.lane][column as usize].store(own, SeqCst);
    }

    fn others(&self, column: u32) -> u32 {
        others(&self.cells, self.lane, column)
    }
}

/// Lanes over one table, and the upstreams of all.
struct Bench {
    cells: Arc<Cells>,
    lanes: Vec<Upstreams>,
    rules: ForwardRules,
    now: Time,
}

impl Bench {
    fn new(policy: PolicyName, max_in_flight: Option<u32>, ids: &[u32]) -> Self {
        let cells = Arc::new(Cells::default());
        let list: Vec<_> = ids.iter().map(|&id| upstream(id)).collect();
        let lane = |lane| {
            let mut upstreams =
                Upstreams::shared(policy, 1, Box::new(Row { cells: Arc::clone(&cells), lane }));
            upstreams.update(Time(0), &list);
            upstreams
        };
        let lanes = (0..LANES).map(lane).collect();
        Self { cells, lanes, rules: rules(max_in_flight), now: Time(0) }
    }

    fn pick(&mut self, lane: usize) -> Pick {
        self.lanes[lane].pick(self.now, &self.rules, &Ask::default())
    }

    fn end(&mut self, lane: usize, id: u32) -> bool {
        self.lanes[lane].end(self.now, &self.rules, id, Outcome::Served).room
    }

    fn wait(&mut self, lane: usize, waits: bool) -> Option<Time> {
        self.lanes[lane].wait(self.now, &self.rules, waits);
        self.lanes[lane].deadline()
    }

    fn has_room(&self, lane: usize) -> bool {
        self.lanes[lane].has_room(self.now, &self.rules)
    }
}

#[test]
fn all_lanes_together_keep_to_the_limit() {
    let mut bench = Bench::new(PolicyName::RoundRobin, Some(LIMIT), &[1]);
    assert_eq!([0, 1, 2, 0].map(|lane| bench.pick(lane)), [Pick::To(1), Pick::To(1), Pick::Full, Pick::Full]);
    assert!(!bench.has_room(2));
    assert!(bench.end(0, 1), "there was none before");
    assert!(bench.has_room(2));
    assert_eq!([2, 0].map(|lane| bench.pick(lane)), [Pick::To(1), Pick::Full]);
    bench.lanes[2].update(bench.now, &[]);
    assert_eq!(bench.cells[2][1].load(SeqCst), 0, "what it had there is nobody's any more");
    assert_eq!(bench.pick(0), Pick::To(1));
}

#[test]
fn policies_go_by_what_all_lanes_have() {
    for policy in [PolicyName::LeastConnections, PolicyName::PowerOfTwo] {
        let mut bench = Bench::new(policy, None, &[1, 2]);
        for _ in 0..20 {
            let picked = [bench.pick(0), bench.pick(1)];
            assert!(picked.contains(&Pick::To(1)) && picked.contains(&Pick::To(2)), "{policy}: {picked:?}");
        }
        let Pick::To(more) = bench.pick(0) else { panic!("there is no limit") };
        assert_eq!(bench.pick(1), Pick::To(3 - more), "{policy}");
    }
}

#[test]
fn who_waits_for_others_looks_again_soon() {
    let mut bench = Bench::new(PolicyName::RoundRobin, Some(LIMIT), &[1]);
    assert_eq!([bench.pick(0), bench.pick(0)], [Pick::To(1), Pick::To(1)]);
    assert_eq!(bench.wait(0, true), None, "it has all itself, and hears of their ends");
    let looks = bench.wait(1, true).unwrap();
    assert!((millis(2)..millis(5)).contains(&looks), "{looks:?}");
    assert_eq!(bench.wait(1, true), Some(looks), "it is said in each turn");
    assert!(!bench.lanes[1].come_back(Time(looks.0 - 1)) && bench.lanes[1].come_back(looks));
    assert_eq!(bench.lanes[1].deadline(), None);
    bench.now = looks;
    let next = bench.wait(1, true).unwrap();
    assert!(looks + Duration::from_millis(2) <= next, "again and again");
    assert_eq!(bench.wait(1, false), None);
    assert_eq!(bench.cells[1][WAITING as usize].load(SeqCst), 0);
    bench.rules.max_in_flight = None;
    assert_eq!(bench.wait(1, true), None, "there is nothing that others could have");
}

#[test]
fn room_is_left_to_others_that_wait_now_and_then() {
    let mut bench = Bench::new(PolicyName::RoundRobin, Some(1), &[1]);
    let serve = |bench: &mut Bench| {
        assert_eq!(bench.pick(0), Pick::To(1));
        bench.end(0, 1);
    };
    serve(&mut bench);
    serve(&mut bench);
    assert_eq!(bench.pick(0), Pick::To(1));
    let looks = bench.wait(1, true).unwrap();
    assert!(bench.end(0, 1));
    assert!(bench.pick(0) == Pick::Full && !bench.has_room(0), "it is left to 1");
    assert!(bench.has_room(1) && looks < millis(6), "which looks in time");
    assert!(bench.wait(0, true).unwrap() >= millis(6), "and 0 no sooner");
    bench.wait(0, false);
    bench.now = millis(6);
    serve(&mut bench);
    bench.now = millis(19);
    serve(&mut bench);
    assert!(bench.has_room(0), "not so soon again");
    bench.now = millis(20);
    serve(&mut bench);
    assert!(!bench.has_room(0));
    bench.now = millis(40);
    bench.wait(1, false);
    serve(&mut bench);
    assert!(bench.has_room(0), "nobody waits any more");
}

/// Lanes of which one may do something at each moment at which another looks at the table.
struct World {
    cells: Cells,
    lanes: OnceLock<Vec<Mutex<Upstreams>>>,
    script: Mutex<VecDeque<(usize, u8)>>,
    flights: Mutex<Vec<(usize, u32)>>,
    rules: ForwardRules,
    now: AtomicU64,
}

#[derive(Debug)]
struct Interrupted {
    world: Weak<World>,
    lane: usize,
}

impl Shared for Interrupted {
    fn set(&self, column: u32, own: u32) {
        let world = self.world.upgrade().unwrap();
        world.step();
        world.cells[self.lane][column as usize].store(own, SeqCst);
    }

    fn others(&self, column: u32) -> u32 {
        let world = self.world.upgrade().unwrap();
        world.step();
        others(&world.cells, self.lane, column)
    }
}

impl World {
    fn new(policy: PolicyName, script: Vec<(usize, u8)>) -> Arc<Self> {
        let world = Arc::new(Self {
            cells: Cells::default(),
            lanes: OnceLock::new(),
            script: Mutex::default(),
            flights: Mutex::default(),
            rules: rules(Some(LIMIT)),
            now: AtomicU64::new(0),
        });
        let lane = |lane| {
            let shared = Interrupted { world: Arc::downgrade(&world), lane };
            let mut upstreams = Upstreams::shared(policy, 1, Box::new(shared));
            upstreams.update(Time(0), &[upstream(1), upstream(2)]);
            Mutex::new(upstreams)
        };
        world.lanes.set((0..LANES).map(lane).collect()).unwrap();
        *world.script.lock().unwrap() = script.into();
        world
    }

    /// The next thing of the script happens, if its lane is not in the middle of another.
    fn step(&self) -> bool {
        let Some((lane, what)) = self.script.lock().unwrap().pop_front() else { return false };
        let now = Time(self.now.fetch_add(1_000_000, SeqCst));
        let Ok(mut upstreams) = self.lanes.get().unwrap()[lane].try_lock() else { return true };
        match what {
            0..=3 => {
                let picked = upstreams.pick(now, &self.rules, &Ask::default());
                let mut flights = self.flights.lock().unwrap();
                if let Pick::To(id) = picked {
                    flights.push((lane, id));
                    let count = flights.iter().filter(|(_, other)| *other == id).count();
                    assert!(count <= LIMIT as usize, "{flights:?}");
                }
            }
            4 => upstreams.wait(now, &self.rules, true),
            5 => upstreams.wait(now, &self.rules, false),
            _ => {
                let mut flights = self.flights.lock().unwrap();
                let Some(place) = flights.iter().position(|(of, _)| *of == lane) else { return true };
                let (_, id) = flights.remove(place);
                drop(flights);
                upstreams.end(now, &self.rules, id, Outcome::Served);
            }
        }
        true
    }
}

proptest! {
    #[test]
    fn no_upstream_ever_has_more_than_it_may_however_lanes_interleave(
        policy in 0..PolicyName::ALL.len(),
        script in proptest::collection::vec((0..LANES, 0u8..9), 0..300),
    ) {
        let world = World::new(PolicyName::ALL[policy], script);
        while world.step() {}
        // Whoever has nothing to do leaves nothing.
        let first = || world.flights.lock().unwrap().first().copied();
        while let Some((lane, _)) = first() {
            world.script.lock().unwrap().push_back((lane, 8));
            world.step();
        }
        prop_assert!(world.cells.iter().all(|row| row[1..].iter().all(|cell| cell.load(SeqCst) == 0)));
    }
}

#[test]
fn lanes_on_threads_keep_to_the_limit_and_are_served() {
    let cells = Arc::new(Cells::default());
    let (at_once, served) = (AtomicU32::new(0), AtomicU32::new(0));
    let run = |lane| {
        let mut upstreams =
            Upstreams::shared(PolicyName::RoundRobin, 1, Box::new(Row { cells: Arc::clone(&cells), lane }));
        upstreams.update(Time(0), &[upstream(1)]);
        let rules = rules(Some(LIMIT));
        for _ in 0..20_000 {
            if upstreams.pick(Time(0), &rules, &Ask::default()) == Pick::To(1) {
                assert!(at_once.fetch_add(1, SeqCst) < LIMIT);
                served.fetch_add(1, SeqCst);
                at_once.fetch_sub(1, SeqCst);
                upstreams.end(Time(0), &rules, 1, Outcome::Served);
            }
        }
    };
    thread::scope(|scope| (0..LANES).for_each(|lane| drop(scope.spawn(move || run(lane)))));
    assert!(served.into_inner() > 1000 && others(&cells, LANES, 1) == 0);
}
