//! Inspects a file before any of it is compiled: it is refused with the reason, or made a component
//! that fits the contract.

use std::{borrow::Cow, collections::BTreeSet};

use anyhow::Context as _;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as PREVIEW1_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{PackageId, PackageName, Resolve, WorldId, WorldItem, WorldKey};

use super::{
    LoadError, cost,
    guest::{ContractSeries, WITS},
};

/// A component that fits the contract and has only allowed imports.
#[derive(Debug)]
pub(super) struct InspectedComponent<'a> {
    pub(super) component: Cow<'a, [u8]>,
    pub(super) series: ContractSeries,
    pub(super) imports: ComponentImports,
    /// True if it exports `filter-batch`.
    pub(super) has_batch: bool,
    /// True if it exports `lifecycle`.
    pub(super) has_lifecycle: bool,
    /// Text of the section with the manifest.
    pub(super) manifest: Option<String>,
}

/// Imports of a component besides `log`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ComponentImports {
    pub(super) wasi: bool,
    pub(super) state: bool,
    pub(super) api: bool,
}

const ALLOWED: &str = "a filter may import `trommel:filter/log`, `api` and `state`, and WASI 0.2";

/// Inspects a file of at most `limit` bytes.
pub(super) fn inspect(file: &[u8], limit: usize) -> Result<InspectedComponent<'_>, LoadError> {
    if file.len() > limit {
        return Err(LoadError::TooLarge { size: file.len(), limit });
    }
    let (_, component, described) = describe_file(file)?;
    let contracts: anyhow::Result<Vec<_>> = WITS.into_iter().map(ContractPackage::new).collect();
    let contract = described.contract(contracts.map_err(LoadError::Host)?)?;
    let imports = described.check_imports()?;
    described.check_exports()?;
    let (has_batch, has_lifecycle) = (described.exports_ours("filter-batch"), described.exports_ours("lifecycle"));
    let world = match (has_batch, has_lifecycle) {
        (false, false) => "filter-component",
        (false, true) => "filter-lifecycle",
        (true, false) => "filter-batched",
        (true, true) => "filter-batched-lifecycle",
    };
    let series = contract.series();
    contract.check(world, &component, described)?;
    let manifest = manifest_section(&component);
    Ok(InspectedComponent { component, series, imports, has_batch, has_lifecycle, manifest })
}

/// Returns the text of the section in which a filter may repeat its manifest, at any depth.
fn manifest_section(component: &[u8]) -> Option<String> {
    let mut payloads = Parser::new(0).parse_all(component).map_while(Result::ok);
    payloads.find_map(|payload| match payload {
        Payload::CustomSection(section) if section.name() == "trommel:manifest" => {
            Some(String::from_utf8_lossy(section.data()).into_owned())
        }
        _ => None,
    })
}

/// Returns whether a file is a filter with hooks, which hold something upstream while consumers are
/// attached. `None` if it is not a filter.
pub fn has_lifecycle(file: &[u8]) -> Option<bool> {
    let inspected = inspect(file, usize::MAX).ok()?;
    Some(inspected.has_lifecycle)
}

/// Form of a component's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentForm {
    Component,
    /// A core module that carries its WIT.
    Module,
    /// A core module that carries its WIT and was built against WASI's first preview.
    Preview1Module,
}

/// Makes a component of a file, and decodes its description.
pub(super) fn describe_file(file: &[u8]) -> Result<(ComponentForm, Cow<'_, [u8]>, ComponentDescription), LoadError> {
    let form = form(file)?;
    cost::check(file)?;
    let component = match form {
        ComponentForm::Component => Cow::Borrowed(file),
        ComponentForm::Module | ComponentForm::Preview1Module => {
            Cow::Owned(componentize(file, form).map_err(LoadError::CoreModule)?)
        }
    };
    match wit_component::decode(&component).map_err(LoadError::Invalid)? {
        DecodedWasm::Component(resolve, world) => Ok((form, component, ComponentDescription { resolve, world })),
        DecodedWasm::WitPackage(..) => Err(LoadError::NotAFilter { found: "nothing but a WIT package".to_owned() }),
    }
}

/// Detects the kind of file by its first bytes, and an unfinished file by its last ones.
fn form(file: &[u8]) -> Result<ComponentForm, LoadError> {
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
    let form = match header[4..] {
        [0x0d, 0, 1, 0] => ComponentForm::Component,
        // The name alone is enough: an adapter that nothing imports is left out.
        [1, 0, 0, 0] if file.windows(PREVIEW1.len()).any(|bytes| bytes == PREVIEW1.as_bytes()) => {
            ComponentForm::Preview1Module
        }
        [1, 0, 0, 0] => ComponentForm::Module,
        _ => {
            let version = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            return Err(LoadError::Invalid(anyhow::anyhow!("its binary format has the unknown version {version:#x}")));
        }
    };
    if ends_inside_a_section(sections) {
        return Err(LoadError::Truncated);
    }
    Ok(form)
}

fn first_bytes(file: &[u8]) -> String {
    let start = &file[..file.len().min(8)];
    format!("`{}`", start.escape_ascii())
}

/// Returns whether the file ends within a section: an id, a length (LEB128) and that many bytes.
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
fn componentize(module: &[u8], form: ComponentForm) -> anyhow::Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module)?;
    if form == ComponentForm::Preview1Module {
        encoder.adapter(PREVIEW1, PREVIEW1_ADAPTER)?;
    }
    encoder.encode()
}

/// A component's own description of its imports and exports.
pub(super) struct ComponentDescription {
    resolve: Resolve,
    world: WorldId,
}

