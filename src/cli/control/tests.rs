//! Verbs against a master that only says what a script has it say.

use clap::Parser;

use super::{
    client::tests::{GREETING, scripted},
    *,
};

#[derive(Debug, Parser)]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

fn stop(words: &str) -> Task {
    match Words::try_parse_from(format!("pointsman stop {words}").split_whitespace()).unwrap().verb {
        Verb::Stop(args) => Task::stop(&args),
        other => panic!("{other:?}"),
    }
}

fn scale(words: &str) -> Task {
    match Words::try_parse_from(format!("pointsman scale {words}").split_whitespace()).unwrap().verb {
        Verb::Scale(args) => Task::scale(&args),
        other => panic!("{other:?}"),
    }
}

/// What waiting comes to with a master that says this after its greeting.
fn waited(task: &Task, script: &[&str]) -> Result<Value, (u8, String)> {
    let script: Vec<_> = [GREETING].into_iter().chain(script.iter().copied()).collect();
    let (stream, master) = scripted(&script);
    let mut client = Client::meet(stream, None).unwrap();
    let end = wait_for(&mut client, task).map(Value::Object);
    // Its script may be over only when we are gone.
    drop(client);
    master.join().unwrap();
    end.map_err(|fault| (fault.exit_code(), fault.to_string()))
}

const STOPPED: &str = r#"{"id":1,"event":{"type":"stopped","time":"2026-11-24T17:48:40.123Z"}}"#;

#[test]
fn a_stop_is_done_only_if_the_master_said_so() {
    let asked = [r#"<"verb":"events""#, r#"<"verb":"stop","wait":true"#, r#"{"id":1,"ok":{}}"#];
    let after = |said: &[&'static str]| waited(&stop("--wait"), &[&asked[..], said].concat());
    assert_eq!(after(&[r#"{"id":2,"ok":{"workers":0}}"#]), Ok(json!({ "workers": 0 })));
    assert_eq!(after(&[r#"{"id":2,"ok":{"workers":0}}"#, STOPPED]), Ok(json!({ "workers": 0 })));
    assert_eq!(after(&[STOPPED]), Ok(json!({ "workers": 0 })));
    let gone = "the master (pid 4711) has gone before it said that all has stopped";
    assert_eq!(after(&[]), Err((69, gone.into())));
    let stopping = r#"{"id":1,"event":{"type":"stopping","workers":2,"timeout_ms":30000}}"#;
    assert_eq!(after(&[stopping]), Err((69, gone.into())));
    let late = r#"{"id":2,"error":{"code":"timed_out","message":"2 workers are left"}}"#;
    assert_eq!(after(&[late]), Err((75, "2 workers are left".into())));
}

#[test]
fn an_answer_is_waited_for_and_a_master_that_goes_away_gives_none() {
    let (answer, gone) =
        (r#"{"id":3,"ok":{"from":2,"to":4}}"#, "the master (pid 4711) has gone before it was done");
    let after = |said: &[&'static str]| waited(&scale("4 --wait"), &[&ASKED_TO_SCALE[..], said].concat());
    assert_eq!(after(&[answer]), Ok(json!({ "from": 2, "to": 4 })));
    assert_eq!(after(&[]), Err((69, gone.into())));
    let failed = r#"{"id":3,"error":{"code":"failed","message":"the new ones have crashed"}}"#;
    assert_eq!(after(&[failed]), Err((1, "the new ones have crashed".into())));
    let all = r#"{"id":null,"error":{"code":"busy","message":"too much"}}"#;
    assert_eq!(after(&[all]), Err((75, "too much".into())));
    let late = r#"{"id":3,"error":{"code":"timed_out","message":"not done after 2000 ms; it goes on"}}"#;
    assert_eq!(after(&[late]), Err((75, "not done after 2000 ms; it goes on".into())));
    let late =
        waited(&scale("4 --timeout 2s"), &[&ASKED_TO_SCALE[..3], &[r#"<"timeout_ms":2000"#, late]].concat());
    assert_eq!(late, Err((75, "not done after 2s; it goes on (`pointsman status` shows it)".into())));
}

const ASKED_TO_SCALE: [&str; 4] = [
    r#"<{"id":1,"verb":"events"}"#,
    r#"<{"id":2,"verb":"status"}"#,
    r#"{"id":2,"ok":{"wanted":2}}"#,
    r#"<{"id":3,"verb":"scale","to":4,"wait":true"#,
];

#[test]
fn last_words_are_waited_for_a_while_and_no_longer() {
    let exit = r#"{"id":1,"event":{"type":"exit","worker":7,"slot":3,"code":1}}"#;
    let errored = r#"{"id":1,"event":{"type":"errored","slot":3}}"#;
    let failed = r#"{"id":3,"error":{"code":"failed","message":"slot 3 is given up"}}"#;
    let words = r#"{"id":1,"event":{"type":"last_words","worker":7,"slot":3,"lines":["Error: x"]}}"#;
    let told = |said: &[&'static str], holds: bool| {
        let mut script = [&[GREETING], &ASKED_TO_SCALE[..], said].concat();
        // Goes on listening, and says nothing.
        script.extend(holds.then_some("<never"));
        let (stream, _master) = scripted(&script);
        let mut client = Client::meet(stream, None).unwrap();
        wait_for(&mut client, &scale("4 --wait")).unwrap_err().lines(&[])
    };
    let expected = "error: slot 3 is given up\n  the last words of worker 7, slot 3:\n    Error: x\n";
    assert_eq!(told(&[exit, errored, failed, words], true), expected);
    assert_eq!(told(&[exit, errored, words, failed], true), expected);
    let none = "error: slot 3 is given up\nsee: pointsman logs slot:3\n";
    assert_eq!(told(&[exit, errored, failed], true), none);
    assert_eq!(told(&[failed, errored], false), none);
}

#[test]
fn what_was_left_out_is_told_in_the_form_of_the_rest() {
    assert_eq!(dropped(12, "events", true), "{\"dropped\":12}");
    assert_eq!(
        dropped(12, "events", false),
        "(12 events are left out: they came faster than they were read)"
    );
}
