//! The crates that the router is made of keep to `deny.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use semver::{Version, VersionReq};
use spdx::{Expression, Licensee, ParseMode};
use toml::{Table, Value};

use crate::documentation::root;

fn toml_file(name: &str) -> Table {
    fs::read_to_string(root().join(name)).unwrap().parse().unwrap()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap())
}

fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.current_dir(root()).args(arguments).args(["--locked", "--offline"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates along these edges, each as `name`, version and licence. `cargo tree` asks for no
/// crate that `cargo test` has not fetched, and knows which optional ones are off.
fn crates(deny: &Table, edges: &str) -> BTreeSet<(String, Version, String)> {
    let mut arguments = vec!["tree", "--prefix", "none", "--format", "{p}|{l}", "--edges", edges];
    arguments.extend(strings(&deny["graph"]["targets"]).flat_map(|target| ["--target", target]));
    let tree = cargo(&arguments);
    let crates = tree.lines().filter_map(|line| line.split_once('|')).map(|(package, licence)| {
        let (name, rest) = package.split_once(" v").unwrap();
        let version = rest.split(' ').next().unwrap().parse().unwrap();
        // The mark is of a crate whose dependencies are listed above.
        (name.to_owned(), version, licence.trim_end_matches(" (*)").to_owned())
    });
    let crates: BTreeSet<_> = crates.collect();
    assert!(crates.len() > 100, "only {} crates were found", crates.len());
    crates
}

#[test]
fn every_licence_is_an_allowed_one() {
    let deny = toml_file("deny.toml");
    let allowed: Vec<_> = strings(&deny["licenses"]["allow"]).map(|text| Licensee::parse(text).unwrap()).collect();
    let mut unused: BTreeSet<_> = allowed.iter().map(ToString::to_string).collect();
    let mut refused = Vec::new();
    for (name, version, licence) in crates(&deny, "normal,build,dev") {
        let satisfied = Expression::parse_mode(&licence, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|required| {
                let by = allowed.iter().find(|allowed| allowed.satisfies(required));
                by.inspect(|by| _ = unused.remove(&by.to_string())).is_some()
            })
        });
        if !satisfied {
            refused.push(format!("{name} {version}: `{licence}`"));
        }
    }
    assert!(refused.is_empty(), "licences that deny.toml does not allow: {refused:#?}");
    assert!(unused.is_empty(), "licences that deny.toml allows and no crate has: {unused:#?}");
}

/// Only what is delivered counts: tests may add a second version.
#[test]
fn no_crate_is_built_in_two_versions() {
    let deny = toml_file("deny.toml");
    let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, version, _) in crates(&deny, "no-dev") {
        versions.entry(name).or_default().push(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let mut stale = Vec::new();
    for skip in deny["bans"]["skip"].as_array().unwrap() {
        assert!(skip.get("reason").is_some_and(Value::is_str), "without a reason: {skip}");
        let (name, version) = skip["crate"].as_str().unwrap().split_once(':').unwrap();
        let version = VersionReq::parse(version).unwrap();
        let others = versions.get_mut(name).map(|versions| versions.extract_if(.., |it| version.matches(it)).count());
        if others.is_none_or(|others| others == 0) {
            stale.push(skip["crate"].to_string());
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "crates in several versions that deny.toml does not skip: {versions:#?}");
    assert!(stale.is_empty(), "deny.toml skips what is not there a second time: {stale:#?}");
}

#[test]
fn every_crate_comes_from_an_allowed_registry_or_the_tree() {
    let (deny, lock) = (toml_file("deny.toml"), toml_file("Cargo.lock"));
    let allowed: Vec<_> =
        strings(&deny["sources"]["allow-registry"]).map(|registry| format!("registry+{registry}")).collect();
    let foreign: Vec<_> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| {
            package.get("source").is_some_and(|source| !allowed.iter().any(|it| source.as_str() == Some(it)))
        })
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

#[test]
fn no_version_is_a_wildcard() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let mut wild = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["req"].as_str().unwrap().contains('*') && dependency.get("path").is_none() {
                wild.push(format!("{}: {}", package["name"], dependency["name"]));
            }
        }
    }
    assert!(wild.is_empty(), "{wild:#?}");
}
