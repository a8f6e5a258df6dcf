//! Ports of a pod's containers that overlap or share a name.
use super::Found;
use crate::field::Path;
use crate::value::{go_quote, int, items, text};
use serde_json::Value;
use std::collections::HashMap;

/// A port, where it stands, and what tells it from others.
struct Port<'a> {
    path: String,
    port: &'a Value,
}

impl<'a> Port<'a> {
    fn host(&self) -> (&'a str, i64) {
        (text(&self.port["hostIP"]), int(&self.port["hostPort"]))
    }
}

pub(super) fn of(spec: &Value, path: &Path<'_>, found: &mut Found) {
    let mut ports = Vec::new();
    for list in super::pod::LISTS {
        let path = path.child(list);
        for (index, container) in items(&spec[list]).iter().enumerate() {
            let path = path.index(index);
            let path = path.child("ports");
            let of_container = items(&container["ports"]).iter().enumerate();
            ports.extend(of_container.map(|(index, port)| Port { path: path.index(index).to_string(), port }));
        }
    }
    let mut numbers: HashMap<(i64, &str), Numbered<'_>> = HashMap::new();
    for one in &ports {
        if !text(&one.port["hostIP"]).is_empty() && int(&one.port["hostPort"]) == 0 {
            found.push(format!("{}: hostIP set without hostPort: {}", one.path, shown(one.port)));
        }
        if found.is_full() {
            return;
        }
        let others = numbers.entry((int(&one.port["containerPort"]), text(&one.port["protocol"]))).or_default();
        found.extend(others.overlapping(one).into_iter().filter_map(|other| overlap(one, other)));
        others.add(one);
    }
    let mut names: HashMap<&str, &str> = HashMap::new();
    for one in &ports {
        let name = text(&one.port["name"]);
        if name.is_empty() {
            continue;
        }
        match names.get(name) {
            Some(other) => found.push(format!(
                "{}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                one.path,
                go_quote(name)
            )),
            None => {
                names.insert(name, &one.path);
            }
        }
    }
}

/// The ports of one number and protocol, by what of the host each takes.
#[derive(Default)]
struct Numbered<'a> {
    all: Vec<&'a Port<'a>>,
    hostless: Vec<usize>,
    by_port: HashMap<i64, Vec<usize>>,
    by_place: HashMap<(&'a str, i64), Vec<usize>>,
}

impl<'a> Numbered<'a> {
    /// Those of which [`overlap`] has something to say, and no others.
    fn overlapping(&self, one: &Port<'_>) -> Vec<&'a Port<'a>> {
        let (ip, port) = one.host();
        if port == 0 {
            return self.all.clone();
        }
        let listed = |list: Option<&Vec<usize>>| list.cloned().unwrap_or_default();
        let mut found = self.hostless.clone();
        if ip.is_empty() {
            found.extend(listed(self.by_port.get(&port)));
        } else {
            found.extend(listed(self.by_place.get(&(ip, port))));
            found.extend(listed(self.by_place.get(&("", port))));
        }
        found.sort_unstable();
        found.into_iter().filter_map(|index| self.all.get(index).copied()).collect()
    }

    fn add(&mut self, one: &'a Port<'a>) {
        let (place, index) = (one.host(), self.all.len());
        self.all.push(one);
        if place.1 == 0 {
            return self.hostless.push(index);
        }
        self.by_port.entry(place.1).or_default().push(index);
        self.by_place.entry(place).or_default().push(index);
    }
}

/// What is odd about two ports of one number and protocol.
fn overlap(one: &Port<'_>, other: &Port<'_>) -> Option<String> {
    let ((ip, port), (other_ip, other_port)) = (one.host(), other.host());
    let what = if (ip, port) == (other_ip, other_port) {
        "duplicate port definition"
    } else if port == 0 || other_port == 0 {
        "overlapping port definition"
    } else if port == other_port && ip.is_empty() != other_ip.is_empty() {
        "dangerously ambiguous port definition"
    } else {
        return None;
    };
    Some(format!("{}: {what} with {}", one.path, other.path))
}

/// A port as Go's `%+v` prints it.
fn shown(port: &Value) -> String {
    let [name, protocol, ip] = ["name", "protocol", "hostIP"].map(|key| text(&port[key]));
    let [host, container] = ["hostPort", "containerPort"].map(|key| int(&port[key]));
    format!("{{Name:{name} HostPort:{host} ContainerPort:{container} Protocol:{protocol} HostIP:{ip}}}")
}
