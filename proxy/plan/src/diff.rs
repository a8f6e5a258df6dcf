//! The difference between two plans.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::{Frontend, NodeFacts, Plan, Target};

/// One frontend that differs: added (`before` is none), removed (`after` is none) or changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which one.
    pub frontend: Frontend,
    /// Its old target.
    pub before: Option<Arc<Target>>,
    /// Its new target.
    pub after: Option<Arc<Target>>,
}

/// Everything that differs between two plans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Frontends, in order.
    pub frontends: Vec<Change>,
    /// The new node facts, if they changed.
    pub node: Option<Arc<NodeFacts>>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.frontends.is_empty() && self.node.is_none()
    }

    /// Makes `plan`, which must be the old one, equal to the new one.
    pub fn apply(&self, plan: &mut Plan) {
        for change in &self.frontends {
            match &change.after {
                Some(target) => plan.frontends.insert(change.frontend, target.clone()),
                None => plan.frontends.remove(&change.frontend),
            };
        }
        if let Some(node) = &self.node {
            plan.node = node.clone();
        }
    }
}

/// What must change to go from `old` to `new`. Parts that the two plans share are not visited.
pub fn diff(old: &Plan, new: &Plan) -> Changes {
    let frontends = old
        .frontends
        .diff(&new.frontends)
        .filter_map(|item| match item {
            DiffItem::Add(frontend, after) => {
                Some(Change { frontend: *frontend, before: None, after: Some(after.clone()) })
            }
            DiffItem::Remove(frontend, before) => {
                Some(Change { frontend: *frontend, before: Some(before.clone()), after: None })
            }
            DiffItem::Update { old: (frontend, before), new: (_, after) } => (before != after).then(|| Change {
                frontend: *frontend,
                before: Some(before.clone()),
                after: Some(after.clone()),
            }),
        })
        .collect();
    let node = (old.node != new.node).then(|| new.node.clone());
    Changes { frontends, node }
}
