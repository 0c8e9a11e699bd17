//! The live picture of the router, over the control socket.

use std::sync::Arc;

use super::{
    link::{LinkReader, LinkWriter},
    protocol::{Farewell, RouterAnswer},
    server::ControlState,
};

/// Sends a message a second until the other side leaves or the router ends.
///
/// # Errors
/// Returns an error if the connection breaks.
pub(super) async fn serve(
    mut reader: LinkReader,
    mut writer: LinkWriter,
    shared: &Arc<ControlState>,
) -> anyhow::Result<()> {
    let Some(mut feed) = shared.view.feed.subscribe() else {
        let message = "as many readers watch the router as may: close one, or ask again later".to_owned();
        return Ok(writer.send(&RouterAnswer::Bye { reason: Farewell::Lost, message }).await?);
    };
    loop {
        let message = tokio::select! {
            message = feed.next() => message,
            // Whatever it says: a reader that has gone says nothing.
            said = reader.next() => match said? {
                Some(_) => continue,
                None => return Ok(()),
            },
            () = shared.view.desk.closed() => None,
        };
        match message {
            Some(message) => tokio::select! {
                sent = writer.send(&message) => sent?,
                // One that reads nothing any more holds no stop up.
                () = shared.view.desk.closed() => return Ok(()),
            },
            None => {
                let message = "the router ends".to_owned();
                return Ok(writer.send(&RouterAnswer::Bye { reason: Farewell::Stopped, message }).await?);
            }
        }
    }
}