/// An import of a component.
pub(super) struct ComponentImport {
    pub(super) name: String,
    /// True if no router has it.
    pub(super) is_strange: bool,
}

impl ComponentDescription {
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

    pub(super) fn imported(&self) -> Vec<ComponentImport> {
        let import = |(key, _): (&WorldKey, _)| {
            let interface = self.interface(key);
            let is_known = |(package, name): (&PackageName, &str)| match name {
                "types" | "log" | "telemetry" | "api" | "state" if is_ours(package) => true,
                _ => is_wasi(package),
            };
            let is_strange = !interface.is_some_and(is_known);
            ComponentImport { name: self.resolve.name_world_key(key), is_strange }
        };
        self.imports().map(import).collect()
    }

    pub(super) fn exported(&self) -> Vec<String> {
        self.exports().map(|(key, _)| self.resolve.name_world_key(key)).collect()
    }

    /// Version of the contract that the component names.
    pub(super) fn version(&self) -> Option<String> {
        let keys = self.exports().chain(self.imports());
        let ours = keys.filter_map(|(key, _)| self.interface(key)).find(|(package, _)| is_ours(package));
        ours.and_then(|(package, _)| package.version.as_ref()).map(ToString::to_string)
    }

    /// Picks the contract that the component was built for. They are sorted, the oldest first; the
    /// newest is picked if the component names none.
    fn contract(&self, mut contracts: Vec<ContractPackage>) -> Result<ContractPackage, LoadError> {
        let keys = self.exports().chain(self.imports());
        let ours = keys.filter_map(|(key, _)| self.interface(key)).filter(|(package, _)| is_ours(package));
        let versions: BTreeSet<_> = ours.map(|(package, _)| &package.version).collect();
        let is_asked_for =
            |contract: &ContractPackage| versions.iter().all(|version| *version == &contract.package().version);
        if let Some(position) = contracts.iter().rposition(is_asked_for) {
            return Ok(contracts.swap_remove(position));
        }
        let known: BTreeSet<_> = contracts.iter().map(|contract| &contract.package().version).collect();
        let way_out = if versions.last() > known.last() {
            "take a newer router, or build the component against an older version"
        } else {
            "build the component against one of these"
        };
        Err(LoadError::Version { needs: names(versions), has: names(known), way_out })
    }

    /// Collects the imports, and refuses one that is not allowed.
    fn check_imports(&self) -> Result<ComponentImports, LoadError> {
        let mut imports = ComponentImports::default();
        for (key, _) in self.imports() {
            let refused = || Err(LoadError::Import { name: self.resolve.name_world_key(key), way_out: ALLOWED });
            let Some((package, interface)) = self.interface(key) else { return refused() };
            match interface {
                "types" | "log" | "telemetry" if is_ours(package) => {}
                "state" if is_ours(package) => imports.state = true,
                "api" if is_ours(package) => imports.api = true,
                _ if is_wasi(package) => imports.wasi = true,
                _ => return refused(),
            }
        }
        Ok(imports)
    }

    fn exports_ours(&self, name: &str) -> bool {
        let mut interfaces = self.exports().filter_map(|(key, _)| self.interface(key));
        interfaces.any(|(package, interface)| is_ours(package) && interface == name)
    }

    /// Refuses a component that is not a filter.
    fn check_exports(&self) -> Result<(), LoadError> {
        if !self.exports_ours("filter") {
            let names: Vec<String> =
                self.exports().map(|(key, _)| format!("`{}`", self.resolve.name_world_key(key))).collect();
            let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            return Err(LoadError::NotAFilter { found });
        }
        Ok(())
    }
}

fn names(versions: BTreeSet<&Option<impl ToString>>) -> String {
    let name = |version: &Option<_>| version.as_ref().map_or("without a version".to_owned(), ToString::to_string);
    versions.into_iter().map(name).collect::<Vec<_>>().join(" and ")
}

fn is_ours(package: &PackageName) -> bool {
    package.namespace == "trommel" && package.name == "filter"
}

/// Returns whether the package is a part of WASI that every filter is given, with nothing in it.
fn is_wasi(package: &PackageName) -> bool {
    package.namespace == "wasi"
        && ["cli", "clocks", "filesystem", "io", "random", "sockets"].contains(&package.name.as_str())
        && package.version.as_ref().is_some_and(|version| version.major == 0 && version.minor == 2)
}

/// The WIT package of one version.
struct ContractPackage {
    resolve: Resolve,
    package: PackageId,
}

impl ContractPackage {
    fn new(wit: &str) -> anyhow::Result<Self> {
        let mut resolve = Resolve::default();
        let package = resolve.push_source("filter.wit", wit)?;
        Ok(Self { resolve, package })
    }

    fn package(&self) -> &PackageName {
        &self.resolve.packages[self.package].name
    }

    fn series(&self) -> ContractSeries {
        match &self.package().version {
            Some(version) if version.major == 0 && version.minor == 1 => ContractSeries::V0_1,
            _ => ContractSeries::V0_2,
        }
    }

    /// Checks every type of every function of the world.
    fn check(mut self, world: &str, component: &[u8], described: ComponentDescription) -> Result<(), LoadError> {
        let version = self.package().version.as_ref().map(ToString::to_string).unwrap_or_default();
        let kept = self.resolve.select_world(&[self.package], Some(world)).and_then(|world| {
            let remap = self.resolve.merge(described.resolve).context("its types differ")?;
            let its_world = remap.map_world(described.world, Default::default())?;
            // The contract does not cover WASI, so the component's imports of it are taken as
            // allowed.
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
