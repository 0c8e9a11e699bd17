//! Changes of declared webhooks in the files of a router's folder. Each takes effect by one rename
//! or one removal, so a crash leaves the old declaration or the new one, and what surrounds it in
//! the file, comments too, stays as it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::{
    config::{ConfigPlace, KeptIn, Problems, Webhook},
    signature::make_secret_file,
    toml_value::{set, toml_value},
    webhook::read_text,
};

/// Folder of the secrets that are made for webhooks, in the router's folder.
const SECRETS: &str = "secrets";
/// Field with the end of a rotation.
const FORMER_UNTIL: &str = "former_until";
/// Largest number of secret files that one webhook may leave behind.
const MAX_SECRET_FILES: usize = 1_000;

/// Error while changing a declaration. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum WebhookBookError {
    #[error("there is a file `{}` already", .0.display())]
    FileExists(PathBuf),
    #[error("can't write `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("webhook `{name}` is not declared in `{}` any more", file.display())]
    Vanished { name: String, file: PathBuf },
    #[error("webhook `{0}` has two secrets already: the rotation before this one is not finished")]
    Rotating(String),
    #[error("webhook `{0}` has one secret: no rotation is under way")]
    NotRotating(String),
    #[error("{0}")]
    Invalid(Problems),
}

/// The declarations of webhooks in a router's folder.
#[derive(Clone, Copy, Debug)]
pub struct WebhookBook<'a> {
    /// The router's folder.
    pub dir: &'a Path,
    /// Its folder of key files.
    pub keys: &'a Path,
}

/// A webhook that was added, with paths relative to the router's folder.
#[derive(Debug)]
pub struct AddedWebhook {
    pub webhook: Webhook,
    pub file: PathBuf,
    pub secret_file: String,
}

/// Fields of a declaration with their values as JSON. `null` takes a field out.
pub type WebhookFields<'a> = Vec<(&'a str, Json)>;

