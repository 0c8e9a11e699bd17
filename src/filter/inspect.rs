//! What a file is, before any of it is compiled: refused with the reason, or made a component that keeps the contract.

use std::borrow::Cow;

use anyhow::Context as _;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as PREVIEW1_ADAPTER,
};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{PackageId, PackageName, Resolve, WorldId, WorldItem, WorldKey};

use super::{LoadError, v0_1_0};
use crate::config::Grant;

/// A component that keeps the contract and imports nothing that it may not.
#[derive(Debug)]
pub(super) struct Inspected<'a> {
    pub(super) component: Cow<'a, [u8]>,
    pub(super) imports: Imports,
    /// Whether it exports `lifecycle`.
    pub(super) has_lifecycle: bool,
}

/// What a component asks for beside `log`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Imports {
    pub(super) wasi: bool,
    pub(super) state: bool,
    pub(super) api: bool,
}

const ALLOWED: &str = "a filter may import `trommel:filter/log`, `api` and `state`, and WASI 0.2";

/// Looks at a file of at most `limit` bytes.
pub(super) fn inspect<'a>(file: &'a [u8], limit: usize, grants: &[Grant]) -> Result<Inspected<'a>, LoadError> {
    if file.len() > limit {
        return Err(LoadError::TooLarge { size: file.len(), limit });
    }
    let component = match kind(file)? {
        Binary::Component => Cow::Borrowed(file),
        Binary::Module => Cow::Owned(componentize(file).map_err(LoadError::CoreModule)?),
    };
    let (resolve, world) = match wit_component::decode(&component).map_err(LoadError::Invalid)? {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => {
            return Err(LoadError::NotAFilter { found: "nothing but a WIT package".to_owned() });
        }
    };
    let described = Described { resolve, world };
    let contract = Contract::new(v0_1_0::WIT).map_err(LoadError::Host)?;
    described.check_version(&contract)?;
    let imports = described.check_imports(grants)?;
    let has_lifecycle = described.check_exports()?;
    let world = if has_lifecycle { "filter-lifecycle" } else { "filter-component" };
    contract.check(world, &component, described)?;
    Ok(Inspected { component, imports, has_lifecycle })
}

/// Whether a file is a filter that holds something upstream while anyone consumes. `None` when it is no filter.
pub fn has_lifecycle(file: &[u8]) -> Option<bool> {
    let inspected = inspect(file, usize::MAX, &[Grant::Api, Grant::State]).ok()?;
    Some(inspected.has_lifecycle)
}

enum Binary {
    Component,
    Module,
}

/// Tells the kind of file by its first bytes, and a file that is still being written by its last.
fn kind(file: &[u8]) -> Result<Binary, LoadError> {
    const MAGIC: &[u8] = b"\0asm";
    if file.is_empty() {
        return Err(LoadError::Empty);
    }
    if file.starts_with(b"\x7fELF") {
        return Err(LoadError::MachineCode);
    }
    if file.len() < 8 && MAGIC.starts_with(&file[..file.len().min(4)]) {
        return Err(LoadError::Truncated);
    }
    let Some((header, sections)) = file.split_first_chunk::<8>().filter(|(header, _)| header.starts_with(MAGIC)) else {
        return Err(LoadError::NotWasm { found: first_bytes(file) });
    };
    let binary = match header[4..] {
        [0x0d, 0, 1, 0] => Binary::Component,
        [1, 0, 0, 0] => Binary::Module,
        _ => {
            let version = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            return Err(LoadError::Invalid(anyhow::anyhow!("its binary format has the unknown version {version:#x}")));
        }
    };
    if ends_inside_a_section(sections) {
        return Err(LoadError::Truncated);
    }
    Ok(binary)
}

fn first_bytes(file: &[u8]) -> String {
    let start = &file[..file.len().min(8)];
    format!("`{}`", start.escape_ascii())
}

/// Sections are an id, a length (LEB128) and that many bytes.
fn ends_inside_a_section(mut sections: &[u8]) -> bool {
    while let [_id, rest @ ..] = sections {
        let mut length = 0_u64;
        let mut bytes = rest.iter();
        for shift in (0..35).step_by(7) {
            let Some(byte) = bytes.next() else { return true };
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        match usize::try_from(length).ok().and_then(|length| bytes.as_slice().get(length..)) {
            Some(next) => sections = next,
            None => return true,
        }
    }
    false
}

/// Makes a component of a core module that carries its WIT.
fn componentize(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module)?;
    // The name alone is enough to try: an adapter that nothing imports is left out.
    if module.windows(PREVIEW1.len()).any(|bytes| bytes == PREVIEW1.as_bytes()) {
        encoder.adapter(PREVIEW1, PREVIEW1_ADAPTER)?;
    }
    encoder.encode()
}

/// A component's own description of its imports and exports.
struct Described {
    resolve: Resolve,
    world: WorldId,
}

