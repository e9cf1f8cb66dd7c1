//! Node workers and what they say, in both forms: Node itself reads what is written here, and writes what is read.

use std::{
    env,
    fs::{self, Permissions},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::Duration,
};

use pointsman::{Event, Listen, Serialization, Settings, Stop, Trouble};
use serde_json::{Map, Number, Value, json};

use crate::{outer::Outer, random::Random};

/// Messages of one run; the number of each is its seed.
const MESSAGES: u64 = 1500;
/// Messages that are on their way at once: few enough for a channel.
const LOT: u64 = 50;

const APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/apps/messages.js");

/// The Node versions to run on: 20, or all of them when `POINTSMAN_TEST_MATRIX=all`.
fn versions() -> impl Iterator<Item = PathBuf> {
    versions_and(20)
}

/// The same, and this one in any case.
fn versions_and(always: u32) -> impl Iterator<Item = PathBuf> {
    let all = env::var_os("POINTSMAN_TEST_MATRIX").is_some_and(|value| value == "all");
    let wanted = [18, 20, 22, 24].into_iter().filter(move |&version| all || [20, always].contains(&version));
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/node_modules");
    let path = move |version| PathBuf::from(format!("{tools}/node{version}/bin/node"));
    wanted
        .map(path)
        .inspect(|path| assert!(path.exists(), "{} is missing; run scripts/setup", path.display()))
}

fn start(node: PathBuf, form: Serialization) -> Outer {
    let settings = Settings::new(node).arg(APP).workers(1).serialization(form);
    let mut outer = Outer::new(settings.listen(Listen::tcp((Ipv4Addr::LOCALHOST, 0).into())));
    outer.until_serving(1);
    outer.seen.clear();
    outer
}

/// Nothing was wrong but what is said, and it ends as it should.
fn finish(mut outer: Outer) {
    outer.cluster.stop(Stop::Graceful);
    outer.until("it has stopped", |outer| outer.cluster.is_stopped());
}

fn messages(outer: &Outer) -> impl Iterator<Item = &Value> {
    outer.seen.iter().filter_map(|event| match event {
        Event::Message { message, .. } => Some(message),
        _ => None,
    })
}

fn troubles(outer: &Outer) -> Vec<&Trouble> {
    let troubles = outer.seen.iter().filter_map(|event| match event {
        Event::Trouble { trouble, .. } => Some(trouble),
        _ => None,
    });
    troubles.collect()
}

fn any_text(random: &mut Random) -> String {
    let letters = ['a', 'Z', '0', '"', '\\', '\u{0}', 'é', 'ÿ', 'Ā', '€', '\u{2028}', '\u{FFFF}', '😀'];
    // Many texts are all of one kind.
    let kinds = 1 + random.index(letters.len());
    (0..random.below(20)).map(|_| letters[random.index(kinds)]).collect()
}

fn any_number(random: &mut Random) -> Number {
    let bits = random.below(54);
    let whole = i64::try_from(random.below(1 << bits)).unwrap();
    match random.below(4) {
        0 => whole.into(),
        1 => (-whole).into(),
        // Whatever its last bit is, half of it is no integer.
        #[expect(clippy::cast_precision_loss, reason = "of at most 53 bits")]
        2 => Number::from_f64((whole % (1 << 50)) as f64 + 0.5).unwrap(),
        _ => Number::from_f64(0.1 / f64::from(1 + u32::try_from(random.below(1 << 20)).unwrap())).unwrap(),
    }
}

fn any_value(random: &mut Random, depth: u32) -> Value {
    match random.below(if depth == 0 { 5 } else { 8 }) {
        0 => Value::Null,
        1 => random.once_in(2).into(),
        2 => Value::Number(any_number(random)),
        3 | 4 => any_text(random).into(),
        5 => (0..random.below(6)).map(|_| any_value(random, depth - 1)).collect(),
        _ => {
            let mut fields = Map::new();
            for _ in 0..random.below(6) {
                let name = if random.once_in(4) { random.below(300).to_string() } else { any_text(random) };
                fields.insert(name, any_value(random, depth - 1));
            }
            Value::Object(fields)
        }
    }
}

/// Not an object whose `cmd` says that it is Node's own: those are no messages.
fn message(seed: u64) -> Value {
    json!({ "seed": seed, "value": any_value(&mut Random::new(seed), 4) })
}

