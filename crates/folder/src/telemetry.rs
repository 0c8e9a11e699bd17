//! `[telemetry]`: the export of spans.

use std::{fmt::Display, path::Path, time::Duration};

use url::Url;

use crate::{
    api::{address, checked_headers},
    config::{ConfigPlace, LARGEST_SECRET, TelemetryConfig, TextPosition, read},
    table::{GivenValue, PlacedValue, TomlTable},
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the table. Returns `None` without a collector.
pub(crate) fn telemetry(table: &mut TomlTable<'_>) -> Option<TelemetryConfig> {
    let otlp = otlp(table);
    let headers = headers(table);
    let timeout = table.duration("timeout").unwrap_or(TIMEOUT);
    let sample = table.share("sample").unwrap_or(1.0);
    let service_name = table.text("service_name").unwrap_or_else(|| "trommel".to_owned());
    Some(TelemetryConfig { otlp: otlp?, headers: headers?, timeout, sample, service_name })
}

fn otlp(table: &mut TomlTable<'_>) -> Option<Url> {
    let text = table.text("otlp")?;
    // Messages never quote the address, as it may contain a password.
    let report = |error: String| {
        let hint = "an address looks like `http://127.0.0.1:4318`; `/v1/traces` is added".to_owned();
        table.error(table.place_of("otlp"), format!("`otlp` is not a collector's address: {error}"), Some(hint));
    };
    let ends_before = |url: Url| match url.path().trim_end_matches('/').ends_with("/v1/traces") {
        true => Err("it ends with `/v1/traces`".to_owned()),
        false => Ok(url),
    };
    address(&text, "`headers`").and_then(ends_before).map_err(report).ok()
}

/// Reads the headers of `headers` and of `headers_file`. Invalid ones are reported and left out.
fn headers(table: &mut TomlTable<'_>) -> Option<Vec<(String, String)>> {
    let written = table.map("headers").unwrap_or_default();
    let in_file = table.path("headers_file").map(|path| lines(table, &path)).unwrap_or_default();
    checked_headers(table, written.into_iter().chain(in_file), &[])
}

/// Reads a file with one header per line: `NAME: VALUE`.
fn lines(table: &TomlTable<'_>, path: &Path) -> Vec<(PlacedValue<String>, PlacedValue<GivenValue>)> {
    let unreadable = |error: &dyn Display| {
        let message = format!("can't read `{}`: {error}", path.display());
        table.error(table.place_of("headers_file"), message, None);
    };
    let bytes = read(path, LARGEST_SECRET).map_err(|error| unreadable(&error.cause())).unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"it is not UTF-8")).unwrap_or_default();
    let file = path.strip_prefix(table.dir()).unwrap_or(path);
    let header = |(index, line): (usize, &str)| {
        let place = ConfigPlace { file: file.to_owned(), position: Some(TextPosition { line: index + 1, column: 1 }) };
        let Some((name, value)) = line.split_once(':') else {
            table.error(place, "a line of this file is `NAME: VALUE`", None);
            return None;
        };
        let (name, value) = (name.trim().to_owned(), GivenValue::One(value.trim().to_owned()));
        Some((PlacedValue { value: name, place: place.clone() }, PlacedValue { value, place }))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).filter_map(header).collect()
}
