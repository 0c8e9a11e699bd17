//! Files of a new plugin's folder: the template of its language, the SDK, and the contract.

/// A file's path in the new folder, and its content.
pub(super) type TemplateFile = (&'static str, &'static [u8]);

/// Includes a file of this repository.
macro_rules! file {
    ($to:literal, $from:literal) => {
        ($to, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $from)) as &[u8])
    };
}

pub(super) const RUST: [TemplateFile; 29] = [
    file!("Cargo.toml", "examples/languages/templates/rust/Cargo.toml"),
    file!("build", "examples/languages/templates/rust/build"),
    file!("src/lib.rs", "examples/languages/templates/rust/src/lib.rs"),
    file!("sdk/Cargo.toml", "plugins/sdk-rust/Cargo.toml"),
    file!("sdk/derive/Cargo.toml", "plugins/sdk-rust/derive/Cargo.toml"),
    file!("sdk/derive/src/field.rs", "plugins/sdk-rust/derive/src/field.rs"),
    file!("sdk/derive/src/lib.rs", "plugins/sdk-rust/derive/src/lib.rs"),
    file!("sdk/src/api.rs", "plugins/sdk-rust/src/api.rs"),
    file!("sdk/src/columns.rs", "plugins/sdk-rust/src/columns.rs"),
    file!("sdk/src/condition.rs", "plugins/sdk-rust/src/condition.rs"),
    file!("sdk/src/duration.rs", "plugins/sdk-rust/src/duration.rs"),
    file!("sdk/src/event.rs", "plugins/sdk-rust/src/event.rs"),
    file!("sdk/src/export.rs", "plugins/sdk-rust/src/export.rs"),
    file!("sdk/src/failure.rs", "plugins/sdk-rust/src/failure.rs"),
    file!("sdk/src/hooks.rs", "plugins/sdk-rust/src/hooks.rs"),
    file!("sdk/src/lib.rs", "plugins/sdk-rust/src/lib.rs"),
    file!("sdk/src/log.rs", "plugins/sdk-rust/src/log.rs"),
    file!("sdk/src/manifest.rs", "plugins/sdk-rust/src/manifest.rs"),
    file!("sdk/src/outcome.rs", "plugins/sdk-rust/src/outcome.rs"),
    file!("sdk/src/panics.rs", "plugins/sdk-rust/src/panics.rs"),
    file!("sdk/src/params.rs", "plugins/sdk-rust/src/params.rs"),
    file!("sdk/src/probe.rs", "plugins/sdk-rust/src/probe.rs"),
    file!("sdk/src/reading.rs", "plugins/sdk-rust/src/reading.rs"),
    file!("sdk/src/state.rs", "plugins/sdk-rust/src/state.rs"),
    file!("sdk/src/telemetry.rs", "plugins/sdk-rust/src/telemetry.rs"),
    file!("sdk/src/testing.rs", "plugins/sdk-rust/src/testing.rs"),
    file!("sdk/src/testing/event.rs", "plugins/sdk-rust/src/testing/event.rs"),
    file!("sdk/src/text.rs", "plugins/sdk-rust/src/text.rs"),
    file!("sdk/wit/filter.wit", "plugins/sdk-rust/wit/filter.wit"),
];

/// The kit for C, C++ and Zig.
pub(super) const SDK_C: [TemplateFile; 10] = [
    file!("sdk/bindings/filter_component.c", "plugins/sdk-c/bindings/filter_component.c"),
    file!("sdk/bindings/filter_component.h", "plugins/sdk-c/bindings/filter_component.h"),
    file!("sdk/bindings/filter_component_component_type.o", "plugins/sdk-c/bindings/filter_component_component_type.o"),
    file!("sdk/describe.c", "plugins/sdk-c/describe.c"),
    file!("sdk/export.c", "plugins/sdk-c/export.c"),
    file!("sdk/imports.c", "plugins/sdk-c/imports.c"),
    file!("sdk/json.c", "plugins/sdk-c/json.c"),
    file!("sdk/kit.h", "plugins/sdk-c/kit.h"),
    file!("sdk/trommel.c", "plugins/sdk-c/trommel.c"),
    file!("sdk/trommel.h", "plugins/sdk-c/trommel.h"),
];

