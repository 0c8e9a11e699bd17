//! `trommel top` where it is printed.

use crate::patience::blocking::until_ok;
use crate::router::Folder;
use crate::watched_router::WatchedRouter;

use std::process::Output;

fn printed(Output { status, stdout, stderr }: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn one_table_is_printed_where_there_is_no_terminal() {
    let mut router = WatchedRouter::start();
    for n in [60, 10, 70] {
        router.send(&format!("{{\"id\":\"{n}\",\"type\":\"order\",\"n\":{n}}}"));
    }
    until_ok("the events have ended", || match router.events("").len() {
        3 => Ok(()),
        ended => Err(format!("{ended} of 3")),
    });
    for options in [&["--once"][..], &[]] {
        let (code, table, errors) = printed(router.folder.trommel(&["top"]).args(options).output().unwrap());
        assert_eq!((code, &*errors), (Some(0), ""), "{table}");
        assert!(table.starts_with("ok, generation "), "{table}");
        assert!(table.contains("3 received, 2 emitted, 1 filtered, 0 dead letters, 0 failed\n"), "{table}");
        for (title, row) in [("SOURCE ", "events "), ("KEY ", "large "), ("FILTER ", "select "), ("SINK ", "out ")] {
            let lines = table.lines().skip_while(|line| !line.starts_with(title));
            let mut below = lines.take_while(|line| !line.is_empty());
            let found = below.any(|line| line.starts_with(row));
            assert!(found, "no `{row}` below `{title}`:\n{table}");
        }
    }
    assert!(router.end().1.status.success(), "it does not wait for who has watched");
}

#[test]
fn without_a_router_there_is_nothing_to_watch() {
    let folder = Folder::new("");
    let (code, table, errors) = printed(folder.trommel(&["top"]).output().unwrap());
    assert_eq!((code, &*table), (Some(2), ""), "{errors}");
    assert!(errors.starts_with("error: no router runs from ") && errors.contains("trommel run"), "{errors}");
}
