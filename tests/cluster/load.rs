//! Least-connections as the counts tell it: what is counted is what is open, whoever tells and whoever dies, and the next
//! connection goes where less is. The counts are waited for; where the connections went is then demanded once.

use nix::sys::signal::Signal;
use pointsman::{LoadSource, PolicyName, Settings, WorkerId};

use crate::{call::Call, node::Node, outer::Outer, pollable::ANYWHERE, process::signal};

const WORKERS: usize = 2;
/// Connections of each worker.
const EACH: usize = 10;

/// Connections that stay, and the worker that each went to.
type Staying = Vec<(WorkerId, Call)>;

pub(crate) fn what_is_counted_is_what_is_open_by_the_script_and_by_the_kernel() {
    for node in Node::in_both_forms() {
        check(node, LoadSource::Script);
    }
    check(Node::DEFAULT, LoadSource::Kernel);
}

fn check(node: Node, source: LoadSource) {
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/echo.js");
    let settings = Settings::new(node.path())
        .serialization(node.form.word().parse().unwrap())
        .arg(app)
        .listen(ANYWHERE.into())
        .workers(WORKERS)
        .policy(PolicyName::LeastConnections)
        .load_report(source == LoadSource::Script);
    let mut outer = Outer::new(settings);
    outer.until_serving(WORKERS);
    assert!(outer.cluster.workers().all(|worker| worker.load_source == source), "{node}, {source:?}");
    let mut staying = Staying::new();
    stay(&mut outer, &mut staying, WORKERS * EACH);
    let [first, second] = [WorkerId(1), WorkerId(2)];
    assert_eq!(counts(&outer), [(first, EACH), (second, EACH)], "{node}, {source:?}: equals take turns");

    // Half of the second's end, and the next go there.
    let mut of_second = 0;
    staying.retain(|(worker, _)| {
        of_second += usize::from(*worker == second);
        *worker != second || of_second > EACH / 2
    });
    until_counted(&mut outer, &staying);
    assert_eq!(counts(&outer), [(first, EACH), (second, EACH / 2)], "{node}, {source:?}");
    stay(&mut outer, &mut staying, EACH / 2);
    assert_eq!(counts(&outer), [(first, EACH), (second, EACH)], "{node}, {source:?}: to who had fewer");

    // All of the first's end with it, and its successor begins with nothing.
    let pid = outer.cluster.workers().next().unwrap().pid;
    signal(pid, Signal::SIGKILL);
    staying.retain(|(worker, _)| *worker != first);
    outer.until("its end is seen", |outer| outer.words(first).contains(&"exit"));
    let third = WorkerId(3);
    let left: Vec<_> = counts(&outer).into_iter().filter(|&(worker, _)| worker != third).collect();
    assert_eq!(left, [(second, EACH)], "{node}, {source:?}");
    outer.until_serving(WORKERS);
    assert_eq!(counts(&outer), [(second, EACH), (third, 0)], "{node}, {source:?}");
    stay(&mut outer, &mut staying, EACH);
    assert_eq!(counts(&outer), [(second, EACH), (third, EACH)], "{node}, {source:?}: to the successor");
    drop(staying);
    outer.until_nothing_is_open();
}

/// Opens connections one after the other: each is counted before the next.
fn stay(outer: &mut Outer, staying: &mut Staying, count: usize) {
    for _ in 0..count {
        let before = counts(outer);
        let call = Call::new(outer.address(), "stays");
        let open = staying.len() + 1;
        outer.until("it is counted", |outer| total(outer) == open);
        let grown = counts(outer).into_iter().find(|count| !before.contains(count));
        staying.push((grown.unwrap().0, call));
    }
}

fn until_counted(outer: &mut Outer, staying: &Staying) {
    outer.until("all is counted", |outer| total(outer) == staying.len());
}

/// How many connections each worker has open.
fn counts(outer: &Outer) -> Vec<(WorkerId, usize)> {
    outer.cluster.workers().map(|worker| (worker.id, worker.connections)).collect()
}

fn total(outer: &Outer) -> usize {
    outer.cluster.workers().map(|worker| worker.connections).sum()
}