pub(super) const C: [TemplateFile; 3] = [
    file!("build", "examples/languages/templates/c/build"),
    file!("compile_flags.txt", "examples/languages/templates/c/compile_flags.txt"),
    file!("filter.c", "examples/languages/templates/c/filter.c"),
];

pub(super) const CPP: [TemplateFile; 3] = [
    file!("build", "examples/languages/templates/cpp/build"),
    file!("compile_flags.txt", "examples/languages/templates/cpp/compile_flags.txt"),
    file!("filter.cpp", "examples/languages/templates/cpp/filter.cpp"),
];

pub(super) const ZIG: [TemplateFile; 2] = [
    file!("build", "examples/languages/templates/zig/build"),
    file!("filter.zig", "examples/languages/templates/zig/filter.zig"),
];

pub(super) const ASSEMBLYSCRIPT: [TemplateFile; 10] = [
    file!("build", "examples/languages/templates/assemblyscript/build"),
    file!("filter.ts", "examples/languages/templates/assemblyscript/filter.ts"),
    file!("package.json", "examples/languages/templates/assemblyscript/package.json"),
    file!("tsconfig.json", "examples/languages/templates/assemblyscript/tsconfig.json"),
    file!("sdk/component-type", "plugins/sdk-assemblyscript/component-type"),
    file!("sdk/exports.ts", "plugins/sdk-assemblyscript/exports.ts"),
    file!("sdk/imports.ts", "plugins/sdk-assemblyscript/imports.ts"),
    file!("sdk/memory.ts", "plugins/sdk-assemblyscript/memory.ts"),
    file!("sdk/transform.mjs", "plugins/sdk-assemblyscript/transform.mjs"),
    file!("sdk/trommel.ts", "plugins/sdk-assemblyscript/trommel.ts"),
];

/// What any toolchain needs: the contract, the section that says what a module is, and how values
/// go in and out.
pub(super) const OTHER: [TemplateFile; 5] = [
    file!("ABI.md", "docs/how-to/any-toolchain.md"),
    file!("build", "examples/languages/templates/other/build"),
    file!("filter.wat", "examples/languages/templates/other/filter.wat"),
    file!("sdk/component-type", "plugins/sdk-go/component-type"),
    file!("wit/filter.wit", "wit/v0.2.0/filter.wit"),
];

pub(super) const JS: [TemplateFile; 23] = [
    file!("build", "examples/languages/templates/js/build"),
    file!("filter.js", "examples/languages/templates/js/filter.js"),
    file!("filter.test.js", "examples/languages/templates/js/filter.test.js"),
    file!("jsconfig.json", "examples/languages/templates/js/jsconfig.json"),
    file!("package.json", "examples/languages/templates/js/package.json"),
    file!("sdk/event.js", "plugins/sdk-js/event.js"),
    file!("sdk/failure.js", "plugins/sdk-js/failure.js"),
    file!("sdk/globals.d.ts", "plugins/sdk-js/globals.d.ts"),
    file!("sdk/globals.js", "plugins/sdk-js/globals.js"),
    file!("sdk/imports.js", "plugins/sdk-js/imports.js"),
    file!("sdk/lines.mjs", "plugins/sdk-js/lines.mjs"),
    file!("sdk/outcome.js", "plugins/sdk-js/outcome.js"),
    file!("sdk/package.json", "plugins/sdk-js/package.json"),
    file!("sdk/prelude.js", "plugins/sdk-js/prelude.js"),
    file!("sdk/stack.js", "plugins/sdk-js/stack.js"),
    file!("sdk/testing.d.mts", "plugins/sdk-js/testing.d.mts"),
    file!("sdk/testing.mjs", "plugins/sdk-js/testing.mjs"),
    file!("sdk/text.js", "plugins/sdk-js/text.js"),
    file!("sdk/trommel.d.ts", "plugins/sdk-js/trommel.d.ts"),
    file!("sdk/trommel.js", "plugins/sdk-js/trommel.js"),
    file!("sdk/wit/deps/random.wit", "plugins/sdk-js/wit/deps/random.wit"),
    file!("sdk/wit/deps/trommel.wit", "plugins/sdk-js/wit/deps/trommel.wit"),
    file!("sdk/wit/world.wit", "plugins/sdk-js/wit/world.wit"),
];

