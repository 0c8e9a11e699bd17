//! A drain, told of until the router is empty.

use std::time::Duration;

use tokio::time::interval;

use super::{
    link::LinkWriter,
    operation::{DrainWish, Operation},
    protocol::RouterAnswer,
    server::ControlView,
};

/// Time between two news, less than a client's patience.
const NEWS: Duration = Duration::from_secs(1);

/// Drains the router, and tells how many events are still open until none is, or the router gives
/// up what is left.
///
/// # Errors
/// Returns an error if the connection breaks. The drain goes on.
pub(super) async fn tell(view: &ControlView, who: &str, writer: &mut LinkWriter) -> anyhow::Result<()> {
    // Only an answer that was asked for can be refused, and this one never is.
    let _ = view.plane.operate(Operation::Drain(DrainWish {}), who).await;
    let (mut stop, mut news) = (view.stop.clone(), interval(NEWS));
    loop {
        tokio::select! {
            _ = news.tick() => {
                writer.send(&RouterAnswer::Draining { in_flight: view.plane.in_flight() }).await?;
            }
            // The lanes have ended, and with them all events.
            () = view.desk.closed() => break,
            () = stop.ended() => break,
        }
    }
    Ok(writer.send(&RouterAnswer::Drained { given_back: view.plane.in_flight() }).await?)
}
