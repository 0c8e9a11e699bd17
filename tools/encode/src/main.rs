//! Makes a component of a core module that carries its WIT: `encode MODULE COMPONENT`.

use std::{env, fs};

use anyhow::{Context, Result, bail};
use wit_component::ComponentEncoder;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [module, component] = arguments.as_slice() else {
        bail!("usage: encode MODULE COMPONENT");
    };
    let bytes = fs::read(module).with_context(|| format!("could not read `{module}`"))?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("could not make a component of `{module}`"))?;
    fs::write(component, encoded).with_context(|| format!("could not write `{component}`"))
}