pub(super) const TS: [TemplateFile; 23] = [
    file!("build", "examples/languages/templates/ts/build"),
    file!("filter.test.ts", "examples/languages/templates/ts/filter.test.ts"),
    file!("filter.ts", "examples/languages/templates/ts/filter.ts"),
    file!("package.json", "examples/languages/templates/ts/package.json"),
    file!("tsconfig.json", "examples/languages/templates/ts/tsconfig.json"),
    file!("sdk/event.js", "plugins/sdk-js/event.js"),
    file!("sdk/failure.js", "plugins/sdk-js/failure.js"),
    file!("sdk/globals.d.ts", "plugins/sdk-js/globals.d.ts"),
    file!("sdk/globals.js", "plugins/sdk-js/globals.js"),
    file!("sdk/imports.js", "plugins/sdk-js/imports.js"),
    file!("sdk/lines.mjs", "plugins/sdk-js/lines.mjs"),
    file!("sdk/outcome.js", "plugins/sdk-js/outcome.js"),
    file!("sdk/package.json", "plugins/sdk-js/package.json"),
    file!("sdk/prelude.js", "plugins/sdk-js/prelude.js"),
    file!("sdk/stack.js", "plugins/sdk-js/stack.js"),
    file!("sdk/testing.d.mts", "plugins/sdk-js/testing.d.mts"),
    file!("sdk/testing.mjs", "plugins/sdk-js/testing.mjs"),
    file!("sdk/text.js", "plugins/sdk-js/text.js"),
    file!("sdk/trommel.d.ts", "plugins/sdk-js/trommel.d.ts"),
    file!("sdk/trommel.js", "plugins/sdk-js/trommel.js"),
    file!("sdk/wit/deps/random.wit", "plugins/sdk-js/wit/deps/random.wit"),
    file!("sdk/wit/deps/trommel.wit", "plugins/sdk-js/wit/deps/trommel.wit"),
    file!("sdk/wit/world.wit", "plugins/sdk-js/wit/world.wit"),
];

pub(super) const PYTHON: [TemplateFile; 18] = [
    file!("app.py", "examples/languages/templates/python/app.py"),
    file!("build", "examples/languages/templates/python/build"),
    file!("requirements.txt", "examples/languages/templates/python/requirements.txt"),
    file!("test_app.py", "examples/languages/templates/python/test_app.py"),
    file!("sdk/filter.py", "plugins/sdk-python/src/filter.py"),
    file!("sdk/trommel/__init__.py", "plugins/sdk-python/src/trommel/__init__.py"),
    file!("sdk/trommel/api.py", "plugins/sdk-python/src/trommel/api.py"),
    file!("sdk/trommel/define.py", "plugins/sdk-python/src/trommel/define.py"),
    file!("sdk/trommel/event.py", "plugins/sdk-python/src/trommel/event.py"),
    file!("sdk/trommel/failure.py", "plugins/sdk-python/src/trommel/failure.py"),
    file!("sdk/trommel/log.py", "plugins/sdk-python/src/trommel/log.py"),
    file!("sdk/trommel/outcome.py", "plugins/sdk-python/src/trommel/outcome.py"),
    file!("sdk/trommel/py.typed", "plugins/sdk-python/src/trommel/py.typed"),
    file!("sdk/trommel/state.py", "plugins/sdk-python/src/trommel/state.py"),
    file!("sdk/trommel/telemetry.py", "plugins/sdk-python/src/trommel/telemetry.py"),
    file!("sdk/trommel/text.py", "plugins/sdk-python/src/trommel/text.py"),
    file!("sdk/trommel_testing.py", "plugins/sdk-python/src/trommel_testing.py"),
    file!("sdk/wit/filter.wit", "plugins/sdk-python/src/wit/filter.wit"),
];

