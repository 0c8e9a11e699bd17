//! What a plugin's folder, which may be a router's too, says of the filter: its limits, and the
//! params of its key.

use std::{collections::BTreeMap, path::Path};

use super::settings;
use crate::{
    cli::refusal::CommandRefusal,
    config::{FilterSettings, KeyConfig, LimitOverrides, ParamKind, check_params, handed},
    filter::{CallLimits, Params},
    folder,
};

/// Settings under which a filter's cases run.
pub(super) struct DeclaredUse {
    pub(super) settings: FilterSettings,
    /// The key that has the filter, if there is one and no more.
    key: Option<KeyConfig>,
}

impl DeclaredUse {
    /// Reads the router's folder beside a component, if that is one.
    ///
    /// # Errors
    /// Returns the problems of the folder.
    pub(super) fn read(component: &Path, name: &str) -> Result<Self, CommandRefusal> {
        let mut settings = settings(name);
        let folder = component.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.join("trommel.toml").is_file() {
            return Ok(Self { settings, key: None });
        }
        let config = folder::load(folder)?;
        settings.limits = config.filter(name).limits;
        let mut keys = config.registry.keys.into_iter().filter(|key| key.filter.as_deref() == Some(name));
        let key = keys.next();
        Ok(Self { settings, key: key.filter(|_| keys.next().is_none()) })
    }

    /// Returns the params of a case as the key makes them: with its defaults, in their canonical
    /// form.
    ///
    /// # Errors
    /// Says why the key refuses them.
    pub(super) fn params(&self, given: &BTreeMap<String, String>) -> Result<Params, String> {
        let Some(KeyConfig { name, params, .. }) = &self.key else { return Ok(given.clone().into_iter().collect()) };
        // A case may have any text in the place of a secret.
        let plain = params.iter().cloned().map(|mut declared| {
            if declared.kind == ParamKind::Secret {
                (declared.kind, declared.secret) = (ParamKind::String, None);
            }
            declared
        });
        let plain: Vec<_> = plain.collect();
        let checked = check_params(name, &plain, given).map_err(|problems| {
            let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            messages.join(", ")
        })?;
        let kind = |name: &str| plain.iter().find(|declared| declared.name == name).map(|declared| declared.kind);
        let handed = |(name, value): (String, String)| {
            let text = kind(&name).map_or(value.as_str(), |kind| handed(kind, &value)).to_owned();
            (name, text)
        };
        Ok(checked.into_iter().map(handed).collect())
    }

    pub(super) fn limits(&self) -> CallLimits {
        let own = LimitOverrides::default();
        CallLimits::new(&self.settings.limits, self.key.as_ref().map_or(&own, |key| &key.limits))
    }
}
