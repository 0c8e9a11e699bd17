//! The example of a program with a router inside prints what it says that it prints.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// C06 and F20, from another program's point of view. Whole runs of `cargo test` build the example
/// beside the binary.
#[test]
fn the_embedded_router_prints_what_it_promises() {
    let program = Path::new(env!("CARGO_BIN_EXE_trommel")).with_file_name("examples").join("embedded");
    let output = Command::new(&program).stdin(Stdio::null()).output();
    let output = output.expect("`cargo test` or `cargo build --example embedded` has built it");
    assert!(output.status.success(), "{output:?}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/embedded");
    let expected = fs::read_to_string(folder.join("expected.ndjson")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}