impl WebhookBook<'_> {
    /// Name of the file that [`Self::add`] writes for a webhook.
    pub fn file_name(name: &str) -> String {
        format!("webhook-{name}.toml")
    }

    /// Returns whether [`Self::add`] wrote the declaration, in a file of its own.
    pub fn is_own(webhook: &Webhook) -> bool {
        webhook.place.file.file_name().is_some_and(|name| *name == *Self::file_name(&webhook.name))
    }

    /// Lets one process at a time change declarations, until the file is dropped.
    fn lock(&self) -> Result<File, WebhookBookError> {
        let lock = || {
            DirBuilder::new().recursive(true).create(self.keys)?;
            let folder = File::open(self.keys)?;
            folder.lock().map(|()| folder)
        };
        lock().map_err(|source| io_error(self.keys, source))
    }

    /// Declares a webhook in a new file. If the fields name no secret, it gets a new one.
    ///
    /// # Errors
    /// Returns an error if there is such a file already, or if the declaration is not valid.
    pub fn add(&self, name: &str, mut fields: WebhookFields<'_>) -> Result<AddedWebhook, WebhookBookError> {
        let _lock = self.lock()?;
        let path = self.keys.join(Self::file_name(name));
        let file = path.strip_prefix(self.dir).unwrap_or(&path).to_owned();
        fields.insert(0, ("name", name.into()));
        let given = fields.iter().find_map(|(field, value)| value.as_str().filter(|_| *field == "secret_file"));
        let (secret_file, made) = match given {
            Some(given) => (given.to_owned(), None),
            None => {
                let secret_file = format!("{SECRETS}/{name}");
                let made = self.make_secret(&secret_file)?;
                fields.push(("secret_file", secret_file.as_str().into()));
                (secret_file, Some(made))
            }
        };
        let mut table = Table::new();
        for (field, value) in fields.iter().filter_map(|(field, value)| Some((*field, toml_value(value)?))) {
            table.insert(field, Item::Value(value));
        }
        let mut document = DocumentMut::new();
        document.insert("webhook", Item::ArrayOfTables([table].into_iter().collect()));
        let text = document.to_string();
        let webhook = self.read(&file, &text, name)?;
        write_new(&path, &text)?;
        made.into_iter().for_each(NewSecret::keep);
        Ok(AddedWebhook { webhook, file, secret_file })
    }

    /// Changes fields of a declared webhook. Returns it as it is then.
    ///
    /// # Errors
    /// Returns an error if the changed declaration is not valid.
    pub fn change(&self, webhook: &Webhook, fields: &WebhookFields<'_>) -> Result<Webhook, WebhookBookError> {
        self.edit(webhook, |table| {
            for (field, new) in fields {
                match toml_value(new) {
                    Some(new) => set(table, field, value(new)),
                    None => drop(table.remove(field)),
                }
            }
            Ok(())
        })
    }

    /// Makes a new secret the first one. The former one stays, so that both sign, until
    /// [`Self::finish_rotation`] or as long as the rotation `lasts`. Returns the webhook as it is
    /// then, and the new secret's file.
    ///
    /// # Errors
    /// Returns an error if two secrets sign already.
    pub fn rotate(&self, webhook: &Webhook, lasts: Option<Duration>) -> Result<(Webhook, String), WebhookBookError> {
        let name = &webhook.name;
        let numbered = (2..MAX_SECRET_FILES).map(|number| format!("{SECRETS}/{name}-{number}"));
        let free = [format!("{SECRETS}/{name}")].into_iter().chain(numbered).find(|file| !self.dir.join(file).exists());
        let secret_file = free.ok_or_else(|| WebhookBookError::FileExists(self.dir.join(SECRETS).join(name)))?;
        let made = self.make_secret(&secret_file)?;
        let mut over = Vec::new();
        let rotated = self.edit(webhook, |table| {
            let mut files = secret_files(table);
            if files.len() + secret_variables(table) > 1 {
                if files.is_empty() || webhook.is_rotating(Timestamp::now()) {
                    return Err(WebhookBookError::Rotating(name.clone()));
                }
                // The rotation before has ended by itself.
                over = files.split_off(1);
                table.remove("secret_env");
            }
            files.insert(0, secret_file.clone());
            set(table, "secret_file", one_or_many(&files));
            match lasts.map(end_of) {
                Some(until) => set(table, FORMER_UNTIL, value(until.to_string())),
                None => drop(table.remove(FORMER_UNTIL)),
            }
            Ok(())
        })?;
        made.keep();
        self.remove_secrets(name, &over);
        Ok((rotated, secret_file))
    }

    /// Gives up the former secret of a rotation, and removes a file that was made for it. Returns
    /// the webhook as it is then.
    ///
    /// # Errors
    /// Returns an error if there is one secret only.
    pub fn finish_rotation(&self, webhook: &Webhook) -> Result<Webhook, WebhookBookError> {
        let mut former = Vec::new();
        let finished = self.edit(webhook, |table| {
            let mut files = secret_files(table);
            if files.is_empty() || files.len() + secret_variables(table) < 2 {
                return Err(WebhookBookError::NotRotating(webhook.name.clone()));
            }
            former = files.split_off(1);
            table.remove("secret_env");
            table.remove(FORMER_UNTIL);
            set(table, "secret_file", one_or_many(&files));
            Ok(())
        })?;
        self.remove_secrets(&webhook.name, &former);
        Ok(finished)
    }

    /// Removes a declaration, its file if nothing else is in it, and the secrets that were made for
    /// it.
    ///
    /// # Errors
    /// Returns an error if the file can't be changed.
    pub fn remove(&self, webhook: &Webhook) -> Result<(), WebhookBookError> {
        let _lock = self.lock()?;
        let (path, mut document) = self.open(webhook)?;
        let (tables, index) = find(&mut document, webhook)?;
        let files = tables.get(index).map(secret_files).unwrap_or_default();
        tables.remove(index);
        if tables.is_empty() {
            document.remove("webhook");
        }
        if document.is_empty() {
            fs::remove_file(&path).and_then(|()| sync_folder(&path)).map_err(|source| io_error(&path, source))?;
        } else {
            replace(&path, &document.to_string())?;
        }
        self.remove_secrets(&webhook.name, &files);
        Ok(())
    }

    /// Reads a secret, for those that are to be given it.
    ///
    /// # Errors
    /// Returns an error if the file can't be read.
    pub fn secret(&self, secret_file: &str) -> Result<String, WebhookBookError> {
        let path = self.dir.join(secret_file);
        let text = KeptIn::File(path.clone()).read();
        text.map_err(|error| io_error(&path, io::Error::other(error)))
    }

    fn edit(
        &self,
        webhook: &Webhook,
        change: impl FnOnce(&mut Table) -> Result<(), WebhookBookError>,
    ) -> Result<Webhook, WebhookBookError> {
        let _lock = self.lock()?;
        let (path, mut document) = self.open(webhook)?;
        let (tables, index) = find(&mut document, webhook)?;
        if let Some(table) = tables.get_mut(index) {
            change(table)?;
        }
        let text = document.to_string();
        let changed = self.read(&webhook.place.file, &text, &webhook.name)?;
        replace(&path, &text).map(|()| changed)
    }

    fn open(&self, webhook: &Webhook) -> Result<(PathBuf, DocumentMut), WebhookBookError> {
        let path = self.dir.join(&webhook.place.file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(vanished(webhook)),
            Err(source) => return Err(io_error(&path, source)),
        };
        // A file that has been broken since it was loaded: the reader tells where.
        let document = text.parse().map_err(|_| self.read(&webhook.place.file, &text, &webhook.name).err());
        document.map(|document| (path, document)).map_err(|error| error.unwrap_or_else(|| vanished(webhook)))
    }

    /// Reads a webhook in the text of a file, all of whose webhooks must be valid.
    fn read(&self, file: &Path, text: &str, name: &str) -> Result<Webhook, WebhookBookError> {
        let webhooks = read_text(self.dir, file, text).map_err(WebhookBookError::Invalid)?;
        let found = webhooks.into_iter().find(|webhook| webhook.name == name);
        found.ok_or_else(|| WebhookBookError::Vanished { name: name.to_owned(), file: file.to_owned() })
    }

    fn make_secret(&self, secret_file: &str) -> Result<NewSecret, WebhookBookError> {
        let path = self.dir.join(secret_file);
        make_secret_file(&path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => WebhookBookError::FileExists(path.clone()),
            _ => io_error(&path, source),
        })?;
        let made = NewSecret(Some(path.clone()));
        // On the disk before the declaration that names it, which could not be loaded without.
        let synced = sync_folder(&path).and_then(|()| sync_folder(&self.dir.join(SECRETS)));
        synced.map(|()| made).map_err(|source| io_error(&path, source))
    }

    /// Removes those of the files that were made for the webhook. What is left of a failure here
    /// does no harm.
    fn remove_secrets(&self, name: &str, files: &[String]) {
        let base = format!("{SECRETS}/{name}");
        for file in files {
            let rest = file.strip_prefix(&base).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
            if rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
                let _ = fs::remove_file(self.dir.join(file));
            }
        }
    }
}