pub(super) const GO: [TemplateFile; 38] = [
    file!("build", "examples/languages/templates/go/build"),
    file!("go.mod", "examples/languages/templates/go/go.mod"),
    file!("go.sum", "examples/languages/templates/go/go.sum"),
    file!("main.go", "examples/languages/templates/go/main.go"),
    file!("main_test.go", "examples/languages/templates/go/main_test.go"),
    file!("sdk/border_wasm.go", "plugins/sdk-go/border_wasm.go"),
    file!("sdk/collect_wasm.go", "plugins/sdk-go/collect_wasm.go"),
    file!("sdk/component-type", "plugins/sdk-go/component-type"),
    file!("sdk/event.go", "plugins/sdk-go/event.go"),
    file!("sdk/failure.go", "plugins/sdk-go/failure.go"),
    file!("sdk/fields.go", "plugins/sdk-go/fields.go"),
    file!("sdk/go.mod", "plugins/sdk-go/go.mod"),
    file!("sdk/go.sum", "plugins/sdk-go/go.sum"),
    file!("sdk/imports.go", "plugins/sdk-go/imports.go"),
    file!("sdk/internal/host/host.go", "plugins/sdk-go/internal/host/host.go"),
    file!("sdk/internal/host/imports_wasm.go", "plugins/sdk-go/internal/host/imports_wasm.go"),
    file!("sdk/internal/host/native.go", "plugins/sdk-go/internal/host/native.go"),
    file!(
        "sdk/internal/wit/export_trommel_filter_filter/empty.s",
        "plugins/sdk-go/internal/wit/export_trommel_filter_filter/empty.s"
    ),
    file!(
        "sdk/internal/wit/export_trommel_filter_filter/filter.go",
        "plugins/sdk-go/internal/wit/export_trommel_filter_filter/filter.go"
    ),
    file!(
        "sdk/internal/wit/export_trommel_filter_filter/wit_bindings.go",
        "plugins/sdk-go/internal/wit/export_trommel_filter_filter/wit_bindings.go"
    ),
    file!("sdk/internal/wit/trommel_filter_api/empty.s", "plugins/sdk-go/internal/wit/trommel_filter_api/empty.s"),
    file!(
        "sdk/internal/wit/trommel_filter_api/wit_bindings.go",
        "plugins/sdk-go/internal/wit/trommel_filter_api/wit_bindings.go"
    ),
    file!(
        "sdk/internal/wit/trommel_filter_filter/empty.s",
        "plugins/sdk-go/internal/wit/trommel_filter_filter/empty.s"
    ),
    file!(
        "sdk/internal/wit/trommel_filter_filter/wit_bindings.go",
        "plugins/sdk-go/internal/wit/trommel_filter_filter/wit_bindings.go"
    ),
    file!("sdk/internal/wit/trommel_filter_log/empty.s", "plugins/sdk-go/internal/wit/trommel_filter_log/empty.s"),
    file!(
        "sdk/internal/wit/trommel_filter_log/wit_bindings.go",
        "plugins/sdk-go/internal/wit/trommel_filter_log/wit_bindings.go"
    ),
    file!("sdk/internal/wit/trommel_filter_state/empty.s", "plugins/sdk-go/internal/wit/trommel_filter_state/empty.s"),
    file!(
        "sdk/internal/wit/trommel_filter_state/wit_bindings.go",
        "plugins/sdk-go/internal/wit/trommel_filter_state/wit_bindings.go"
    ),
    file!(
        "sdk/internal/wit/trommel_filter_telemetry/empty.s",
        "plugins/sdk-go/internal/wit/trommel_filter_telemetry/empty.s"
    ),
    file!(
        "sdk/internal/wit/trommel_filter_telemetry/wit_bindings.go",
        "plugins/sdk-go/internal/wit/trommel_filter_telemetry/wit_bindings.go"
    ),
    file!("sdk/internal/wit/trommel_filter_types/empty.s", "plugins/sdk-go/internal/wit/trommel_filter_types/empty.s"),
    file!(
        "sdk/internal/wit/trommel_filter_types/wit_bindings.go",
        "plugins/sdk-go/internal/wit/trommel_filter_types/wit_bindings.go"
    ),
    file!("sdk/internal/wit/wit_exports/wit_exports.go", "plugins/sdk-go/internal/wit/wit_exports/wit_exports.go"),
    file!("sdk/manifest.go", "plugins/sdk-go/manifest.go"),
    file!("sdk/native.go", "plugins/sdk-go/native.go"),
    file!("sdk/outcome.go", "plugins/sdk-go/outcome.go"),
    file!("sdk/state/state.go", "plugins/sdk-go/state/state.go"),
    file!("sdk/trommel.go", "plugins/sdk-go/trommel.go"),
];
