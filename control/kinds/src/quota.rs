//! How ResourceQuotas count (`pkg/quota/v1`): what an object uses, which quotas it counts for, and whether there is room.
//! Pure: admission and the quota controller give it the objects, the quotas and the time.
use crate::quantity::{Format, Quantity};
use crate::value::{entries, items, sorted, strings, text};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

mod claims;
mod pods;
mod services;

/// Amounts by resource name.
pub type Usage = BTreeMap<String, Quantity>;

/// A resource whose objects are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural.
    pub plural: &'a str,
}

fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSI)
}

impl<'a> Counted<'a> {
    /// Of a group and plural.
    pub fn new(group: &'a str, plural: &'a str) -> Self {
        Self { group, plural }
    }

    /// What is never counted: what is not stored, and events.
    pub fn is_ignored(self) -> bool {
        match self.group {
            "" => matches!(self.plural, "bindings" | "componentstatuses" | "events"),
            "events.k8s.io" => true,
            "authentication.k8s.io" | "authorization.k8s.io" => true,
            _ => false,
        }
    }

    /// `count/jobs.batch`.
    pub fn count_name(self) -> String {
        match self.group {
            "" => format!("count/{}", self.plural),
            group => format!("count/{}.{group}", self.plural),
        }
    }

    /// The resource whose objects a `count/…` name counts: group and plural.
    pub fn of_count_name(name: &'a str) -> Option<Self> {
        let name = name.strip_prefix("count/")?;
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        Some(Self { group, plural })
    }

    fn is(self, plural: &str) -> bool {
        self.group.is_empty() && self.plural == plural
    }

    /// Whether such objects can count for a resource of a quota.
    pub fn counts_for(self, resource: &str) -> bool {
        if resource == self.count_name() {
            return true;
        }
        match self.plural {
            _ if !self.group.is_empty() => false,
            "pods" => pods::counts_for(resource),
            "services" => services::counts_for(resource),
            "persistentvolumeclaims" => claims::counts_for(resource),
            "configmaps" | "resourcequotas" | "replicationcontrollers" | "secrets" => resource == self.plural,
            _ => false,
        }
    }

    /// What an object uses.
    pub fn usage(self, object: &Value, now: Timestamp) -> Usage {
        let mut usage = Usage::from([(self.count_name(), one())]);
        if self.is("pods") {
            usage.extend(pods::usage(object, now));
        } else if self.is("services") {
            usage.extend(services::usage(object));
        } else if self.is("persistentvolumeclaims") {
            usage.extend(claims::usage(object));
        } else if self.counts_for(self.plural) {
            usage.insert(self.plural.to_owned(), one());
        }
        usage
    }

    /// Whether an object is one of those that the quota's scopes choose.
    pub fn is_in_scope(self, quota: &Value, object: &Value) -> bool {
        let scopes = strings(&quota["spec"]["scopes"]);
        let plain = scopes.into_iter().map(|scope| json!({"scopeName": scope, "operator": "Exists"}));
        let selected = items(&quota["spec"]["scopeSelector"]["matchExpressions"]).iter().cloned();
        plain.chain(selected).all(|requirement| {
            if self.is("pods") {
                pods::matches(&requirement, object)
            } else if self.is("persistentvolumeclaims") {
                claims::matches(&requirement, object)
            } else {
                false
            }
        })
    }

    /// Whether a creation (without `old`), an update or a write of a subresource can change what is used.
    pub fn is_counted(self, subresource: &str, object: &Value, old: Option<&Value>) -> bool {
        match (subresource, old) {
            ("", None) => true,
            ("", Some(old)) if self.is("pods") => pods::is_terminating(object) != pods::is_terminating(old),
            ("", Some(_)) => self.is("services") || self.is("persistentvolumeclaims"),
            ("resize", Some(_)) => self.is("pods"),
            ("status", Some(_)) => {
                self.is("persistentvolumeclaims")
                    && object["status"]["allocatedResources"]
                        != old.map_or(Value::Null, |old| old["status"]["allocatedResources"].clone())
            }
            _ => false,
        }
    }
}

/// The amounts of a list in an object.
pub fn read(list: &Value) -> Usage {
    entries(list).filter_map(|(name, value)| Some((name.to_owned(), Quantity::from_value(value).ok()?))).collect()
}

