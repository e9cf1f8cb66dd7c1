//! Plain keys, wherever they are given.

use super::{
    super::{
        layer::Layer,
        tests::{check_mistakes, flag, load_text},
    },
    *,
};

#[test]
fn the_serialization_can_be_chosen_everywhere() {
    use pointsman::Serialization::{Advanced, Json};
    let load = |flags, text, variables: &[_]| {
        let given = load_text(flags, text, variables).unwrap().plain.serialization;
        (given.value, given.origin.to_string())
    };
    let variable = |value| [("POINTSMAN_SERIALIZATION", value)];
    let file = "serialization = \"advanced\"";
    assert_eq!(load(Layer::default(), "", &[]), (Json, "default".into()));
    assert_eq!(load(Layer::default(), file, &[]), (Advanced, "p.toml:1".into()));
    let over = load(Layer::default(), file, &variable("json"));
    assert_eq!(over, (Json, "POINTSMAN_SERIALIZATION".into()));
    let plain = PlainLayer { serialization: flag(Advanced), ..PlainLayer::default() };
    let flags = Layer { plain, ..Layer::default() };
    assert_eq!(load(flags, "", &variable("json")), (Advanced, "--flag".into()));
    let error = load_text(Layer::default(), "", &variable("advance")).unwrap_err();
    assert!(error.contains("did you mean advanced? The serializations are: json, advanced"), "{error}");
}

#[test]
fn the_load_report_can_be_turned_off_everywhere() {
    let load = |flags, text, variables: &[_]| {
        let given = load_text(flags, text, variables).unwrap().plain.load_report;
        (given.value, given.origin.to_string())
    };
    let variable = |value| [("POINTSMAN_LOAD_REPORT", value)];
    assert_eq!(load(Layer::default(), "", &[]), (true, "default".into()));
    assert_eq!(load(Layer::default(), "load_report = false", &[]), (false, "p.toml:1".into()));
    let over = load(Layer::default(), "load_report = false", &variable("true"));
    assert_eq!(over, (true, "POINTSMAN_LOAD_REPORT".into()));
    let plain = PlainLayer { load_report: flag(false), ..PlainLayer::default() };
    let off = Layer { plain, ..Layer::default() };
    assert_eq!(load(off, "load_report = true", &variable("true")), (false, "--flag".into()));
}

#[test]
fn a_value_has_the_type_and_the_unit_of_its_key() {
    check_mistakes(&[
        ("stop_timeout = 30", &["bare number", "write 30s, or 30ms, in quotes", "p.toml:1:16"]),
        ("handoff_timeout = 30", &["bare number", "write 30s, or 30ms, or off, in quotes"]),
        ("window = \"8\"", &["a number is expected here, not a value of type string", "write window = 8"]),
        ("window = 0x8", &["a number is expected here"]),
        ("stop_timeout = \"off\"", &["SIGQUIT waits for ever", "p.toml:1:16"]),
        ("kill_timeout = \"5 min\"", &["\" min\" is no unit of time", "500ms, 30s"]),
        ("restart_delay = true", &["a duration is expected", "boolean"]),
        ("load_report = \"no\"", &["true or false is expected here, not a value of type string"]),
        ("serialization = \"v8\"", &["no such serialization", "json, advanced", "p.toml:1:17"]),
        ("serialization = true", &["a string is expected"]),
    ]);
}
