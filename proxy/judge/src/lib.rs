//! One specification for every backend: random Services, policies, endpoints and packets ([`cases`]), the packets as
//! bytes ([`Bytes`](frame)), and whether what a backend did to one is what [`orlop_plan::interpret`] permits
//! ([`judge`]). [`Coverage`] tells which kinds of cases have been judged, [`Defect`] makes plans that are wrong in one
//! way, which a judge must notice. For tests only: no product depends on it.

mod case;
mod coverage;
mod defect;
pub mod frame;
mod service;
mod shot;
mod verdict;
pub mod world;

pub use case::{Case, cases};
pub use coverage::Coverage;
pub use defect::Defect;
pub use service::{Faces, Service};
pub use shot::{Shot, Way};
pub use verdict::{Judge, Observed};
