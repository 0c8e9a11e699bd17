//! `trommel schemas check OLD NEW`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};

use super::input::{named, of_file};
use crate::{
    avro::{AvroSchema, ReadVerdict, second_opinion},
    cli::{
        exit,
        keys::{json as pretty, print},
        refusal::CommandRefusal,
    },
    folder,
};

#[derive(Args, Debug)]
pub(super) struct CompareSchemas {
    /// The schema that wrote: a file, or with `--dir` a name
    old: String,
    /// The schema that is to read: a file, or with `--dir` a name
    new: String,
    /// Router's folder whose schemas are meant
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// What two resolvers say of one direction.
struct ReadAnswer {
    verdict: ReadVerdict,
    second: ReadVerdict,
}

impl CompareSchemas {
    pub(super) fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let config = self.dir.as_deref().map(folder::load).transpose()?;
        let schema = |name: &String| match &config {
            Some(config) => named(config, name),
            None => of_file(Path::new(name)),
        };
        let (old, new) = (schema(&self.old)?, schema(&self.new)?);
        let (forward, back) = (ReadAnswer::of(&old, &new), ReadAnswer::of(&new, &old));
        if self.json {
            print(&pretty(&json!({ "new_reads_old": forward.json(), "old_reads_new": back.json() }))?)?;
        } else {
            let mut lines = forward.lines(&self.new, &self.old);
            lines.extend(back.lines(&self.old, &self.new));
            print(&lines.join("\n"))?;
        }
        let reads = forward.verdict == ReadVerdict::All;
        Ok(if reads { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
    }
}

impl ReadAnswer {
    fn of(writer: &AvroSchema, reader: &AvroSchema) -> Self {
        Self { verdict: writer.read_by(reader), second: second_opinion(writer, reader) }
    }

    fn json(&self) -> Value {
        let (reads, reasons) = said(&self.verdict);
        let (second, why) = said(&self.second);
        json!({ "reads": reads, "reasons": reasons, "apache_avro": { "reads": second, "reasons": why } })
    }

    fn lines(&self, reader: &str, writer: &str) -> Vec<String> {
        let (reads, reasons) = said(&self.verdict);
        let mut lines = vec![format!("`{reader}` reads {reads} of what `{writer}` wrote")];
        lines.extend(reasons.iter().map(|why| format!("  {why}")));
        let (second, why) = said(&self.second);
        if second != reads {
            lines.push(format!("  the crate apache-avro says otherwise: {second}"));
            lines.extend(why.iter().map(|why| format!("    {why}")));
        }
        lines
    }
}

fn said(verdict: &ReadVerdict) -> (&'static str, &[String]) {
    match verdict {
        ReadVerdict::All => ("all", &[]),
        ReadVerdict::Some(reasons) => ("some", reasons),
        ReadVerdict::Nothing(why) => ("nothing", std::slice::from_ref(why)),
    }
}
