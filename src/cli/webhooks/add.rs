//! `trommel webhooks add DIR NAME --url URL`

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::WebhookArgs;
use crate::{
    cli::{
        deliveries::database,
        keys::{self, print},
        refusal::{CommandRefusal, RefusalKind},
    },
    folder::{self, NewWebhook},
    signature::make_secret_file,
};

const SECRETS: &str = "secrets";

#[derive(Args, Debug)]
pub(super) struct AddWebhook {
    #[command(flatten)]
    pub(super) webhook: WebhookArgs,
    /// URL to POST events to
    #[arg(long)]
    url: String,
    /// Types of events, or patterns over them such as `instance.*`; may be repeated [default: all]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    events: Vec<String>,
    /// Tenant whose events it gets, or `*` for all tenants [default: events without a tenant]
    #[arg(long)]
    tenant: Option<String>,
    /// File with its secret, relative to the router's folder [default: a new one, `secrets/NAME`]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Allow a loopback, private or otherwise special address
    #[arg(long)]
    allow_private: bool,
}

impl AddWebhook {
    pub(super) fn run(&self) -> Result<(), CommandRefusal> {
        let WebhookArgs { folder, name } = &self.webhook;
        let config = folder::load(&folder.dir)?;
        database(&config)?;
        if let Some(known) = config.registry.webhooks.iter().find(|webhook| webhook.name == *name) {
            let message = format!("there is a webhook `{name}` already, at {}", known.place);
            return Err(CommandRefusal::new(RefusalKind::Validation, "webhook_exists", message).param("NAME"));
        }
        let mut written = WrittenFiles::default();
        let given = self.secret_file.clone();
        let secret_file = given.unwrap_or_else(|| Path::new(SECRETS).join(name).display().to_string());
        if self.secret_file.is_none() {
            let path = folder.dir.join(&secret_file);
            make_secret_file(&path).map_err(|error| unwritten(&path, error))?;
            written.0.push(path);
        }
        let path = config.keys.join(format!("webhook-{name}.toml"));
        let (url, tenant, events) = (self.url.as_str(), self.tenant.as_deref(), &self.events[..]);
        let new =
            NewWebhook { name, url, tenant, events, secret_file: &secret_file, allow_private: self.allow_private };
        write_new(&path, &new.to_string()).map_err(|error| unwritten(&path, error))?;
        written.0.push(path.clone());
        // The options are validated with the whole configuration.
        folder::load(&folder.dir).map_err(|problems| CommandRefusal::from(problems).hint("nothing was added"))?;
        written.keep();

        let file = path.strip_prefix(&folder.dir).unwrap_or(&path).display();
        if folder.json {
            let (file, secret_file) = (file.to_string(), &secret_file);
            return print(&keys::json(&json!({ "webhook": name, "file": file, "secret_file": secret_file }))?);
        }
        let dir = folder.dir.display();
        print(&format!(
            "`{name}` is declared in `{file}`; a router that runs takes it up at once\n  \
             its secret is in `{secret_file}`: give it to the receiver, who needs it to verify signatures\n  \
             `trommel webhooks test {dir} {name}` sends a signed event to try it with"
        ))
    }
}

/// New files, which are removed again unless the command succeeds.
#[derive(Default)]
struct WrittenFiles(Vec<PathBuf>);

impl WrittenFiles {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for WrittenFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error that caused the removal is the one to report.
            let _ = fs::remove_file(path);
        }
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Readable by the user only: the URL may contain a secret.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn unwritten(path: &Path, error: io::Error) -> CommandRefusal {
    let path = path.display();
    match error.kind() {
        ErrorKind::AlreadyExists => {
            let refusal = CommandRefusal::new(
                RefusalKind::Precondition,
                "file_exists",
                format!("there is a file `{path}` already"),
            );
            refusal.hint("nothing is written over: choose another name, or name the secret with `--secret-file`")
        }
        _ => CommandRefusal::new(RefusalKind::Internal, "file", format!("can't write `{path}`: {error}")),
    }
}
