//! Sinks of every kind that keeps what it is given.

/// Sinks `plain`, `file`, `folder` and `hooks`. `plain` has these fields more, and `file` turns
/// over at `max_size`.
pub fn keeping_sinks(plain: &str, max_size: &str) -> String {
    format!(
        r#"
[[sink]]
name = "plain"
type = "nats"
subject = "plain.{{subject}}"
message_id = false
{plain}

[[sink]]
name = "file"
type = "file"
path = "disk/all.ndjson"
max_size = "{max_size}"

[[sink]]
name = "folder"
type = "folder"
path = "folder"

[[sink]]
name = "hooks"
type = "webhook"
"#
    )
}

/// The webhook behind `hooks`, whose secret is in the file `secret`.
pub fn receiver(address: &str) -> String {
    format!(
        r#"
[[webhook]]
name = "receiver"
url = "http://{address}/"
allow_private = true
secret_file = "secret"
"#
    )
}
