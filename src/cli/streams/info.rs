//! `trommel streams info DIR [NAME...]` (H15).

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{FolderArgs, refused};
use crate::{
    cli::{
        columns::TableColumns,
        keys,
        refusal::{CommandRefusal, RefusalKind},
    },
    config::{StreamConfig, server_name},
    nats::{ShownValue, StreamCluster, StreamInfo, StreamReplica},
};

#[derive(Args, Debug)]
pub(super) struct ShowStreams {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// Streams, declared or not [default: those that are declared]
    #[arg(value_name = "NAME", value_parser = server_name)]
    names: Vec<String>,
}

/// JSON form of a stream.
#[derive(Serialize)]
struct StreamRow {
    stream: String,
    created: Timestamp,
    messages: u64,
    bytes: u64,
    /// `null` if the stream has no messages.
    first: Option<MessagePosition>,
    /// `null` if the stream has never had a message.
    last: Option<MessagePosition>,
    consumers: u64,
    /// `null` for a server without a cluster.
    cluster: Option<ClusterMembers>,
    /// Configuration as the server reports it.
    config: Map<String, Value>,
}

#[derive(Serialize)]
struct MessagePosition {
    sequence: u64,
    time: Timestamp,
}

#[derive(Serialize)]
struct ClusterMembers {
    name: String,
    leader: Option<String>,
    replicas: Vec<StreamReplica>,
}

impl ShowStreams {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let (streams, connection) = self.folder.open_streams().await?;
        let mut names = self.names.clone();
        if names.is_empty() {
            names.extend(streams.iter().map(|stream| stream.name.clone()));
        }
        let mut rows = Vec::new();
        for name in names {
            match connection.stream_info(&name).await.map_err(refused)? {
                Some(info) => rows.push(StreamRow::new(name, info)),
                None => return Err(self.absent(&name, &streams)),
            }
        }
        keys::print(&match self.folder.json {
            true => keys::json(&json!({ "streams": rows }))?,
            false if rows.is_empty() => format!("{} declares no streams", self.folder.dir.display()),
            false => rows.iter().map(StreamRow::text).collect::<Vec<_>>().join("\n\n"),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn absent(&self, name: &str, declared: &[StreamConfig]) -> CommandRefusal {
        let dir = self.folder.dir.display();
        let refusal =
            CommandRefusal::new(RefusalKind::Precondition, "no_stream", format!("the server has no stream `{name}`"));
        let refusal = if self.names.is_empty() { refusal } else { refusal.param("NAME") };
        match declared.iter().any(|stream| stream.name == name) {
            true => refusal.hint(format!("`trommel streams ensure {dir}` creates it")),
            false => refusal.hint("it is not declared either"),
        }
    }
}

impl StreamRow {
    fn new(stream: String, info: StreamInfo) -> Self {
        let StreamInfo { config, created, state, cluster } = info;
        let at = |sequence, time| MessagePosition { sequence, time };
        let members = |StreamCluster { name, leader, replicas }| Some(ClusterMembers { name: name?, leader, replicas });
        Self {
            stream,
            created,
            messages: state.messages,
            bytes: state.bytes,
            first: (state.messages > 0).then(|| at(state.first_seq, state.first_ts)),
            last: (state.last_seq > 0).then(|| at(state.last_seq, state.last_ts)),
            consumers: state.consumers,
            cluster: cluster.and_then(members),
            config,
        }
    }

    fn text(&self) -> String {
        let at = |position: &Option<MessagePosition>| match position {
            Some(MessagePosition { sequence, time }) => format!("{sequence} at {time}"),
            None => "-".to_owned(),
        };
        let mut facts = vec![
            ["created".to_owned(), self.created.to_string()],
            ["messages".to_owned(), self.messages.to_string()],
            ["bytes".to_owned(), self.bytes.to_string()],
            ["first".to_owned(), at(&self.first)],
            ["last".to_owned(), at(&self.last)],
            ["consumers".to_owned(), self.consumers.to_string()],
        ];
        if let Some(ClusterMembers { name, leader, replicas }) = &self.cluster {
            let leader = leader.as_deref().unwrap_or("none, one is being elected");
            facts.push(["cluster".to_owned(), name.clone()]);
            facts.push(["leader".to_owned(), leader.to_owned()]);
            facts.extend(replicas.iter().map(|replica| ["replica".to_owned(), health(replica)]));
        }
        // Settings with a value, without the server's own metadata.
        let is_telling = |name: &str, value: &Value| {
            let is_off = [json!(false), json!(""), json!([]), json!({})].contains(value);
            !(is_off || value.is_null() || matches!(name, "name" | "metadata"))
        };
        let settings = self.config.iter().filter(|(name, value)| is_telling(name, value));
        facts.extend(settings.map(|(name, value)| [name.clone(), ShownValue(name, value).to_string()]));
        let columns = TableColumns::fit(&facts);
        let lines = facts.iter().map(|fact| columns.line(fact));
        std::iter::once(self.stream.clone()).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

fn health(replica: &StreamReplica) -> String {
    let state = match replica {
        StreamReplica { offline: true, .. } => "offline".to_owned(),
        StreamReplica { current: true, .. } => "current".to_owned(),
        StreamReplica { lag, .. } => format!("not current, {lag} messages behind"),
    };
    format!("{}: {state}", replica.name)
}
