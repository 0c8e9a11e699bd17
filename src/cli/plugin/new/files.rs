//! Files of a new plugin's folder: the template of its language, the SDK, and the contract.

/// A file's path in the new folder, and its content.
pub(super) type TemplateFile = (&'static str, &'static [u8]);

/// Includes a file of this repository.
macro_rules! file {
    ($to:literal, $from:literal) => {
        ($to, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $from)) as &[u8])
    };
}

/// The contract, for the toolchains that read it.
pub(super) const WIT: [TemplateFile; 2] = [
    file!("wit/world.wit", "examples/languages/templates/world.wit"),
    file!("wit/deps/trommel.wit", "wit/v0.1.1/filter.wit"),
];

pub(super) const RUST: [TemplateFile; 17] = [
    file!("Cargo.toml", "examples/languages/templates/rust/Cargo.toml"),
    file!("build", "examples/languages/templates/rust/build"),
    file!("src/lib.rs", "examples/languages/templates/rust/src/lib.rs"),
    file!("sdk/Cargo.toml", "plugins/sdk-rust/Cargo.toml"),
    file!("sdk/src/api.rs", "plugins/sdk-rust/src/api.rs"),
    file!("sdk/src/columns.rs", "plugins/sdk-rust/src/columns.rs"),
    file!("sdk/src/condition.rs", "plugins/sdk-rust/src/condition.rs"),
    file!("sdk/src/event.rs", "plugins/sdk-rust/src/event.rs"),
    file!("sdk/src/export.rs", "plugins/sdk-rust/src/export.rs"),
    file!("sdk/src/lib.rs", "plugins/sdk-rust/src/lib.rs"),
    file!("sdk/src/log.rs", "plugins/sdk-rust/src/log.rs"),
    file!("sdk/src/outcome.rs", "plugins/sdk-rust/src/outcome.rs"),
    file!("sdk/src/panics.rs", "plugins/sdk-rust/src/panics.rs"),
    file!("sdk/src/params.rs", "plugins/sdk-rust/src/params.rs"),
    file!("sdk/src/state.rs", "plugins/sdk-rust/src/state.rs"),
    file!("sdk/src/testing.rs", "plugins/sdk-rust/src/testing.rs"),
    file!("sdk/wit/filter.wit", "plugins/sdk-rust/wit/filter.wit"),
];

pub(super) const C: [TemplateFile; 8] = [
    file!("build", "examples/languages/templates/c/build"),
    file!("filter.c", "examples/languages/templates/c/filter.c"),
    file!("sdk/bindings/filter_component.c", "plugins/sdk-c/bindings/filter_component.c"),
    file!("sdk/bindings/filter_component.h", "plugins/sdk-c/bindings/filter_component.h"),
    file!("sdk/bindings/filter_component_component_type.o", "plugins/sdk-c/bindings/filter_component_component_type.o"),
    file!("sdk/json.c", "plugins/sdk-c/json.c"),
    file!("sdk/trommel.c", "plugins/sdk-c/trommel.c"),
    file!("sdk/trommel.h", "plugins/sdk-c/trommel.h"),
];

pub(super) const JS: [TemplateFile; 6] = [
    file!("build", "examples/languages/templates/js/build"),
    file!("filter.js", "examples/languages/templates/js/filter.js"),
    file!("package.json", "examples/languages/templates/js/package.json"),
    file!("sdk/imports.d.ts", "plugins/sdk-js/imports.d.ts"),
    file!("sdk/trommel.d.ts", "plugins/sdk-js/trommel.d.ts"),
    file!("sdk/trommel.js", "plugins/sdk-js/trommel.js"),
];

pub(super) const TS: [TemplateFile; 7] = [
    file!("build", "examples/languages/templates/ts/build"),
    file!("filter.ts", "examples/languages/templates/ts/filter.ts"),
    file!("package.json", "examples/languages/templates/ts/package.json"),
    file!("tsconfig.json", "examples/languages/templates/ts/tsconfig.json"),
    file!("sdk/imports.d.ts", "plugins/sdk-js/imports.d.ts"),
    file!("sdk/trommel.d.ts", "plugins/sdk-js/trommel.d.ts"),
    file!("sdk/trommel.js", "plugins/sdk-js/trommel.js"),
];

pub(super) const PYTHON: [TemplateFile; 5] = [
    file!("app.py", "examples/languages/templates/python/app.py"),
    file!("build", "examples/languages/templates/python/build"),
    file!("sdk/filter.py", "plugins/sdk-python/src/filter.py"),
    file!("sdk/filter_batch.py", "plugins/sdk-python/src/filter_batch.py"),
    file!("sdk/trommel.py", "plugins/sdk-python/src/trommel.py"),
];

pub(super) const GO: [TemplateFile; 24] = [
    file!("build", "examples/languages/templates/go/build"),
    file!("go.mod", "examples/languages/templates/go/go.mod"),
    file!("go.sum", "examples/languages/templates/go/go.sum"),
    file!("main.go", "examples/languages/templates/go/main.go"),
    file!("sdk/collect.go", "plugins/sdk-go/collect.go"),
    file!("sdk/component-type", "plugins/sdk-go/component-type"),
    file!("sdk/go.mod", "plugins/sdk-go/go.mod"),
    file!("sdk/go.sum", "plugins/sdk-go/go.sum"),
    file!("sdk/imports.go", "plugins/sdk-go/imports.go"),
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
    file!("sdk/internal/wit/trommel_filter_types/empty.s", "plugins/sdk-go/internal/wit/trommel_filter_types/empty.s"),
    file!(
        "sdk/internal/wit/trommel_filter_types/wit_bindings.go",
        "plugins/sdk-go/internal/wit/trommel_filter_types/wit_bindings.go"
    ),
    file!("sdk/internal/wit/wit_exports/wit_exports.go", "plugins/sdk-go/internal/wit/wit_exports/wit_exports.go"),
    file!("sdk/trommel.go", "plugins/sdk-go/trommel.go"),
];
