//! `trommel schemas decode DIR|FILE`.

use std::{
    io::{self, BufReader, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use super::input::of_file;
use crate::{
    avro::{
        AvroDecodeError, AvroSchema, AvroSchemas, Framing, TimeForm,
        container::{ContainerFault, ContainerReader, MAGIC, RecordFault},
    },
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    folder,
};

/// Largest message, in bytes.
const LARGEST: u64 = 64 << 20;

#[derive(Args, Debug)]
pub(super) struct DecodeInput {
    /// A router's folder, whose schemas are known; or a schema: that of a message without a header,
    /// or the one to read a container file by
    #[arg(value_name = "DIR|FILE")]
    from: PathBuf,
    /// Print errors as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Schemas that the input may have.
enum KnownSchemas {
    Folder(AvroSchemas),
    File(AvroSchema),
}

impl DecodeInput {
    pub(super) fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let known = if self.from.is_dir() {
            KnownSchemas::Folder(folder::load(&self.from)?.registry.avro)
        } else {
            KnownSchemas::File(of_file(&self.from)?)
        };
        let mut input = BufReader::new(io::stdin().lock());
        let mut start = Vec::new();
        input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).map_err(unread)?;
        let is_container = start == MAGIC;
        let mut input = io::Cursor::new(start).chain(input);
        if is_container {
            let reader = if let KnownSchemas::File(schema) = &known { Some(schema) } else { None };
            return print_records(input, reader);
        }
        let mut message = Vec::new();
        input.by_ref().take(LARGEST + 1).read_to_end(&mut message).map_err(unread)?;
        if message.len() as u64 > LARGEST {
            return Err(undecodable(format!("the message has more than {LARGEST} bytes")));
        }
        let json = known.decode(&message).map_err(|error| undecodable(error.to_string()))?;
        let mut out = terminal::buffered();
        line(&mut out, &json).and_then(|()| out.flush()).or_else(unprinted)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl KnownSchemas {
    fn decode(&self, message: &[u8]) -> Result<Vec<u8>, AvroDecodeError> {
        match self {
            Self::Folder(schemas) => schemas.decoder(None, TimeForm::Integer).decode(message),
            Self::File(schema) => match (Framing::of(message), message) {
                (Some(Framing::SingleObject), [_, _, header @ ..])
                    if header.starts_with(&schema.fingerprint().to_le_bytes()) =>
                {
                    schema.decode(&header[8..])
                }
                // Behind Confluent's header, if it is one.
                (Some(Framing::Confluent), [_, _, _, _, _, body @ ..]) => {
                    schema.decode(message).or_else(|_| schema.decode(body))
                }
                _ => schema.decode(message),
            },
        }
    }
}

fn print_records(input: impl Read, reader: Option<&AvroSchema>) -> Result<ExitCode, CommandRefusal> {
    let fault = |fault: ContainerFault| undecodable(fault.to_string());
    let mut container = ContainerReader::open(input, reader).map_err(fault)?;
    let mut out = terminal::buffered();
    let mut print = || -> Result<(), CommandRefusal> {
        while let Some(record) = container.next_record().map_err(fault)? {
            let number = record.number;
            let json =
                record.json.map_err(|RecordFault { error, .. }| undecodable(format!("record {number}: {error}")))?;
            line(&mut out, &json).or_else(unprinted)?;
        }
        Ok(())
    };
    let ended = print();
    // What was read before an error comes before it.
    out.flush().or_else(unprinted)?;
    ended.map(|()| ExitCode::SUCCESS)
}

fn line(out: &mut impl Write, json: &[u8]) -> io::Result<()> {
    out.write_all(json)?;
    out.write_all(b"\n")
}

fn undecodable(why: String) -> CommandRefusal {
    let refusal = CommandRefusal::new(RefusalKind::Validation, "undecodable", why);
    refusal.hint("expected one Avro message, or a container file, on standard input")
}

fn unread(error: io::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "stdin", format!("can't read standard input: {error}"))
}

/// A reader that has closed the pipe is not a failure.
fn unprinted(error: io::Error) -> Result<(), CommandRefusal> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    let message = format!("can't write to standard output: {error}");
    Err(CommandRefusal::new(RefusalKind::Internal, "stdout", message))
}