impl Described {
    fn imports(&self) -> impl Iterator<Item = (&WorldKey, &WorldItem)> {
        self.resolve.worlds[self.world].imports.iter()
    }

    fn exports(&self) -> impl Iterator<Item = (&WorldKey, &WorldItem)> {
        self.resolve.worlds[self.world].exports.iter()
    }

    /// The package and the name of an imported or exported interface.
    fn interface(&self, key: &WorldKey) -> Option<(&PackageName, &str)> {
        let WorldKey::Interface(id) = key else { return None };
        let interface = &self.resolve.interfaces[*id];
        Some((&self.resolve.packages[interface.package?].name, interface.name.as_deref()?))
    }

    fn check_version(&self, contract: &Contract) -> Result<(), LoadError> {
        let known = &contract.package().version;
        let keys = self.exports().chain(self.imports());
        let ours = keys.filter_map(|(key, _)| self.interface(key)).filter(|(package, _)| is_ours(package));
        let strange = ours.map(|(package, _)| &package.version).find(|version| *version != known);
        let Some(strange) = strange else { return Ok(()) };
        let name = |version: &Option<_>| match version {
            Some(version) => format!("{version}"),
            None => "without a version".to_owned(),
        };
        let way_out = if strange > known {
            "take a newer router, or build the component against the older version"
        } else {
            "build the component against that version"
        };
        Err(LoadError::Version { needs: name(strange), has: name(known), way_out })
    }

    /// What is imported; anything that is not allowed is refused.
    fn check_imports(&self, grants: &[Grant]) -> Result<Imports, LoadError> {
        let granted = |grant| if grants.contains(&grant) { Ok(true) } else { Err(LoadError::NotGranted(grant)) };
        let mut imports = Imports::default();
        for (key, _) in self.imports() {
            let refused = || Err(LoadError::Import { name: self.resolve.name_world_key(key), way_out: ALLOWED });
            let Some((package, interface)) = self.interface(key) else { return refused() };
            match interface {
                "types" | "log" if is_ours(package) => {}
                "state" if is_ours(package) => imports.state = granted(Grant::State)?,
                "api" if is_ours(package) => imports.api = granted(Grant::Api)?,
                _ if is_wasi(package) => imports.wasi = true,
                _ => return refused(),
            }
        }
        Ok(imports)
    }

    /// Whether `lifecycle` is exported; what is no filter is refused.
    fn check_exports(&self) -> Result<bool, LoadError> {
        let exported = |name| {
            let mut interfaces = self.exports().filter_map(|(key, _)| self.interface(key));
            interfaces.any(|(package, interface)| is_ours(package) && interface == name)
        };
        if !exported("filter") {
            let names: Vec<String> =
                self.exports().map(|(key, _)| format!("`{}`", self.resolve.name_world_key(key))).collect();
            let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            return Err(LoadError::NotAFilter { found });
        }
        Ok(exported("lifecycle"))
    }
}

fn is_ours(package: &PackageName) -> bool {
    package.namespace == "trommel" && package.name == "filter"
}

/// The interfaces that are given to every filter, with nothing in them.
fn is_wasi(package: &PackageName) -> bool {
    package.namespace == "wasi"
        && ["cli", "clocks", "filesystem", "io", "random", "sockets"].contains(&package.name.as_str())
        && package.version.as_ref().is_some_and(|version| version.major == 0 && version.minor == 2)
}

/// The WIT package of one version.
struct Contract {
    resolve: Resolve,
    package: PackageId,
}

impl Contract {
    fn new(wit: &str) -> anyhow::Result<Self> {
        let mut resolve = Resolve::default();
        let package = resolve.push_source("filter.wit", wit)?;
        Ok(Self { resolve, package })
    }

    fn package(&self) -> &PackageName {
        &self.resolve.packages[self.package].name
    }

    /// Checks every type of every function of the world.
    fn check(mut self, world: &str, component: &[u8], described: Described) -> Result<(), LoadError> {
        let version = self.package().version.as_ref().map(ToString::to_string).unwrap_or_default();
        let kept = self.resolve.select_world(&[self.package], Some(world)).and_then(|world| {
            let remap = self.resolve.merge(described.resolve).context("its types differ")?;
            let its_world = remap.map_world(described.world, Default::default())?;
            // The contract says nothing of WASI, so what the component imports of it is taken as allowed.
            let imports = self.resolve.worlds[its_world].imports.clone();
            let is_foreign = |key: &WorldKey| match key {
                WorldKey::Interface(id) => self.resolve.interfaces[*id].package != Some(self.package),
                WorldKey::Name(_) => false,
            };
            let foreign: Vec<_> = imports.into_iter().filter(|(key, _)| is_foreign(key)).collect();
            self.resolve.worlds[world].imports.extend(foreign);
            wit_component::targets(&self.resolve, world, component, true)
        });
        kept.map_err(|source| LoadError::Contract { version, source })
    }
}
