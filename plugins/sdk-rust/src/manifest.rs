//! The manifest as JSON text, put together while the filter is compiled, so that it can stand in a
//! section of the file.

/// What the manifest is made of.
pub struct Manifest {
    pub name: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    pub normalizes: bool,
    pub matches: bool,
    pub processes: bool,
    /// The interval of a filter that ticks.
    pub interval: Option<&'static str>,
    /// Names of wishes with their reasons.
    pub grants: &'static [(&'static str, &'static str)],
    /// A JSON object with further members, or nothing.
    pub more: &'static str,
}

/// The text, as far as it has room in `N` bytes, and its whole length.
pub struct ManifestText<const N: usize> {
    pub bytes: [u8; N],
    pub length: usize,
}

impl<const N: usize> ManifestText<N> {
    pub const fn new(manifest: &Manifest) -> Self {
        let mut text = Self { bytes: [0; N], length: 0 };
        text.raw(b"{\"name\":").string(manifest.name);
        text.raw(b",\"version\":").string(manifest.version);
        text.raw(b",\"description\":").string(manifest.description);
        text.hooks(manifest);
        if let Some(interval) = manifest.interval {
            text.raw(b",\"interval\":").string(interval);
        }
        text.grants(manifest.grants);
        text.more(manifest.more.as_bytes().trim_ascii());
        text.raw(b"}");
        text
    }

    const fn hooks(&mut self, manifest: &Manifest) {
        let names = [
            (manifest.normalizes, "normalize-params"),
            (manifest.matches, "matches"),
            (manifest.matches, "matches-batch"),
            (manifest.processes, "process"),
            (manifest.processes, "process-batch"),
            (manifest.interval.is_some(), "tick"),
        ];
        self.raw(b",\"hooks\":[");
        let (mut at, mut is_first) = (0, true);
        while at < names.len() {
            if names[at].0 {
                self.raw(if is_first { b"" } else { b"," }).string(names[at].1);
                is_first = false;
            }
            at += 1;
        }
        self.raw(b"]");
    }

    const fn grants(&mut self, grants: &[(&str, &str)]) {
        if grants.is_empty() {
            return;
        }
        self.raw(b",\"grants\":[");
        let mut at = 0;
        while at < grants.len() {
            self.raw(if at == 0 { b"{\"name\":" } else { b",{\"name\":" }).string(grants[at].0);
            self.raw(b",\"reason\":").string(grants[at].1).raw(b"}");
            at += 1;
        }
        self.raw(b"]");
    }

    /// The members of a JSON object.
    const fn more(&mut self, object: &[u8]) {
        if object.is_empty() {
            return;
        }
        let [b'{', members @ .., b'}'] = object else { panic!("`manifest` is a JSON object: `{{ … }}`") };
        let members = members.trim_ascii();
        if !members.is_empty() {
            self.raw(b",").raw(members);
        }
    }

    /// A JSON string.
    const fn string(&mut self, text: &str) -> &mut Self {
        self.raw(b"\"");
        let (text, mut at) = (text.as_bytes(), 0);
        while at < text.len() {
            match text[at] {
                byte @ (b'"' | b'\\') => self.raw(&[b'\\', byte]),
                // Line ends and their like are blanks in a line.
                0..b' ' => self.raw(b" "),
                byte => self.raw(&[byte]),
            };
            at += 1;
        }
        self.raw(b"\"")
    }

    const fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        let mut at = 0;
        while at < bytes.len() {
            if self.length < N {
                self.bytes[self.length] = bytes[at];
            }
            self.length += 1;
            at += 1;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ALL: Manifest = Manifest {
        name: "large",
        version: "1.0.0",
        description: "Passes \"large\"\norders\\",
        normalizes: true,
        matches: true,
        processes: true,
        interval: Some("10s"),
        grants: &[("api", "looks up"), ("state", "counts")],
        more: " { \"memory\": \"32MiB\" } ",
    };

    fn read(manifest: &Manifest) -> Value {
        let ManifestText { bytes, length } = ManifestText::<1_000>::new(manifest);
        assert_eq!(ManifestText::<0>::new(manifest).length, length);
        serde_json::from_slice(&bytes[..length]).unwrap()
    }

    #[test]
    fn everything_that_is_said_is_there() {
        let expected = json!({
            "name": "large", "version": "1.0.0", "description": "Passes \"large\" orders\\",
            "hooks": ["normalize-params", "matches", "matches-batch", "process", "process-batch", "tick"],
            "interval": "10s",
            "grants": [{ "name": "api", "reason": "looks up" }, { "name": "state", "reason": "counts" }],
            "memory": "32MiB",
        });
        assert_eq!(read(&ALL), expected);
        let least = Manifest { matches: false, normalizes: false, interval: None, grants: &[], more: "{ }", ..ALL };
        let expected = json!({
            "name": "large", "version": "1.0.0", "description": "Passes \"large\" orders\\",
            "hooks": ["process", "process-batch"],
        });
        assert_eq!(read(&least), expected);
    }
}
