//! Ordered variables, and the `$(VAR)` syntax of `env`, `command` and `args`. Pure.

/// Environment variables in the order in which they were first set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    list: Vec<(String, String)>,
}

impl Variables {
    /// Sets a variable; one of the same name is replaced in its place.
    pub fn set(&mut self, name: String, value: String) {
        match self.list.iter_mut().find(|(present, _)| *present == name) {
            Some((_, old)) => *old = value,
            None => self.list.push((name, value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.list.iter()
    }

    /// These variables, and those of `below` whose names are free.
    pub fn over(mut self, below: &Self) -> Self {
        for (name, value) in &below.list {
            if !self.contains(name) {
                self.list.push((name.clone(), value.clone()));
            }
        }
        self
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(iter: T) -> Self {
        let mut variables = Self::default();
        iter.into_iter().for_each(|(name, value)| variables.set(name, value));
        variables
    }
}

/// Replaces `$(NAME)` by the variable's value. `$$` is a dollar; what is not known stays as it is.
pub fn expand(text: &str, variables: &Variables) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
            match variables.get(name) {
                Some(value) => result.push_str(value),
                None => result.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_follows_kubernetes_syntax() {
        let variables: Variables = [("A".to_owned(), "1".to_owned())].into_iter().collect();
        for (text, expected) in [
            ("$(A)", "1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(B)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("100$", "100$"),
            ("x$(A)y$(A)", "x1y1"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
