//! The control socket as a part of the router, and a run that ends when no consumers are attached.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    app::{RouterControls, RunError, letter_key::state_folder, streams::StreamSetup},
    config::{Config, RouterRole, StateKeeping},
    control::{
        ConsumerDesk, ControlPlane, ControlSocket, ControlView, ORDERS, PlaneParts, SocketPlace,
        operation::RegistryOrder,
    },
    feed::LiveFeed,
    registry::{LEASE, Snapshots, Tenures, TickClaims},
    stop::{Stop, Stopper},
};

/// The control socket while it is served; without one no consumer ever attaches.
pub(super) struct ServedControl {
    pub(super) serves: JoinSet<anyhow::Result<()>>,
    /// Number of attached consumers.
    pub(super) attached: watch::Receiver<usize>,
}

/// The control plane, with what it begins with.
pub(super) struct PlaneWithOrders {
    pub(super) plane: Arc<ControlPlane>,
    pub(super) orders: mpsc::Receiver<RegistryOrder>,
    /// Keys that are paused.
    pub(super) paused: BTreeSet<String>,
}

/// Binds the control socket. A failure is an error only for a run that exits when idle, since it
/// serves nothing else.
pub(super) async fn open(controls: &RouterControls) -> Result<Option<ControlSocket>, RunError> {
    let opened = match &controls.place {
        Some(dir) => match SocketPlace::of(dir) {
            Ok(place) => ControlSocket::open(place).await,
            Err(error) => Err(error.into()),
        },
        None => Ok(None),
    };
    match opened {
        Ok(None) if controls.idle_exit.is_some() => {
            Err(RunError::Failed(anyhow::anyhow!("consumers cannot attach: another router has the control socket")))
        }
        Err(error) if controls.idle_exit.is_some() => Err(RunError::Failed(error)),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "consumers cannot attach to this router");
            Ok(None)
        }
        Ok(control) => Ok(control),
    }
}

/// Serves the control socket, if there is one.
pub(super) fn attend(
    control: Option<ControlSocket>,
    controls: &RouterControls,
    snapshots: &Snapshots,
    desk: Arc<ConsumerDesk>,
    plane: Arc<ControlPlane>,
    feed: Arc<LiveFeed>,
) -> ServedControl {
    let (attached, attends) = watch::channel(0);
    let mut serves = JoinSet::new();
    if let Some(control) = control {
        let view = ControlView {
            metrics: Arc::clone(&controls.metrics),
            stopper: controls.stopper.clone(),
            stop: controls.stop.clone(),
            desk,
            plane,
            feed,
            attached,
        };
        let serving = control.serve(view, snapshots.clone());
        serves.spawn(async move {
            serving.await;
            Ok(())
        });
    }
    ServedControl { serves, attached: attends }
}

/// Makes the control plane of a router, and pauses what was paused before. Also returns the orders
/// for the registry, and the keys that are paused.
pub(super) fn plane(config: &Config, controls: &RouterControls) -> anyhow::Result<PlaneWithOrders> {
    let (sender, orders) = mpsc::channel(ORDERS);
    let folder = state_folder(config, controls.place.as_deref());
    let parts = PlaneParts {
        metrics: Arc::clone(&controls.metrics),
        stopper: controls.stopper.clone(),
        orders: sender,
        log: controls.log.clone(),
    };
    let plane = ControlPlane::new(config, &folder, parts);
    // What others watch or repeat goes on, whatever the folder's own router does.
    let paused = if config.role == RouterRole::Router { plane.restore()? } else { Vec::new() };
    Ok(PlaneWithOrders { plane, orders, paused: paused.into_iter().collect() })
}

/// Opens the record of what is held upstream: shared by all replicas if there is a server, else
/// kept beside the control socket.
pub(super) fn tenures(
    config: &Config,
    controls: &RouterControls,
    setup: Option<&StreamSetup>,
) -> anyhow::Result<Tenures> {
    if let Some(StreamSetup { connection, replicas, .. }) = setup {
        return Ok(Tenures::across_replicas(connection.clone(), LEASE, *replicas));
    }
    Tenures::in_folder(&state_folder(config, controls.place.as_deref()))
}

/// Begins to claim the ticks of filters among the routers that share their state, if any do.
pub(super) fn tick_claims(config: &Config, setup: Option<&StreamSetup>, snapshots: Snapshots) -> Option<TickClaims> {
    let (StateKeeping::Nats(bucket), Some(setup)) = (&config.state.keeping, setup) else { return None };
    let lease = (LEASE, setup.replicas);
    Some(TickClaims::start(setup.connection.clone(), lease, &bucket.name, snapshots))
}

/// Resolves once a consumer is attached, or the router is to stop.
pub(super) async fn somebody(mut attached: watch::Receiver<usize>, mut stop: Stop) {
    tokio::select! {
        _ = attached.wait_for(|count| *count > 0) => {}
        () = stop.draining() => {}
    }
}

/// Drains the router when no consumer has been attached for this long.
///
/// # Errors
/// Returns an error if the control socket has ended.
pub(super) async fn end_when_idle(
    mut attached: watch::Receiver<usize>,
    after: Duration,
    stopper: Stopper,
) -> anyhow::Result<()> {
    loop {
        attached.wait_for(|count| *count == 0).await.context("the control socket has ended")?;
        match timeout(after, attached.wait_for(|count| *count > 0)).await {
            Ok(someone) => drop(someone.context("the control socket has ended")?),
            Err(_) => {
                tracing::info!(?after, "no consumers attached, stopping");
                stopper.drain();
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// L86: whoever comes again starts the time anew.
    #[tokio::test(start_paused = true)]
    async fn a_router_ends_so_long_after_its_last_consumer() {
        let (count, attached) = watch::channel(1);
        let (stopper, mut stop) = crate::stop::stop();
        let idle = tokio::spawn(end_when_idle(attached, Duration::from_secs(30), stopper));
        for consumers in [0, 1, 2, 0, 1, 0] {
            sleep(Duration::from_secs(29)).await;
            count.send_replace(consumers);
        }
        let last = Instant::now();
        stop.draining().await;
        assert_eq!(last.elapsed().as_secs(), 30);
        idle.await.unwrap().unwrap();
    }
}
