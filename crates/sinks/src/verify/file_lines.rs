//! Lines and records in the files of sinks, including rotated ones.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{OutputTable, digest::DigestWriter};
use crate::{
    avro::container::{ContainerFault, ContainerReader},
    config::{SinkConfig, SinkKind},
    sink::file::{partitions, written_files},
};

/// Number of bytes of a file that are read at once. Lines are never held whole.
const BLOCK: usize = 256 << 10;

/// Looks for outputs in the files of a sink. Sinks of another type have none. Blocks.
///
/// # Errors
/// Returns the file that can't be read, and why.
pub fn find_in_files(sink: &SinkConfig, table: &mut OutputTable) -> Result<(), (PathBuf, io::Error)> {
    let (files, settings) = match &sink.kind {
        SinkKind::File(path, settings) => (vec![path.clone()], settings),
        SinkKind::Files(template, settings) => {
            (partitions(template).map_err(|error| (template.root.clone(), error))?, settings)
        }
        _ => return Ok(()),
    };
    for path in files {
        let written = written_files(&path).map_err(|error| (path.clone(), error))?;
        if settings.upkeep.keep.is_some_and(|keep| written.len() > keep.get()) {
            let why = format!(
                "sink `{}`: it keeps a number of files, and what was missing may have been in older ones",
                sink.name
            );
            table.keeps_since(&sink.name, u32::MAX, why);
        }
        for file in written {
            let found = match settings.container {
                None => find_in_file(&file, &sink.name, table),
                Some(_) => find_in_container(&file, &sink.name, table),
            };
            found.map_err(|error| (file.clone(), error))?;
        }
    }
    Ok(())
}

fn find_in_container(path: &Path, sink: &str, table: &mut OutputTable) -> io::Result<()> {
    let input = BufReader::with_capacity(BLOCK, File::open(path)?);
    let mut reader = match ContainerReader::open(input, None) {
        Ok(reader) => reader,
        // A header without an end has no record behind it.
        Err(ContainerFault::CutHeader) => return Ok(()),
        Err(fault) => return Err(io::Error::other(fault)),
    };
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                let mut digest = DigestWriter::line(sink);
                digest.update(record.datum);
                table.find(digest.finish());
            }
            // A block without an end is not confirmed.
            Ok(None) | Err(ContainerFault::Damaged { .. }) => return Ok(()),
            Err(fault) => return Err(io::Error::other(fault)),
        }
    }
}

fn find_in_file(path: &Path, sink: &str, table: &mut OutputTable) -> io::Result<()> {
    let mut input = BufReader::with_capacity(BLOCK, File::open(path)?);
    let mut line = DigestWriter::line(sink);
    loop {
        let block = input.fill_buf()?;
        if block.is_empty() {
            // A line without an end is not confirmed.
            return Ok(());
        }
        let length = match block.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                line.update(&block[..end]);
                table.find(std::mem::replace(&mut line, DigestWriter::line(sink)).finish());
                end + 1
            }
            None => {
                line.update(block);
                block.len()
            }
        };
        input.consume(length);
    }
}
