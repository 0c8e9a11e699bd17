//! A TCP proxy whose faults are switched on and off while connections run through it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking and says why")]

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// What happens to the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing passes in either direction; what waits passes later.
    Stall,
    /// What the client sends is lost; what the server sends passes.
    SwallowUp,
    /// Every chunk waits this long.
    Delay(Duration),
    /// New connections are closed at once.
    Refuse,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    /// Connections opened under an older number are closed.
    cuts: watch::Sender<u64>,
    acceptor: AbortHandle,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        let (cuts, cut) = watch::channel(0);
        let acceptor = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                while connections.try_join_next().is_some() {}
                if *faults.borrow() != Fault::Refuse {
                    connections.spawn(forward(client, upstream, faults.clone(), cut.clone()));
                }
            }
        });
        Self { address, fault, cuts, acceptor: acceptor.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Closes every connection that is open now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn forward(
    client: TcpStream,
    upstream: SocketAddr,
    fault: watch::Receiver<Fault>,
    mut cut: watch::Receiver<u64>,
) {
    cut.mark_unchanged();
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, fault.clone(), true) => {}
        () = pump(from_server, to_client, fault, false) => {}
        _ = cut.changed() => {}
    }
}

/// Copies until either side closes.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut fault: watch::Receiver<Fault>, up: bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if fault.wait_for(|fault| *fault != Fault::Stall).await.is_err() {
            return;
        }
        let now = *fault.borrow();
        match now {
            Fault::SwallowUp if up => continue,
            Fault::Delay(delay) => sleep(delay).await,
            _ => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
