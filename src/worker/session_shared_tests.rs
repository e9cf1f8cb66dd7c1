//! Sockets that the master shares, Unix sockets, and room that is limited.

use super::*;

const SHARE: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","errno":0,"key":"k","ack":1,"data":null,"seq":0}}"#;
const CLOSE: &str = r#"{"cmd":"NODE_CLUSTER","act":"close","key":"k","seq":2}"#;
const ACK: &str = r#"{"cmd":"NODE_HANDLE_ACK"}"#;

fn give(session: &mut Session<u32>, frame: &str) -> Result<(), WorkerError> {
    session.handle_input(format!("{frame}\n").as_bytes(), Attached::Descriptor(5))
}

/// A session that was given a socket for what it asked.
fn given() -> Session<u32> {
    let mut session = asking();
    give(&mut session, SHARE).unwrap();
    assert_eq!(said(&mut session), [ACK]);
    session
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

#[test]
fn a_shared_socket_is_listened_on_before_that_is_said() {
    let mut session = given();
    assert_eq!((session.poll_answer(), session.poll_answer()), (Some(Answer::Given(5)), None));
    let listener = session.handle_listening(endpoint("127.0.0.1:8080")).unwrap();
    assert_eq!(listener.endpoint(), &endpoint("127.0.0.1:8080"));
    assert_eq!(
        said(&mut session),
        [
            r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":"127.0.0.1","port":8080,"addressType":4,"seq":2}"#
        ]
    );
    assert!(session.listens(&listener));
    assert_eq!(session.handle_listening(endpoint("127.0.0.1:8080")), None, "once");
    session.handle_connection(listener.clone(), 9);
    session.close_listener(&listener);
    assert!(!session.listens(&listener) && said(&mut session).len() == 1);
    assert_eq!(events(&mut session), [Event::Connection { listener, seq: None, descriptor: 9 }]);
}

#[test]
fn a_shared_socket_that_is_of_no_use_is_given_back() {
    let mut session = given();
    session.handle_not_listening();
    session.handle_not_listening();
    assert_eq!(said(&mut session), [CLOSE]);

    let mut session = given();
    feed(&mut session, DISCONNECT).unwrap();
    assert_eq!(session.poll_answer(), Some(Answer::Leaving), "the socket is dropped");
    assert_eq!(session.handle_listening(endpoint("127.0.0.1:8080")), None);
    assert_eq!(said(&mut session), [CLOSE]);
}

#[test]
fn a_shared_socket_comes_in_its_frame_or_not_at_all() {
    let plain = r#"{"cmd":"NODE_CLUSTER","errno":0,"key":"k","ack":1,"data":null,"seq":0}"#;
    refused(&mut asking(), plain, "the listener k without its socket");
    let mut session = asking();
    session.handle_input(format!("{SHARE}\n").as_bytes(), Attached::Lost).unwrap();
    assert_eq!((session.poll_answer(), said(&mut session)), (None, vec![ACK.replace("ACK", "NACK")]));
    give(&mut session, SHARE).unwrap();
    assert_eq!(session.poll_answer(), Some(Answer::Given(5)), "the master sends it again");
    let mut twice = listening().0;
    ask(&mut twice, ADDRESS);
    let error = give(&mut twice, &SHARE.replace("\"ack\":1", "\"ack\":3")).unwrap_err();
    assert!(error.to_string().contains("two listeners with the key k"), "{error}");
}

#[test]
fn a_unix_socket_is_what_was_asked_for() {
    let mut session = Session::new(Serialization::Json);
    ask(&mut session, "unix:/run/a");
    assert_eq!(
        said(&mut session)[2],
        r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"/run/a","port":-1,"addressType":-1,"seq":1}"#
    );
    feed(&mut session, r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"k","ack":1,"data":null,"seq":0}"#)
        .unwrap();
    let Some(Answer::Listening(listener)) = session.poll_answer() else { panic!("not listening") };
    assert_eq!(listener.endpoint(), &endpoint("unix:/run/a"));
    assert!(
        said(&mut session)[0]
            .contains(r#""act":"listening","index":0,"data":null,"address":"/run/a","port":-1,"#)
    );
}

#[test]
fn connections_beyond_the_room_go_back() {
    let (mut session, _) = listening();
    let accepted = |session: &mut Session<u32>, seq: u64| {
        give(session, &newconn("k", seq)).unwrap();
        said(session)[1].contains("\"accepted\":true")
    };
    session.set_room(2);
    assert!(accepted(&mut session, 1) && accepted(&mut session, 2));
    assert!(!accepted(&mut session, 3), "two wait for the program");
    session.poll_event();
    session.set_room(1);
    assert!(!accepted(&mut session, 4), "it has one and one waits");
    session.set_room(2);
    assert!(accepted(&mut session, 5), "the first has ended");
    session.set_room(0);
    assert!(!accepted(&mut session, 6));
    let taken: Vec<_> = events(&mut session)
        .into_iter()
        .map(|event| match event {
            Event::Connection { seq, .. } => seq,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(taken, [Some(2), Some(5)]);
}
