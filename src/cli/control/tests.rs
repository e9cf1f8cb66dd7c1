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
    let mut client = Client::meet(stream).unwrap();
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
    let asked = r#"<{"id":1,"verb":"scale","to":4,"wait":true}"#;
    let answer = r#"{"id":1,"ok":{"from":2,"to":4}}"#;
    assert_eq!(waited(&scale("4 --wait"), &[asked, answer]), Ok(json!({ "from": 2, "to": 4 })));
    let gone = "the master (pid 4711) has gone before it was done";
    assert_eq!(waited(&scale("4 --wait"), &[asked]), Err((69, gone.into())));
    let failed = r#"{"id":1,"error":{"code":"failed","message":"the new ones have crashed"}}"#;
    assert_eq!(waited(&scale("4 --wait"), &[asked, failed]), Err((1, "the new ones have crashed".into())));
    let all = r#"{"id":null,"error":{"code":"busy","message":"too much"}}"#;
    assert_eq!(waited(&scale("4 --wait"), &[asked, all]), Err((75, "too much".into())));
}

#[test]
fn what_was_left_out_is_told_in_the_form_of_the_rest() {
    assert_eq!(dropped(12, "events", true), "{\"dropped\":12}");
    assert_eq!(
        dropped(12, "events", false),
        "(12 events are left out: they came faster than they were read)"
    );
}
