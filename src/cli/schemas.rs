//! `trommel schemas`: Avro schemas of a router's folder and of files: what there is, who reads it,
//! what a message says, and whether one schema reads what another wrote.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::{keys::print, refusal::CommandRefusal};

mod check;
mod decode;
mod fetch;
mod fingerprint;
mod input;
mod list;
mod row;
mod show;

/// Show and compare Avro schemas, and decode by them
#[derive(Args, Debug)]
pub struct SchemasCommand {
    #[command(subcommand)]
    command: SchemasSubcommand,
}

#[derive(Debug, Subcommand)]
enum SchemasSubcommand {
    /// List the Avro schemas of a router's folder, and who uses them
    List(list::ListSchemas),
    /// Show a schema, its fields and its canonical form
    Show(show::ShowSchema),
    /// Fetch schemas of the schema registry into the cache, for use without it
    Fetch(fetch::FetchSchemas),
    /// Print the fingerprints of schemas, as messages have them
    Fingerprint(fingerprint::PrintFingerprints),
    /// Print what standard input holds as JSON: a message, or the records of a container file
    Decode(decode::DecodeInput),
    /// Check whether a schema reads what another wrote, and exit with 2 if it does not
    Check(check::CompareSchemas),
}

impl SchemasCommand {
    pub fn execute(self) -> ExitCode {
        let done =
            |text: Result<String, CommandRefusal>| text.and_then(|text| print(&text)).map(|()| ExitCode::SUCCESS);
        let (json, ended) = match self.command {
            SchemasSubcommand::List(list) => (list.folder.json, done(list.text())),
            SchemasSubcommand::Show(show) => (show.folder.json, done(show.text())),
            SchemasSubcommand::Fetch(fetch) => (fetch.folder.json, done(fetch.text())),
            SchemasSubcommand::Fingerprint(print) => (print.json, done(print.text())),
            SchemasSubcommand::Decode(decode) => (decode.json, decode.run()),
            SchemasSubcommand::Check(check) => (check.json, check.run()),
        };
        ended.unwrap_or_else(|refusal| refusal.end(json))
    }
}
