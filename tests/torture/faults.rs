//! What goes wrong, for a while.

use std::time::Duration;

use async_nats::jetstream::Context;
use fastrand::Rng;

use crate::{
    disk::Disk,
    nats::NatsServer,
    proxy::{Fault as LinkFault, Proxy},
    receiver::Receiver,
    router::{Folder, component_bytes},
    router_process::RouterProcess,
    settings,
};

/// Something that begins, lasts and ends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    FrozenRouter,
    FrozenServer,
    CutLink,
    /// Nothing passes, and connections stay open.
    BlackHole,
    /// What the router sends is lost.
    LostRequests,
    FullDisk,
    /// A key file that can't be read.
    BrokenKeys,
    /// A key file that says something else.
    ChangedKeys,
    BrokenComponent,
    /// No stream keeps what this sink publishes.
    NoStream(&'static str),
    /// The receiver of webhooks answers 503.
    ReceiverDown,
}

const ALL: [Fault; 13] = [
    Fault::None,
    Fault::FrozenRouter,
    Fault::FrozenServer,
    Fault::CutLink,
    Fault::BlackHole,
    Fault::LostRequests,
    Fault::FullDisk,
    Fault::BrokenKeys,
    Fault::ChangedKeys,
    Fault::BrokenComponent,
    Fault::NoStream("OUT"),
    Fault::NoStream("PLAIN"),
    Fault::ReceiverDown,
];

impl Fault {
    /// Every fault once, in an order of chance, and then again.
    pub fn in_turn(random: &mut Rng, count: usize) -> Vec<Self> {
        let mut faults = Vec::new();
        while faults.len() < count {
            let mut round = ALL;
            random.shuffle(&mut round);
            faults.extend(round);
        }
        faults.truncate(count);
        faults
    }

    /// What it does to the link between router and server.
    pub fn of_link(self) -> LinkFault {
        match self {
            Self::CutLink => LinkFault::Refuse,
            Self::BlackHole => LinkFault::Stall,
            Self::LostRequests => LinkFault::SwallowUp,
            _ => LinkFault::None,
        }
    }
}

/// What faults strike.
pub struct Surroundings {
    pub server: NatsServer,
    pub context: Context,
    pub link: Proxy,
    pub folder: Folder,
    pub receiver: Receiver,
    /// Not where this user may not mount one: that fault is then left out.
    pub disk: Option<Disk>,
}

impl Surroundings {
    pub async fn begin(&self, fault: Fault, router: Option<&RouterProcess>) {
        match fault {
            Fault::None => {}
            Fault::FrozenRouter => router.into_iter().for_each(RouterProcess::freeze),
            Fault::FrozenServer => self.server.freeze(),
            Fault::CutLink => {
                self.link.set(fault.of_link());
                self.link.cut();
            }
            Fault::BlackHole | Fault::LostRequests => self.link.set(fault.of_link()),
            Fault::FullDisk => self.disk.iter().for_each(Disk::fill),
            Fault::BrokenKeys => self.folder.put("keys/all.toml", b"[[key]\nkey = "),
            Fault::ChangedKeys => {
                let keys = settings::keys(self.receiver.address).replace("subject =", "workers = 3\nsubject =");
                self.folder.put("keys/all.toml", keys.as_bytes());
            }
            Fault::BrokenComponent => self.folder.put("plugins/select.wasm", b"\0asm no component"),
            Fault::NoStream(stream) => self.keep(stream, &format!("away.{}", stream.to_lowercase())).await,
            Fault::ReceiverDown => self.receiver.set_down(true),
        }
    }

    /// Everything is as it was. The server must be running, though it may be frozen.
    pub async fn end(&self, fault: Fault, router: Option<&RouterProcess>) {
        match fault {
            Fault::None => {}
            Fault::FrozenRouter => router.into_iter().for_each(RouterProcess::thaw),
            Fault::FrozenServer => self.server.thaw(),
            Fault::CutLink | Fault::BlackHole | Fault::LostRequests => {
                self.link.set(LinkFault::None);
                // What was lost on a connection is not made good on it.
                self.link.cut();
            }
            Fault::FullDisk => self.disk.iter().for_each(Disk::empty),
            Fault::BrokenKeys | Fault::ChangedKeys => {
                self.folder.put("keys/all.toml", settings::keys(self.receiver.address).as_bytes());
            }
            Fault::BrokenComponent => self.folder.put("plugins/select.wasm", &component_bytes("select")),
            Fault::NoStream(stream) => self.keep(stream, &format!("{}.>", stream.to_lowercase())).await,
            Fault::ReceiverDown => self.receiver.set_down(false),
        }
    }

    /// Has a stream keep other subjects.
    async fn keep(&self, stream: &str, subject: &str) {
        let mut last = None;
        for _ in 0..100 {
            if let Ok(mut found) = self.context.get_stream(stream).await
                && let Ok(info) = found.info().await
            {
                let mut config = info.config.clone();
                config.subjects = vec![subject.to_owned()];
                match self.context.update_stream(config).await {
                    Ok(_) => return,
                    Err(error) => last = Some(error),
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("stream {stream} can't be changed: {last:?}");
    }
}
