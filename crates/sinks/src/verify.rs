//! Verification of a router's work: the outputs that its sinks should hold of a stretch of its
//! streams, against those that they hold.
//!
//! A router that writes nothing runs over the stretch. Its sinks are [`RecordingSink`]s, which note
//! every output in an [`OutputTable`] by a digest of how it is recognised at its destination. Then
//! the destinations are read, and outputs missing there are looked up in the dead letters.

mod digest;
mod file_lines;
mod letter_index;
mod output_table;
mod recording_sink;
mod stream_messages;
mod webhook_deliveries;

pub use digest::OutputDigest;
pub use file_lines::find_in_files;
pub use letter_index::LetterIndex;
pub use output_table::{OutputPlace, OutputRecording, OutputTable, VerifyFinding, VerifyTotals};
pub use recording_sink::RecordingSink;
pub use stream_messages::find_in_streams;
pub use webhook_deliveries::find_in_database;
