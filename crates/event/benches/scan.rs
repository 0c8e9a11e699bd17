//! What reading and editing a JSON text without parsing it costs: ns a text, and the rate at which
//! it is walked through. `cargo bench -p trommel-event --bench scan`; the figures are medians of
//! rounds in which the cases take turns.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]

use std::hint::black_box;

use trommel_event::json::{self, JsonEdit, JsonOutline, PointerTree};

#[path = "../../../benches/common/turns.rs"]
mod turns;

use turns::medians;

/// A case: its name, and what is measured.
type ScanCase<'a> = (&'a str, Box<dyn FnMut() + 'a>);

fn main() {
    for (name, text) in [
        ("order of 256 B", order(256)),
        ("order of 1 KiB", order(1024)),
        ("order of 16 KiB", order(16 << 10)),
        ("order of 1 KiB over many lines", json::pretty(&order(512))),
        ("28 members of 1 KiB", members(28, 22)),
        ("8 long texts of 1 KiB", members(8, 110)),
    ] {
        cases(name, text.as_ref());
    }
}

fn cases(name: &str, text: &[u8]) {
    let tree = |pointers: &[&str]| PointerTree::new(pointers.iter().copied()).unwrap();
    let trees = [
        ("an early member found", tree(&["/customer/tier"])),
        ("a late member found", tree(&["/last"])),
        ("an absent member not found", tree(&["/absent"])),
        ("two members found", tree(&["/customer/id", "/last"])),
    ];
    let edits = [
        ("an early member set", JsonEdit::Set("/customer/tier", b"\"silver\"")),
        ("a late member set", JsonEdit::Set("/last", b"true")),
        ("a member added", JsonEdit::Set("/total", b"17")),
        ("a late member removed", JsonEdit::Remove("/last")),
    ];
    let mut outline = JsonOutline::default();
    trees[3].1.find_outlined(text, &mut outline).unwrap();
    let outline = &outline;
    let mut runs: Vec<ScanCase<'_>> = Vec::new();
    for (name, tree) in &trees {
        runs.push((name, Box::new(move || drop(black_box(tree.find(black_box(text)).unwrap())))));
    }
    for (name, edit) in &edits {
        runs.push((name, Box::new(move || drop(black_box(json::edited(black_box(text), &[*edit]).unwrap())))));
    }
    let two = &trees[3].1;
    runs.push((
        "two members found, places noted",
        Box::new(move || drop(black_box(two.find_outlined(black_box(text), &mut JsonOutline::default()).unwrap()))),
    ));
    runs.push((
        "a member added where they were noted",
        Box::new(move || drop(black_box(json::edited_along(black_box(text), outline, &[edits[2].1]).unwrap()))),
    ));
    let medians = medians(&mut runs.iter_mut().map(|(_, run)| run.as_mut() as &mut dyn FnMut()).collect::<Vec<_>>());
    println!("\n{name}: {} B", text.len());
    for ((name, _), nanoseconds) in runs.iter().zip(medians) {
        println!("  {name:<40} {nanoseconds:>9.1} ns {:>6.2} GB/s", text.len() as f64 / nanoseconds);
    }
}

/// An order of about `size` bytes.
fn order(size: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut left = size.saturating_sub(65);
    for line in 0.. {
        lines.push(format!(r#"{{"sku":"sku-{line}","quantity":{line}}}"#));
        left = left.saturating_sub(lines[line].len() + 1);
        if left < 35 {
            break;
        }
    }
    let lines = lines.join(",");
    format!(r#"{{"customer":{{"id":"c-1","tier":"silver"}},"lines":[{lines}],"last":"yes"}}"#).into_bytes()
}

/// An object of `count` members, the texts of which have `length` bytes.
fn members(count: usize, length: usize) -> Vec<u8> {
    let members: Vec<_> = (0..count).map(|n| format!(r#""member-{n}":"{}""#, "x".repeat(length))).collect();
    let customer = r#""customer":{"id":"c-1","tier":"silver"}"#;
    format!(r#"{{{customer},{},"last":"yes"}}"#, members.join(",")).into_bytes()
}
