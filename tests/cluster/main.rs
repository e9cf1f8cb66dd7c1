//! The crate's face, used as a program would: this one is the cluster and, run again by it, its workers.
//!
//! A test harness has a `main` of its own and threads, so this is a program without: the tests run one after the other
//! on the thread that started the workers, and each must leave no child and no descriptor behind.

#![cfg(test)]

mod barrier;
mod call;
mod depends;
mod limit;
mod load;
mod messages;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/harness/node.rs"]
mod node;
mod outer;
mod output;
mod overload;
mod pollable;
mod process;
#[path = "../simulation/random.rs"]
mod random;
mod running;
mod scheduling;
mod worker;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{ExitCode, exit},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, waitpid},
};
use pointsman::Role;

/// A test and its name.
type Test = (&'static str, fn());

/// The names of these functions, and they.
macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}

/// All of them take seconds. Past this one hangs where it cannot see that itself.
const WATCHDOG: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    if pointsman::role() == Role::Worker {
        worker::serve().unwrap();
        return ExitCode::SUCCESS;
    }
    let tests: &[Test] = &tests![
        pollable::an_outer_poll_drives_it,
        pollable::an_idle_cluster_wakes_nobody,
        pollable::however_much_happens_at_once_an_outer_poll_learns_all_of_it,
        pollable::fork_adds_a_worker,
        pollable::messages_go_there_and_back,
        pollable::a_worker_that_dies_is_replaced,
        pollable::workers_get_the_environment_of_the_settings,
        pollable::workers_are_started_through_the_launcher,
        pollable::a_graceful_stop_lets_a_request_in_flight_finish,
        pollable::a_dropped_cluster_takes_everything_with_it,
        pollable::a_cluster_that_cannot_start_leaves_nothing,
        scheduling::it_is_a_batch_job_as_long_as_it_has_a_cluster,
        barrier::connections_between_large_messages_reach_node_workers_unmixed,
        load::what_is_counted_is_what_is_open_by_the_script_and_by_the_kernel,
        overload::connections_that_nobody_has_room_for_are_turned_away_and_counted,
        overload::connections_that_nobody_has_room_for_wait_and_all_are_served,
        overload::connections_that_came_back_before_a_stop_are_served_or_counted,
        overload::a_stuck_worker_is_replaced_and_one_that_owes_nothing_is_left_alone,
        messages::any_message_arrives_as_it_is_and_comes_back,
        messages::messages_that_json_cannot_say_come_as_it_would_say_them_or_not_at_all,
        messages::a_message_too_deep_that_comes_with_a_socket_is_dropped_and_ends_nothing,
        messages::many_messages_of_all_sizes_arrive_in_order,
        messages::a_program_that_cannot_be_executed_is_told_of_in_both_forms,
        limit::beyond_their_limit_nothing_is_lost_when_the_master_hands_over,
        limit::beyond_their_limit_nothing_is_lost_when_the_workers_accept,
        limit::workers_leave_when_their_last_connection_has_ended,
        output::on_a_terminal_each_line_has_its_slot,
        output::beside_one_that_writes_without_end_all_goes_on,
        output::when_nobody_reads_its_output_it_serves_and_stops,
        output::output_that_nobody_can_read_is_told_of_and_ends_no_worker,
        output::files_hold_all_lines_and_older_ones_are_kept,
        output::a_file_that_was_moved_away_begins_anew_when_asked,
        output::a_crash_comes_with_the_last_words,
        output::who_leaves_as_told_has_no_last_words,
        output::a_file_that_cannot_be_opened_starts_nothing,
        output::of_many_crashes_no_descriptor_is_left,
        output::a_worker_of_another_user_can_open_its_output_by_name,
        depends::no_worker_starts_before_an_address_is_there_and_connections_wait,
        depends::what_is_there_at_once_is_not_told_of,
        depends::they_are_waited_for_one_after_the_other,
        depends::a_host_that_does_not_answer_is_asked_again,
        depends::a_stop_while_it_waits_is_at_once_and_leaves_no_process,
        depends::a_program_that_is_not_there_is_waited_for_like_any_other,
        running::a_signal_ends_it_and_requests_before_it_are_answered,
    ];
    let mut wanted = env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let wanted = wanted.next().unwrap_or_default();
    let tests = tests.iter().copied().filter(|(name, _)| name.contains(&wanted));
    if env::args().any(|arg| arg == "--list") {
        tests.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    run(tests)
}

fn run(tests: impl Iterator<Item = Test>) -> ExitCode {
    // Before the first thread, so that `Cluster::run` gets the signals.
    pointsman::block_signals().unwrap();
    thread::spawn(|| {
        // Woken by nobody, or too early: the other thread ends the process.
        let end = now() + WATCHDOG;
        while now() < end {
            thread::park_timeout(WATCHDOG);
        }
        eprintln!("not over after {WATCHDOG:?}");
        exit(101);
    });
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in tests {
        let before = descriptors();
        let result = catch_unwind(AssertUnwindSafe(|| {
            test();
            assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD), "a child is left");
            assert_eq!(descriptors(), before, "descriptors are left");
        }));
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        match result {
            Ok(()) => passed += 1,
            Err(_) => failed.push(name),
        }
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// How many this process has.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[expect(clippy::disallowed_methods, reason = "the one clock of these tests")]
fn now() -> Instant {
    Instant::now()
}
