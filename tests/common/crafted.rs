//! Filters made from text, for what no compiler of a language would make. Each keeps what it gets,
//! but for one trick.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// As much of WASI as they use.
const WASI: [(&str, &str); 2] = [
    (
        "poll.wit",
        "package wasi:io@0.2.0; interface poll { resource pollable { ready: func() -> bool; block: func(); } \
         poll: func(in: list<borrow<pollable>>) -> list<u32>; }",
    ),
    (
        "clock.wit",
        "package wasi:clocks@0.2.0; interface monotonic-clock { use wasi:io/poll@0.2.0.{pollable}; type instant = u64; \
         type duration = u64; now: func() -> instant; resolution: func() -> duration; \
         subscribe-instant: func(when: instant) -> pollable; subscribe-duration: func(when: duration) -> pollable; }",
    ),
];

/// Waits for an hour where the clock runs: not where `matches` is asked.
pub const WAIT: &str =
    "(if (i64.gt_u (call $now) (i64.const 1)) (then (call $block (call $wait (i64.const 3600000000000)))))";

const WASI_IMPORTS: &str = r#"
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $wait (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;

/// What is in the place of nothing at all.
#[derive(Clone, Copy, Default)]
pub struct Trick<'a> {
    /// The start code.
    pub start: &'a str,
    /// More that it imports.
    pub imports: &'a str,
    /// Before `process` keeps its event. The answer stands at 4096: 0, then 1 to keep.
    pub process: &'a str,
    /// More functions and the like.
    pub more: &'a str,
    /// True if it has no hook `matches`, which traps if it is called all the same.
    pub is_unasked: bool,
}

/// A core module that carries its WIT.
pub fn filter(trick: Trick<'_>) -> Vec<u8> {
    let mut module = wat::parse_str(text(trick)).unwrap();
    let mut resolve = Resolve::default();
    for (name, wit) in WASI {
        resolve.push_source(name, wit).unwrap();
    }
    resolve.push_source("filter.wit", include_str!("../../wit/v0.1.1/filter.wit")).unwrap();
    let world = "package test:crafted; world crafted { include trommel:filter/filter-component@0.1.1; \
                 import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0; }";
    let package = resolve.push_source("crafted.wit", world).unwrap();
    let world = resolve.select_world(&[package], Some("crafted")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    module
}

/// A function that nobody calls and that costs a compiler much: loops within loops, of which the
/// innermost sets all locals from each other.
pub fn nested(loops: usize, locals: usize) -> String {
    let set = |local| format!("(local.set {local} (local.get {}))", (local + 1) % locals);
    let sets: String = (0..locals).map(set).collect();
    let (open, close) = ("(loop ".repeat(loops), "(br_if 0 (local.get 0)))".repeat(loops));
    format!("(func (local {}) {open}{sets}{close})", "i32 ".repeat(locals))
}

fn text(Trick { start, imports, process, more, is_unasked }: Trick<'_>) -> String {
    const F: &str = "trommel:filter/filter@0.1.1";
    let wasi = if [start, process].concat().contains(WAIT) { WASI_IMPORTS } else { "" };
    let (hooks, matches) = if is_unasked { (8, "unreachable") } else { (12, "") };
    format!(
        r#"(module
  {wasi}
  (import "[export]{F}" "[resource-new]subscription" (func $new (param i32) (result i32)))
  {imports}
  (memory (export "memory") 64)
  (global $heap (mut i32) (i32.const 65536))
  (data (i32.const 16) "crafted") (data (i32.const 32) "1")
  (func (export "_initialize") {start})
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $p i32)
    (local.set $p (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $p) (local.get 3)))
    (local.get $p))
  (func (export "{F}#describe") (result i32)
    (i32.store (i32.const 1024) (i32.const 16)) (i32.store (i32.const 1028) (i32.const 7))
    (i32.store (i32.const 1032) (i32.const 32)) (i32.store (i32.const 1036) (i32.const 1))
    (i32.store8 (i32.const 1048) (i32.const {hooks}))
    (i32.store8 (i32.const 1049) (i32.const 16)) (i32.store8 (i32.const 1050) (i32.const 16))
    (i32.const 1024))
  (func (export "{F}#normalize-params") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "{F}#[constructor]subscription") (param i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.const 65536)) (call $new (i32.const 7)))
  (func (export "{F}#[dtor]subscription") (param i32))
  (func (export "{F}#[method]subscription.conditions") (param i32) (result i32) (i32.const 2048))
  (func (export "{F}#[method]subscription.matches") (param i32) (result i32)
    {matches} (global.set $heap (i32.const 65536)) (i32.const 1))
  (func (export "{F}#[method]subscription.process") (param i32) (result i32)
    (i32.store (i32.const 4096) (i32.const 0)) (i32.store (i32.const 4100) (i32.const 1))
    {process}
    (global.set $heap (i32.const 65536))
    (i32.const 4096))
  {more})"#
    )
}
