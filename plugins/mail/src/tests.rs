use std::{cell::RefCell, rc::Rc};

use trommel_filter::{
    FailureKind,
    api::Error,
    testing::{TestEvent, TestRoute, answer_api, response},
};

use super::*;

const RECEIVED: &str = r#"{"schema":"2.0","header":{"event_id":"e-1","event_type":"mail.user_mailbox.event.message_received_v1","create_time":"1776409469273","token":"","app_id":"cli_a","tenant_key":"t"},"event":{"mail_address":"ada@example.com","message_id":"TUlh+bQ==","mailbox_type":1,"subscriber":{"user_ids":[{"open_id":"ou_ada"}]}}}"#;
const FETCHED: &str = r#"{"code":0,"msg":"success","data":{"message":{"message_id":"TUlh+bQ==","from":{"mail_address":"bob@example.com","name":"Bob"},"subject":"Hello","snippet":"Hi","folder_id":"INBOX","label_ids":["FLAGGED","IMPORTANT"],"internal_date":"1776409468000","body_text":"Hi Ada","body_html":"<p>Hi Ada</p>","attachments":[{"attachment_id":"a1","filename":"f.pdf"}]}}}"#;

/// Answers every call with `answer`. Returns what was called beside the outcome.
fn deliver(given: &[(&str, &str)], payload: &str, answer: &'static str) -> (Result<Outcome>, Vec<String>) {
    let calls = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&calls);
    answer_api(move |request| {
        if request.path.ends_with("/profile") {
            return Ok(response(200, r#"{"data":{"primary_email_address":"ada@example.com"}}"#));
        }
        assert_eq!(request.body, None);
        seen.borrow_mut().push(format!("{} {}", request.method, request.path));
        Ok(response(200, answer))
    });
    let outcome = TestRoute::<Mail>::new(given).unwrap().process(&TestEvent::new(payload));
    (outcome, calls.take())
}

fn replaced(text: &str) -> Result<Outcome> {
    Ok(Outcome::replace(text))
}

const EVENT: &str = r#"{"mail_address":"ada@example.com","message_id":"TUlh+bQ==","mailbox_type":1,"subscriber":{"user_ids":[{"open_id":"ou_ada"}]}"#;
const METADATA: &str = r#","from":{"mail_address":"bob@example.com","name":"Bob"},"subject":"Hello","snippet":"Hi","folder_id":"INBOX","label_ids":["FLAGGED","IMPORTANT"]"#;
const BODIES: [&str; 2] = [
    r#","body_text":"Hi Ada""#,
    r#","body_html":"<p>Hi Ada</p>","attachments":[{"attachment_id":"a1","filename":"f.pdf"}]"#,
];

/// L55
#[test]
fn the_level_says_how_much_is_fetched() {
    let [text, html] = BODIES;
    for (level, format, more) in [
        ("", None, String::new()),
        ("event", None, String::new()),
        ("metadata", Some("metadata"), METADATA.to_owned()),
        ("plain_text_full", Some("plain_text_full"), format!("{METADATA}{text}")),
        ("full", Some("full"), format!("{METADATA}{text}{html}")),
    ] {
        let (outcome, calls) = deliver(&[("level", level), ("mailbox", "ada@example.com")], RECEIVED, FETCHED);
        assert_eq!(outcome, replaced(&format!("{EVENT}{more}}}")), "{level}");
        let expected: Vec<_> = format
            .map(|format| {
                format!("GET /open-apis/mail/v1/user_mailboxes/ada@example.com/messages/TUlh+bQ==?format={format}")
            })
            .into_iter()
            .collect();
        assert_eq!(calls, expected, "{level}");
    }
}

/// L55: any of the folders, all of the labels.
#[test]
fn folders_and_labels_choose_messages() {
    for (folders, labels, wanted) in [
        ("inbox, sent", "", true),
        ("SENT\nTRASH", "", false),
        ("", "flagged, IMPORTANT", true),
        ("", "FLAGGED, custom-7", false),
        ("INBOX", "FLAGGED", true),
        ("SENT", "FLAGGED", false),
    ] {
        let given = [("folders", folders), ("labels", labels), ("mailbox", "ada@example.com")];
        let (outcome, calls) = deliver(&given, RECEIVED, FETCHED);
        let expected = if wanted { replaced(&format!("{EVENT}}}")) } else { Ok(Outcome::Drop) };
        assert_eq!((outcome, calls.len()), (expected, 1), "{folders} {labels}");
    }
    let (outcome, _) = deliver(&[("folders", "INBOX")], RECEIVED, r#"{"data":{"subject":"x"}}"#);
    assert_eq!(outcome, Ok(Outcome::Drop), "a message without a folder is in none");
    let (outcome, _) = deliver(&[("level", "metadata")], RECEIVED, r#"{"data":{"subject":"x","folder_id":"SENT"}}"#);
    assert_eq!(outcome, replaced(&format!(r#"{EVENT},"subject":"x","folder_id":"SENT"}}"#)), "also unwrapped");
}

/// L55: what can't be judged passes, and `process` then says what is wrong.
#[test]
fn the_address_decides() {
    let mail = TestRoute::<Mail>::new(&[("mailbox", "ada@example.com")]).unwrap();
    let matches = |payload: &str| mail.matches(&TestEvent::new(payload));
    assert!(matches(RECEIVED));
    assert!(matches(&RECEIVED.replace("ada@", "ADA@")));
    assert!(!matches(&RECEIVED.replace("ada@", "bob@")));
    for unreadable in ["{}", r#"{"event":{"mail_address":7}}"#, r#"{"event":{"mail_address":null}}"#] {
        assert!(matches(unreadable), "{unreadable}");
    }
    for (payload, level) in [("", "event"), ("{}", "event"), (r#"{"event":7}"#, "full"), (r#"{"event":{}}"#, "full")] {
        let (outcome, calls) = deliver(&[("level", level), ("mailbox", "a@b.c")], payload, FETCHED);
        assert_eq!(outcome.unwrap_err().kind, FailureKind::Malformed, "{payload}");
        assert!(calls.is_empty(), "{payload}");
    }
}

fn params(given: &[(&str, &str)]) -> Params {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// L28, L55
#[test]
fn me_becomes_an_address() {
    answer_api(|request| {
        let path = "/open-apis/mail/v1/user_mailboxes/me/profile";
        assert_eq!((&*request.method, &*request.path, &request.body), ("GET", path, &None));
        Ok(response(200, r#"{"code":0,"data":{"primary_email_address":" ada@example.com "}}"#))
    });
    for given in
        [&[("level", "full"), ("mailbox", "me")][..], &[("level", "full"), ("mailbox", " Me")], &[("level", "full")]]
    {
        let expected = params(&[("level", "full"), ("mailbox", "ada@example.com")]);
        assert_eq!(Mail::normalize("key", params(given)), Ok(expected), "{given:?}");
    }
    answer_api(|_| panic!("no call is needed"));
    let given = params(&[("mailbox", "bob@example.com ")]);
    assert_eq!(Mail::normalize("key", given), Ok(params(&[("mailbox", "bob@example.com")])));
    let refused = Mail::normalize("key", params(&[("level", "all"), ("mailbox", "me")]));
    let message = "`level` can't be `all`: it is one of `event`, `metadata`, `plain_text_full`, `full`";
    assert_eq!(refused, Err(Failure::malformed(message)));
    answer_api(|_| Err(Error::Timeout));
    assert_eq!(Mail::normalize("key", params(&[])).unwrap_err().kind, FailureKind::Retry(1_000));
}
