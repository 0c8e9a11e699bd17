//! A file that is not a filter is refused with what is wrong and the way out, and what is in
//! service stays.

use crate::crafted::{self, Trick};
use crate::filter as rig;

use insta::assert_snapshot;
use rig::*;
use trommel::{
    config::{FilterSettings, GuestLimits},
    filter::LoadError,
};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What loading `file` under the name `broken` says.
async fn refused(file: impl Into<Vec<u8>>) -> String {
    refused_with(file, settings("broken", GuestLimits::default())).await
}

async fn refused_with(file: impl Into<Vec<u8>>, settings: FilterSettings) -> String {
    let host = host();
    let refused = chain(host.load("broken", file.into(), &settings).await.unwrap_err());
    load(&host, "match-type", GuestLimits::default()).await;
    refused
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn test_wat(name: &str) -> Vec<u8> {
    wat::parse_file(format!("{}/tests/guests/{name}.wat", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test]
async fn empty() {
    assert_snapshot!(refused("").await, @"it is empty: copy the component again, best under a temporary name that is then renamed");
}

#[tokio::test]
async fn half_written() {
    let whole = file("match-type");
    assert_snapshot!(refused(&whole[..whole.len() / 2]).await, @"it ends in the middle, as if it were still being written: copy it again, best under a temporary name that is then renamed");
    for end in (1..whole.len()).step_by(997).chain([1, 3, 4, 7]) {
        let refused = refused(&whole[..end]).await;
        assert!(refused.starts_with("it ends in the middle"), "{end} of {} bytes: {refused}", whole.len());
    }
}

#[tokio::test]
async fn not_wasm() {
    assert_snapshot!(refused("#!/bin/sh\n").await, @r"it is not WebAssembly: it starts with `#!/bin/s`, a component with `\0asm`");
    assert_snapshot!(refused([0xff, 0xd8, 0x00]).await, @r"it is not WebAssembly: it starts with `\xff\xd8\x00`, a component with `\0asm`");
    assert_snapshot!(refused(*b"\0asm\x07\0\0\0").await, @"it is not a valid component: its binary format has the unknown version 0x7");
}

/// A `.cwasm` is an ELF file with wasmtime's own sections.
#[tokio::test]
async fn machine_code() {
    assert_snapshot!(refused(*b"\x7fELF\x02\x01\x01\xc8").await, @"it is compiled machine code, which is never loaded: give the `.wasm` file that it was compiled from");
}

#[tokio::test]
async fn too_large() {
    let small = settings("broken", GuestLimits { component: 100, ..GuestLimits::default() });
    assert_snapshot!(refused_with(vec![0; 101], small).await, @"it has 101 bytes, more than the limit of 100: raise `component` in the filter's limits if that is meant");
}

#[tokio::test]
async fn damaged() {
    let mut damaged = file("match-type");
    damaged[8] = 0x7b;
    assert_snapshot!(refused(damaged).await, @"it is a core module that can't be made a component: build it with wit-bindgen for the world `trommel:filter/filter-component`: failed to decode world from module: module was not valid: malformed section id: 123 (at offset 0xa)");
}

#[tokio::test]
async fn of_another_world() {
    assert_snapshot!(refused(test_wat("wrong-world")).await, @"it is not a filter: it exports `greet`, not `trommel:filter/filter`; build it for the world `trommel:filter/filter-component`");
    assert_snapshot!(refused(wat("(component)")).await, @"it is not a filter: it exports nothing, not `trommel:filter/filter`; build it for the world `trommel:filter/filter-component`");
    assert_snapshot!(refused(wat("(module)")).await, @"it is not a filter: it exports nothing, not `trommel:filter/filter`; build it for the world `trommel:filter/filter-component`");
}

#[tokio::test]
async fn of_a_later_contract() {
    assert_snapshot!(refused(test_wat("too-new")).await, @"it needs trommel:filter@0.3.0, this router has 0.1.0 and 0.1.1 and 0.2.0: take a newer router, or build the component against an older version");
    let old = r#"(component (instance $i) (export "trommel:filter/filter@0.0.9" (instance $i)))"#;
    assert_snapshot!(refused(wat(old)).await, @"it needs trommel:filter@0.0.9, this router has 0.1.0 and 0.1.1 and 0.2.0: build the component against one of these");
    let mixed = r#"(component (import "trommel:filter/log@0.1.1" (instance))
        (instance $i) (export "trommel:filter/filter@0.1.0" (instance $i)))"#;
    assert_snapshot!(refused(wat(mixed)).await, @"it needs trommel:filter@0.1.0 and 0.1.1, this router has 0.1.0 and 0.1.1 and 0.2.0: build the component against one of these");
}

#[tokio::test]
async fn of_the_right_name_and_the_wrong_types() {
    let wrong = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $e (export "describe" (func $f)))
        (export "trommel:filter/filter@0.1.0" (instance $e)))"#;
    assert_snapshot!(refused(wat(wrong)).await, @"it does not keep the contract trommel:filter@0.1.0: build it anew against that version's WIT: its types differ: failed to merge package `trommel:filter@0.1.0` into existing copy: failed to merge interface `filter`: mismatch in function `describe`: different function result types: different kinds of types");
}