/// A secret file that was made just now. It is removed again unless it is kept.
struct NewSecret(Option<PathBuf>);

impl NewSecret {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewSecret {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The error that prevented its use is the one to report.
            let _ = fs::remove_file(path);
        }
    }
}

fn find<'a>(
    document: &'a mut DocumentMut,
    webhook: &Webhook,
) -> Result<(&'a mut ArrayOfTables, usize), WebhookBookError> {
    let tables = document.get_mut("webhook").and_then(|item| {
        // An array of inline tables means the same.
        if let Some(array) = item.as_array() {
            let tables = array.iter().filter_map(|one| Some(one.as_inline_table()?.clone().into_table()));
            *item = Item::ArrayOfTables(tables.collect());
        }
        item.as_array_of_tables_mut()
    });
    let tables = tables.ok_or_else(|| vanished(webhook))?;
    let is_named = |table: &Table| table.get("name").and_then(Item::as_str) == Some(&webhook.name);
    let index = tables.iter().position(is_named).ok_or_else(|| vanished(webhook))?;
    Ok((tables, index))
}

/// Returns the time after this long from now, in whole seconds.
fn end_of(lasts: Duration) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    SignedDuration::try_from(lasts).ok().and_then(|lasts| now.checked_add(lasts).ok()).unwrap_or(Timestamp::MAX)
}

fn secret_files(table: &Table) -> Vec<String> {
    match table.get("secret_file") {
        Some(Item::Value(Value::String(one))) => vec![one.value().clone()],
        Some(Item::Value(Value::Array(many))) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Number of secrets in the environment.
fn secret_variables(table: &Table) -> usize {
    match table.get("secret_env") {
        Some(Item::Value(Value::Array(many))) => many.len(),
        given => usize::from(given.is_some()),
    }
}

fn one_or_many(files: &[String]) -> Item {
    match files {
        [one] => value(one),
        many => value(Value::Array(many.iter().collect::<Array>())),
    }
}

fn vanished(webhook: &Webhook) -> WebhookBookError {
    let ConfigPlace { file, .. } = &webhook.place;
    WebhookBookError::Vanished { name: webhook.name.clone(), file: file.clone() }
}

fn io_error(path: &Path, source: io::Error) -> WebhookBookError {
    WebhookBookError::Io { path: path.to_owned(), source }
}

/// Writes a file that does not exist yet: all of it, or nothing.
fn write_new(path: &Path, text: &str) -> Result<(), WebhookBookError> {
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::AlreadyExists => WebhookBookError::FileExists(path.to_owned()),
        _ => io_error(path, source),
    };
    let hidden = write_beside(path, text).map_err(|source| io_error(path, source))?;
    // Unlike a rename, a link replaces no file.
    let linked = fs::hard_link(&hidden, path);
    let _ = fs::remove_file(&hidden);
    linked.and_then(|()| sync_folder(path)).map_err(failed)
}

/// Replaces a file by another with its permissions.
fn replace(path: &Path, text: &str) -> Result<(), WebhookBookError> {
    let replace = || {
        // A link stays a link: what it points to is replaced.
        let target = fs::canonicalize(path)?;
        let hidden = write_beside(&target, text)?;
        let replaced = fs::metadata(&target)
            .and_then(|old| fs::set_permissions(&hidden, old.permissions()))
            .and_then(|()| fs::rename(&hidden, &target));
        if replaced.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        replaced.and_then(|()| sync_folder(&target))
    };
    replace().map_err(|source| io_error(path, source))
}

/// Writes a hidden file beside `path`, which no router reads, and returns its path once it is on
/// the disk.
fn write_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = path.with_file_name(format!(".{name}-{}.tmp", std::process::id()));
    // An earlier process with this id may have left it.
    let _ = fs::remove_file(&hidden);
    // Readable by the user only: the URL may contain a secret.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map(|()| hidden.clone()).inspect_err(|_| {
        let _ = fs::remove_file(&hidden);
    })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
