//! Costs: what an expression may cost at most ([`estimate`], cel-go's checker/cost.go with Kubernetes' library), and what a call
//! did cost ([`actual`]). Both decide what is accepted, so both follow the originals' arithmetic.

pub mod actual;
pub mod estimate;

/// `StringTraversalCostFactor`
pub const STRING: f64 = 0.1;
/// `RegexStringLengthCostFactor`
pub const REGEX: f64 = 0.25;
