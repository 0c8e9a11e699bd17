//! Webhooks: outputs that are POSTed to others' servers, signed and tried again for hours. Between an output and its
//! POST stands the [`store`]: what is in there is delivered at least once, whatever happens to this process. The
//! [`dispatch`]er takes out what is due, [`post`] sends it, and [`schedule`] says what follows from the answer.

pub mod dispatch;
pub mod post;
pub mod schedule;
pub mod store;
