//! What a filter gets that goes for the machine: nothing, and a plain error each time. Components
//! in the languages whose runtimes know how to ask (`examples/languages/hostile`).

use std::net::TcpListener;

use tracing::Level;
use trommel::filter::{Filter, Verdict};

use super::{
    LIMITS,
    cases::Answers,
    load,
    log::Log,
    rig::{event, subscribe},
};

/// What the guest says of one attempt.
async fn told(filter: &Filter, attempt: &[(&str, &str)]) -> String {
    let subscription = subscribe(filter, LIMITS, attempt).await;
    let verdict = filter.process(&subscription, &event("{}"), 1).await;
    let Ok(Verdict::Replace(told)) = verdict else { panic!("{attempt:?}: {verdict:?}") };
    String::from_utf8(told.to_vec()).unwrap()
}

async fn gets_nothing(language: &str) {
    let filter = load(&format!("hostile-{language}"), &Answers::new()).await;
    for attempt in ["read", "write", "list", "lookup"] {
        let told = told(&filter, &[("try", attempt)]).await;
        assert!(told.starts_with("refused: "), "{language}: {attempt}: {told}");
    }
    assert_eq!(told(&filter, &[("try", "environment")]).await, "nothing", "{language}");
    assert_eq!(told(&filter, &[("try", "arguments")]).await, "nothing", "{language}");
    reaches_no_socket(&filter).await;
    floods_only_its_share_of_the_log(&filter, language).await;
    has_no_time_and_no_chance_in_matches(&filter).await;
    // After all of it: the same instance still answers.
    assert_eq!(told(&filter, &[("try", "environment")]).await, "nothing", "{language}");
}

/// Somebody listens, so that only the sandbox can be what refuses.
async fn reaches_no_socket(filter: &Filter) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let told = told(filter, &[("try", "connect"), ("port", &port)]).await;
    assert!(told.starts_with("refused: "), "{told}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it was reached");
}

/// 10,000 lines of 1,000 bytes: the budget's worth is logged, under the filter's name, and the rest
/// is counted.
async fn floods_only_its_share_of_the_log(filter: &Filter, language: &str) {
    let (log, guard) = Log::start(Level::INFO);
    assert_eq!(told(filter, &[("try", "flood")]).await, "printed");
    drop(guard);
    let log = log.text();
    let of_filter = format!("filter=\"hostile-{language}\" key=\"key\" event=\"id-1\" stream=\"stdout\"");
    assert_eq!(log.lines().filter(|line| line.contains(&of_filter)).count(), LIMITS.log_lines as usize, "{log}");
    let dropped = log.lines().find(|line| line.contains("log lines over the budget")).unwrap();
    assert!(dropped.trim_start().starts_with("WARN"), "{dropped}");
    assert_eq!(log.lines().count(), LIMITS.log_lines as usize + 1, "{log}");
}

/// `matches` prints what the clock shows and what it draws: every instance the same.
async fn has_no_time_and_no_chance_in_matches(filter: &Filter) {
    let subscription = subscribe(filter, LIMITS, &[("try", "matches")]).await;
    let mut printed = Vec::new();
    for _ in 0..2 {
        let (log, guard) = Log::start(Level::INFO);
        assert!(filter.matcher().matches(&subscription, &event("{}")).unwrap());
        drop(guard);
        printed.push(log.text());
    }
    assert!(printed[0].contains("clock 1767323045, drew "), "{}", printed[0]);
    assert_eq!(printed[0], printed[1]);
}

#[tokio::test(flavor = "current_thread")]
async fn javascript_gets_nothing() {
    gets_nothing("js").await;
}

#[tokio::test(flavor = "current_thread")]
async fn python_gets_nothing() {
    gets_nothing("python").await;
}

#[tokio::test(flavor = "current_thread")]
async fn go_gets_nothing() {
    gets_nothing("go").await;
}
