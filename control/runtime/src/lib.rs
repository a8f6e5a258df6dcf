//! What every loop over the cluster is made of: a shared view of one kind, kept by one watch ([`Informer`]), a queue of the keys that
//! may need work ([`Queue`]), and events for people ([`Recorder`]). Nothing here knows any controller.

mod informer;
mod key;
mod queue;
mod recorder;

pub use informer::Informer;
pub use key::Key;
pub use queue::Queue;
pub use recorder::Recorder;