pub(crate) fn any_message_arrives_as_it_is_and_comes_back() {
    for node in versions() {
        for &form in Serialization::ALL {
            let mut outer = start(node.clone(), form);
            let worker = outer.cluster.workers().next().unwrap().id;
            for lot in (0..MESSAGES).step_by(LOT.try_into().unwrap()) {
                let seeds = lot..lot + LOT;
                for seed in seeds.clone() {
                    outer.cluster.send(worker, &message(seed)).unwrap();
                }
                outer.until("all of them come back", |outer| messages(outer).count() as u64 == LOT);
                for (seed, back) in seeds.zip(messages(&outer)) {
                    let sent = message(seed);
                    let read: Value = serde_json::from_str(back["text"].as_str().unwrap()).unwrap();
                    assert_eq!(read, sent, "{form}: what Node read of the message with seed {seed}");
                    assert_eq!(back["same"], sent, "{form}: what Node wrote of the message with seed {seed}");
                }
                assert!(troubles(&outer).is_empty(), "{form}: {:?}", troubles(&outer));
                outer.seen.clear();
            }
            finish(outer);
        }
    }
}

pub(crate) fn messages_that_json_cannot_say_come_as_it_would_say_them_or_not_at_all() {
    for node in versions() {
        let mut outer = start(node.clone(), Serialization::Advanced);
        let worker = outer.cluster.workers().next().unwrap().id;
        outer.cluster.send(worker, &json!("kinds")).unwrap();
        outer.until("all have come", |outer| messages(outer).any(|message| message == "over"));
        let told: Vec<_> = messages(&outer).collect();
        for message in &told[..told.len() - 1] {
            let expected: Value = serde_json::from_str(message["text"].as_str().unwrap()).unwrap();
            assert_eq!(message["value"], expected, "{} of {}", message["name"], node.display());
        }
        assert_eq!(told.len(), 14, "{told:?}");
        let reasons = troubles(&outer).into_iter().map(|trouble| match trouble {
            Trouble::DroppedMessage { why } => why.as_str(),
            other => panic!("{other:?}"),
        });
        let reasons: Vec<_> = reasons.collect();
        let expected = ["an object in it contains itself", "a BigInt in it is too large", "a surrogate pair"];
        assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
        assert!(reasons.iter().zip(expected).all(|(why, part)| why.contains(part)), "{reasons:?}");
        // And nothing has happened to it: it serves, and it hears.
        assert!(outer.cluster.workers().any(|state| state.id == worker && state.serving));
        finish(outer);
    }
}

pub(crate) fn a_message_too_deep_that_comes_with_a_socket_is_dropped_and_ends_nothing() {
    for node in versions() {
        for &form in Serialization::ALL {
            let mut outer = start(node.clone(), form);
            let worker = outer.cluster.workers().next().unwrap().id;
            outer.cluster.send(worker, &json!("deep with a socket")).unwrap();
            outer.until("it is over", |outer| messages(outer).any(|message| message == "over"));
            let [Trouble::DroppedHandle, Trouble::DroppedMessage { .. }] = troubles(&outer)[..] else {
                panic!("{form}, {}: {:?}", node.display(), troubles(&outer));
            };
            assert!(outer.cluster.workers().any(|state| state.id == worker && state.serving), "{form}");
            finish(outer);
        }
    }
}

/// Far more than a channel holds. Node 18 misreads a length that comes in two reads.
pub(crate) fn many_messages_of_all_sizes_arrive_in_order() {
    const COUNT: usize = 6000;
    for node in versions_and(18) {
        for &form in Serialization::ALL {
            let mut outer = start(node.clone(), form);
            let worker = outer.cluster.workers().next().unwrap().id;
            for number in 0..COUNT {
                let size = [1, 2, 3, 500, 7][number % 5] + if number % 500 == 0 { 70_000 } else { 0 };
                outer.cluster.send(worker, &json!([number, "x".repeat(size)])).unwrap();
            }
            outer.until("all of them come back", |outer| messages(outer).count() == COUNT);
            let numbers = messages(&outer).map(|back| back["same"][0].as_u64().unwrap());
            assert!(numbers.eq(0..COUNT as u64), "{form}, {}", node.display());
            finish(outer);
        }
    }
}

pub(crate) fn a_program_that_cannot_be_executed_is_told_of_in_both_forms() {
    for &form in Serialization::ALL {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        let settings = Settings::new(&script).workers(1).restart_delay(Duration::from_secs(60));
        let mut outer =
            Outer::new(settings.serialization(form).listen(Listen::tcp((Ipv4Addr::LOCALHOST, 0).into())));
        outer.until("its end is told", |outer| {
            outer.seen.iter().any(|event| matches!(event, Event::Exit { .. }))
        });
        let expected = Trouble::LaunchFailed { step: "exec".into(), errno: nix::libc::ENOENT };
        assert_eq!(troubles(&outer), [&expected], "{form}");
        finish(outer);
    }
}