#[tokio::test]
async fn imports_that_no_filter_has() {
    assert_snapshot!(refused(test_wat("unknown-import")).await, @"it imports `acme:telemetry/meter@1.0.0`, which this router does not have: a filter may import `trommel:filter/log`, `api` and `state`, and WASI 0.2");
    let http = r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance)))"#;
    assert_snapshot!(refused(wat(http)).await, @"it imports `wasi:http/outgoing-handler@0.2.0`, which this router does not have: a filter may import `trommel:filter/log`, `api` and `state`, and WASI 0.2");
    let function = r#"(component (import "clock" (func)))"#;
    assert_snapshot!(refused(wat(function)).await, @"it imports `clock`, which this router does not have: a filter may import `trommel:filter/log`, `api` and `state`, and WASI 0.2");
}

#[tokio::test]
async fn features_that_no_router_has() {
    let lifted_async = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 0)) (func (export "c") (param i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $f async (canon lift (core func $i "f") async (callback (core func $i "c"))))
        (instance $e (export "describe" (func $f)))
        (export "trommel:filter/filter@0.1.0" (instance $e)))"#;
    assert_snapshot!(refused(wat(lifted_async)).await, @"it needs functions that are lifted async, which this router does not call: build it with synchronous exports, such as by `componentize-qjs --sync` or `jco componentize --backend-qjs-disable-async`");
    let gc = "(type $pair (struct (field i32))) (func (drop (struct.new_default $pair)))";
    assert_snapshot!(refused(crafted::filter(Trick { more: gc, ..Trick::default() })).await, @"it needs WebAssembly's garbage collector (GC), which this router does not have: a compiler to plain WebAssembly brings its own, as those of Go and Python do; Kotlin, Dart and others that need GC can't be filters");
    let throws = "(tag $thrown) (func (throw $thrown))";
    assert_snapshot!(refused(crafted::filter(Trick { more: throws, ..Trick::default() })).await, @"it needs WebAssembly's exceptions, which this router does not have: build it without, such as by `-fno-exceptions` in C++");
}

/// A function that WASI 0.2 does not have, in an interface that it has.
#[tokio::test]
async fn imports_that_wasi_lacks() {
    let mut module = wat(r#"(module
        (import "wasi:random/random@0.2.0" "throw-dice" (func (result i64)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "trommel:filter/filter@0.1.0#describe") (result i32) unreachable)
        (func (export "trommel:filter/filter@0.1.0#normalize-params") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "trommel:filter/filter@0.1.0#[constructor]subscription") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "trommel:filter/filter@0.1.0#[method]subscription.conditions") (param i32) (result i32) unreachable)
        (func (export "trommel:filter/filter@0.1.0#[method]subscription.matches") (param i32) (result i32) unreachable)
        (func (export "trommel:filter/filter@0.1.0#[method]subscription.process") (param i32) (result i32) unreachable))"#);
    let mut resolve = Resolve::default();
    let random = "package wasi:random@0.2.0; interface random { throw-dice: func() -> u64; }";
    resolve.push_source("random.wit", random).unwrap();
    resolve.push_source("filter.wit", include_str!("../../wit/v0.1.0/filter.wit")).unwrap();
    let gambler = "package test:gambler; world gambler { include trommel:filter/filter-component@0.1.0; import wasi:random/random@0.2.0; }";
    let package = resolve.push_source("gambler.wit", gambler).unwrap();
    let world = resolve.select_world(&[package], Some("gambler")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    assert_snapshot!(refused(module).await, @"it imports more than this router has: build it for the world `trommel:filter/filter-component` and WASI 0.2: component imports instance `wasi:random/random@0.2.0`, but a matching implementation was not found in the linker: instance export `throw-dice` has the wrong type: function implementation is missing");
}

#[tokio::test]
async fn hooks_of_the_wrong_types() {
    let lifecycle = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $filter)
        (instance $hooks (export "cleanup" (func $f)))
        (export "trommel:filter/filter@0.1.0" (instance $filter))
        (export "trommel:filter/lifecycle@0.1.0" (instance $hooks)))"#;
    let refused = refused(wat(lifecycle)).await;
    let expected = "it does not keep the contract trommel:filter@0.1.0: build it anew against that version's WIT: ";
    assert!(refused.starts_with(expected), "{refused}");
}

#[tokio::test]
async fn batches_of_the_wrong_types() {
    let batch = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $filter)
        (instance $batch (export "matches" (func $f)))
        (export "trommel:filter/filter@0.1.1" (instance $filter))
        (export "trommel:filter/filter-batch@0.1.1" (instance $batch)))"#;
    let refused = refused(wat(batch)).await;
    let expected = "it does not keep the contract trommel:filter@0.1.1: build it anew against that version's WIT: ";
    assert!(refused.starts_with(expected), "{refused}");
}

#[tokio::test]
async fn wishes_that_were_not_granted() {
    let without = FilterSettings { grants: Vec::new(), ..settings("broken", GuestLimits::default()) };
    assert_snapshot!(refused_with(file("misbehave"), without).await, @"it wants `state`, which it was not granted: add it to `grants` of its `[[filter]]` in `filters/`");
}

#[tokio::test]
async fn that_needs_more_memory_than_it_may_have() {
    let host = host();
    let little = settings("broken", GuestLimits { memory: 64 << 10, ..GuestLimits::default() });
    let Err(LoadError::Broke(broken)) = host.load("broken", file("match-type"), &little).await else {
        panic!("it should not fit");
    };
    assert_eq!(broken.reason, trommel::filter::BreakReason::Memory);
}
