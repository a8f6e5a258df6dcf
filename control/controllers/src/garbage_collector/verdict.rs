//! The pure decision: what happens to an object, given what became of its owners (`attemptToDeleteItem`).

/// What became of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// It is gone, or was another of the same name.
    Dangling,
    /// It waits for this object to go.
    Waiting,
}

/// What happens to the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// It stays, without the references at these places.
    Drop(Vec<usize>),
    /// It goes; `true` if it must first wait for its own dependents.
    Delete {
        foreground: bool,
    },
}

/// `has_dependents`: whether it owns anything itself.
pub(super) fn verdict(owners: &[Owner], has_dependents: bool) -> Verdict {
    let places = |wanted: fn(&Owner) -> bool| -> Vec<usize> {
        owners.iter().enumerate().filter(|(_, owner)| wanted(owner)).map(|(place, _)| place).collect()
    };
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let useless = places(|owner| *owner != Owner::Solid);
    if useless.len() < owners.len() {
        return if useless.is_empty() { Verdict::Keep } else { Verdict::Drop(useless) };
    }
    let waited_for = owners.contains(&Owner::Waiting);
    Verdict::Delete { foreground: waited_for && has_dependents }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Owner::{Dangling, Solid, Waiting};

    #[test]
    fn one_solid_owner_is_enough_to_stay() {
        assert_eq!(verdict(&[], false), Verdict::Keep);
        assert_eq!(verdict(&[Solid], false), Verdict::Keep);
        assert_eq!(verdict(&[Dangling, Solid, Waiting], false), Verdict::Drop(vec![0, 2]));
    }

    #[test]
    fn without_a_solid_owner_it_goes_and_takes_its_own_dependents_along_if_waited_for() {
        assert_eq!(verdict(&[Dangling], true), Verdict::Delete { foreground: false });
        assert_eq!(verdict(&[Waiting, Dangling], true), Verdict::Delete { foreground: true });
        assert_eq!(verdict(&[Waiting], false), Verdict::Delete { foreground: false });
    }
}
