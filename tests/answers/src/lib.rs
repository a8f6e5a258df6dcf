//! What kube-apiserver answered, asked again of ours.
//!
//! A file under `cases/` is a conversation: requests, one a line, each with the answer that kube-apiserver v1.36 gave to it on an empty
//! cluster. [`replay`] holds it with an API server in this process and tells every difference; [`record`] holds it with a real
//! kube-apiserver and writes down what that says. Whatever no two servers have in common (times, UIDs, versions) is blotted out of both.

mod answer;
mod blot;
mod case;
mod compare;
mod conversation;
mod ours;
mod theirs;

pub use conversation::{files, record, replay};
