//! Webhooks: outputs that are POSTed to others' servers, signed and tried again for hours. Each
//! output is put in the [`store`] first, and from there it is delivered at least once, whatever
//! happens to this process. The [`dispatch`]er takes out due deliveries, [`post`] sends them, and
//! [`schedule`] derives the next step from the answer.

pub mod dispatch;
pub mod post;
pub mod request;
pub mod schedule;
pub mod store;
pub mod trial;
