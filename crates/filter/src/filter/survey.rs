//! Survey of a component's file, whether or not a router would take it: for authors who want to
//! know why.

use wasmparser::{Parser, Payload};

use super::{
    LoadError,
    inspect::{ComponentForm, describe_file},
};

/// Contents of a component's file.
#[derive(Debug)]
pub struct ComponentSurvey {
    pub form: ComponentForm,
    /// Size of the file, in bytes.
    pub size: usize,
    /// Bytes of debugging information.
    pub debug: usize,
    /// Version of the contract that it was built against; `None` if it names none.
    pub contract: Option<String>,
    /// Full names of its imports.
    pub imports: Vec<String>,
    /// Imports that no router has.
    pub strange: Vec<String>,
    /// Full names of its exports.
    pub exports: Vec<String>,
}

/// Surveys a file of any size.
///
/// # Errors
/// If it is not WebAssembly, or a core module that can't be made a component.
pub fn survey(file: &[u8]) -> Result<ComponentSurvey, LoadError> {
    let (form, _, described) = describe_file(file).map_err(LoadError::in_words)?;
    let (imports, exports) = (described.imported(), described.exported());
    let strange = imports.iter().filter(|import| import.is_strange).map(|import| import.name.clone()).collect();
    Ok(ComponentSurvey {
        form,
        size: file.len(),
        debug: debug(file),
        contract: described.version(),
        imports: imports.into_iter().map(|import| import.name).collect(),
        strange,
        exports,
    })
}

/// Size of the custom sections `.debug_*`, of the modules inside too.
fn debug(file: &[u8]) -> usize {
    let payloads = Parser::new(0).parse_all(file).map_while(Result::ok);
    let sizes = payloads.map(|payload| match payload {
        Payload::CustomSection(section) if section.name().starts_with(".debug_") => section.data().len(),
        _ => 0,
    });
    sizes.sum()
}