/// As an object's list again.
pub fn write(usage: &Usage) -> Value {
    Value::Object(usage.iter().map(|(name, quantity)| (name.clone(), quantity.to_string().into())).collect())
}

/// Adds one usage to another.
pub fn add(to: &mut Usage, other: &Usage) {
    for (name, quantity) in other {
        match to.get_mut(name) {
            Some(sum) => sum.add(quantity),
            None => {
                to.insert(name.clone(), quantity.clone());
            }
        }
    }
}

/// `cpu=1,memory=2Gi`.
fn show(usage: &Usage) -> String {
    usage.iter().map(|(name, quantity)| format!("{name}={quantity}")).collect::<Vec<_>>().join(",")
}

/// Charges an object to the quotas of its namespace. The answer holds, for each quota whose status changes, its index and what
/// is used then; the error is what the client is told.
pub fn charge(
    quotas: &[Value],
    counted: Counted<'_>,
    object: &Value,
    old: Option<&Value>,
    subresource: &str,
    now: Timestamp,
) -> Result<Vec<(usize, Value)>, String> {
    let mut interesting = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        let hard = sorted(&quota["status"]["hard"]);
        let restricted: Vec<&str> = hard.keys().copied().filter(|name| counted.counts_for(name)).collect();
        if restricted.is_empty() || !counted.is_in_scope(quota, object) {
            continue;
        }
        let name = text(&quota["metadata"]["name"]);
        if counted.is("pods") {
            pods::constraints(&restricted, object).map_err(|why| format!("failed quota: {name}: {why}"))?;
        }
        if restricted.iter().any(|resource| quota["status"]["used"].get(*resource).is_none()) {
            return Err(format!("status unknown for quota: {name}, resources: {}", restricted.join(",")));
        }
        interesting.push(index);
    }
    let usage = counted.usage(object, now);
    let negative: Vec<&str> = usage.iter().filter(|(_, q)| q.is_negative()).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let mut charged = Vec::new();
    for index in interesting {
        let quota = &quotas[index];
        // What was in scope before is charged with the difference only.
        let delta = match old {
            Some(old) if counted.is_in_scope(quota, old) => difference(&usage, &counted.usage(old, now)),
            _ => usage.clone(),
        };
        let hard = read(&quota["status"]["hard"]);
        let used = read(&quota["status"]["used"]);
        let requested: Usage =
            delta.into_iter().filter(|(name, quantity)| hard.contains_key(name) && !quantity.is_zero()).collect();
        if requested.is_empty() {
            continue;
        }
        let mut after = used.clone();
        add(&mut after, &requested);
        let exceeded: BTreeSet<&String> = requested.keys().filter(|name| after.get(*name) > hard.get(*name)).collect();
        if !exceeded.is_empty() && subresource != "status" {
            let only = |usage: &Usage| -> Usage {
                usage.iter().filter(|(name, _)| exceeded.contains(name)).map(|(n, q)| (n.clone(), q.clone())).collect()
            };
            return Err(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                text(&quota["metadata"]["name"]),
                show(&only(&requested)),
                show(&only(&used)),
                show(&only(&hard))
            ));
        }
        charged.push((index, write(&after)));
    }
    Ok(charged)
}

/// What is used more than before; less counts as nothing, for the controller gives back.
fn difference(new: &Usage, old: &Usage) -> Usage {
    let one = |(name, quantity): (&String, &Quantity)| {
        let mut quantity = quantity.clone();
        if let Some(old) = old.get(name) {
            quantity.sub(old);
        }
        (!quantity.is_negative()).then(|| (name.clone(), quantity))
    };
    new.iter().filter_map(one).collect()
}

/// What a quota's `status` should be, given all objects of its namespace that count.
pub fn status<'a>(quota: &Value, objects: impl Iterator<Item = (Counted<'a>, &'a Value)>, now: Timestamp) -> Value {
    let hard = read(&quota["spec"]["hard"]);
    let mut used: Usage = hard.keys().map(|name| (name.clone(), Quantity::zero(Format::DecimalSI))).collect();
    for (counted, object) in objects {
        if counted.is_in_scope(quota, object) {
            let usage = counted.usage(object, now);
            let masked = usage.into_iter().filter(|(name, _)| hard.contains_key(name)).collect();
            add(&mut used, &masked);
        }
    }
    json!({"hard": write(&hard), "used": write(&used)})
}

#[cfg(test)]
mod tests;
