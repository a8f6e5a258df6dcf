//! What a Service asks for, and the errors when it cannot have it (`pkg/registry/core/service/storage/alloc.go`).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Allocator, Claim, Inner, Reservation, State, claims, pick};
use crate::catalog::Resource;
use crate::object::meta;
use crate::status::{Cause, Status};

impl Allocator {
    /// Fills in addresses, families and ports of a Service that is about to be written, and reserves them.
    pub fn allocate(
        &self,
        resource: &Resource,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation, Status> {
        self.default_families(resource, service)?;
        let uid: Arc<str> = meta(service, "uid").into();
        let had = old.map(claims).unwrap_or_default();
        let mut state = self.lock();
        let mut taking =
            Taking { allocator: self, state: &mut state, uid: &uid, had: &had, new: Vec::new(), causes: Vec::new() };
        taking.addresses(service);
        taking.ports(service);
        let (new, causes) = (taking.new, taking.causes);
        if !causes.is_empty() {
            return Err(Status::invalid(resource, meta(service, "name"), causes));
        }
        for claim in &new {
            state.pending.insert(*claim, uid.clone());
        }
        drop(state);
        let kept = claims(service).into_iter().filter(|c| !new.contains(c)).collect();
        Ok(Reservation { inner: Some(Inner { allocator: self.clone(), uid, claims: new, kept }) })
    }

    /// `ipFamilies` and `ipFamilyPolicy` of a cluster with one family.
    fn default_families(&self, resource: &Resource, service: &mut Value) -> Result<(), Status> {
        let name = meta(service, "name").to_owned();
        let spec = &mut service["spec"];
        if spec["type"] == "ExternalName" {
            return Ok(());
        }
        let family = if self.cidr.addr().is_ipv4() { "IPv4" } else { "IPv6" };
        let headless_without_selector =
            spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(|s| s.is_empty());
        if headless_without_selector {
            if spec["ipFamilyPolicy"].is_null() {
                spec["ipFamilyPolicy"] = "RequireDualStack".into();
            }
            if spec["ipFamilies"].as_array().is_none_or(Vec::is_empty) {
                let other = if family == "IPv4" { "IPv6" } else { "IPv4" };
                spec["ipFamilies"] =
                    if spec["ipFamilyPolicy"] == "SingleStack" { json!([family]) } else { json!([family, other]) };
            }
            return Ok(());
        }
        let several = spec["ipFamilies"].as_array().is_some_and(|families| families.len() > 1);
        if several && matches!(spec["ipFamilyPolicy"].as_str(), None | Some("SingleStack")) {
            let why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
            let cause = Cause::invalid("spec.ipFamilyPolicy", &json!("SingleStack"), why);
            return Err(Status::invalid(resource, &name, vec![cause]));
        }
        let mut causes = Vec::new();
        if spec["ipFamilyPolicy"] == "RequireDualStack" {
            let why = "this cluster is not configured for dual-stack services";
            causes.push(Cause::invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], why));
        }
        for (i, wanted) in spec["ipFamilies"].as_array().into_iter().flatten().enumerate() {
            if wanted != family {
                causes.push(Cause::invalid(format!("spec.ipFamilies[{i}]"), wanted, "not configured on this cluster"));
            }
        }
        if !causes.is_empty() {
            return Err(Status::invalid(resource, &name, causes));
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = "SingleStack".into();
        }
        spec["ipFamilies"] = json!([family]);
        Ok(())
    }
}

/// An update that leaves out what was allocated keeps it (`patchAllocatedValues`).
pub fn keep_allocated(service: &mut Value, old: &Value) {
    let has_ip = |s: &Value| s["spec"]["type"] != "ExternalName";
    let has_ports = |s: &Value| matches!(s["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    if has_ip(service) && has_ip(old) && service["spec"]["clusterIP"].as_str().unwrap_or_default().is_empty() {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if service["spec"][field].is_null() || field.starts_with("clusterIP") {
                service["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    if !has_ports(service) || !has_ports(old) {
        return;
    }
    let before = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let used: Vec<Value> =
        service["spec"]["ports"].as_array().into_iter().flatten().map(|p| p["nodePort"].clone()).collect();
    let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if port["nodePort"].as_u64().unwrap_or(0) != 0 {
            continue;
        }
        let same = |p: &&Value| p["port"] == port["port"] && protocol(p) == protocol(port);
        if let Some(previous) =
            before.iter().find(same).map(|p| &p["nodePort"]).filter(|p| p.is_u64() && !used.contains(p))
        {
            port["nodePort"] = previous.clone();
        }
    }
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

/// One allocation under the lock.
struct Taking<'a> {
    allocator: &'a Allocator,
    state: &'a mut State,
    uid: &'a Arc<str>,
    had: &'a [Claim],
    new: Vec<Claim>,
    causes: Vec<Cause>,
}

impl Taking<'_> {
    fn free(&self, claim: Claim) -> bool {
        !self.new.contains(&claim) && self.state.is_free(claim, self.uid)
    }

    /// The range of the configuration, then those of its family that ServiceCIDRs add.
    fn ranges(&self) -> Vec<IpNet> {
        let own = self.allocator.cidr;
        let more = self.state.ranges.values().flatten().copied();
        let more = more.filter(|range| range.addr().is_ipv4() == own.addr().is_ipv4() && *range != own);
        std::iter::once(own).chain(more).collect()
    }

    fn addresses(&mut self, service: &mut Value) {
        let spec = &mut service["spec"];
        if spec["type"] == "ExternalName" || spec["clusterIP"] == "None" {
            return;
        }
        let wanted = spec["clusterIPs"][0].as_str().or(spec["clusterIP"].as_str()).unwrap_or_default().to_owned();
        let ranges = self.ranges();
        let ip = if wanted.is_empty() {
            let found = ranges.iter().find_map(|range| pick::address(range, |ip| self.free(Claim::Ip(ip))));
            let Some(ip) = found else {
                self.refuse_ip(&json!([]), "failed to allocate a serviceIP: range is full");
                return;
            };
            ip
        } else {
            // Its form is the validation's business.
            let Ok(ip) = wanted.parse::<IpAddr>() else { return };
            if self.had.contains(&Claim::Ip(ip)) {
                return;
            }
            let within = |range: &IpNet| range.contains(&ip) && ip != range.network() && ip != range.broadcast();
            if !ranges.iter().any(within) {
                let why = format!(
                    "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}",
                    self.allocator.cidr
                );
                self.refuse_ip(&json!([wanted]), &why);
                return;
            }
            if !self.free(Claim::Ip(ip)) {
                self.refuse_ip(
                    &json!([wanted]),
                    &format!("failed to allocate IP {ip}: provided IP is already allocated"),
                );
                return;
            }
            ip
        };
        self.new.push(Claim::Ip(ip));
        spec["clusterIP"] = ip.to_string().into();
        spec["clusterIPs"] = json!([ip.to_string()]);
    }

    fn refuse_ip(&mut self, value: &Value, why: &str) {
        self.causes.push(Cause::invalid("spec.clusterIPs", value, why));
    }

    fn ports(&mut self, service: &mut Value) {
        let spec = &mut service["spec"];
        let balanced = spec["type"] == "LoadBalancer";
        let wants = spec["type"] == "NodePort" || balanced && spec["allocateLoadBalancerNodePorts"] != false;
        let mut given: Vec<(u16, String)> = Vec::new();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
        // Those who choose come first, so that a random choice cannot take their port.
        for (i, port) in ports.iter().enumerate() {
            let asked = port["nodePort"].as_u64().unwrap_or(0);
            if asked != 0 {
                let field = format!("spec.ports[{i}].nodePort");
                self.port(asked, &field, &given);
                given.push((asked as u16, protocol(port).to_owned()));
            }
        }
        for (i, port) in ports.iter_mut().enumerate() {
            if !wants || port["nodePort"].as_u64().unwrap_or(0) != 0 {
                continue;
            }
            // One number may serve the same port in several protocols.
            let Some(free) = pick::port(&self.allocator.ports, |p| self.free(Claim::Port(p))) else {
                let cause = Cause::invalid(
                    format!("spec.ports[{i}].nodePort"),
                    &0.into(),
                    "failed to allocate a nodePort: range is full",
                );
                self.causes.push(cause);
                return;
            };
            self.new.push(Claim::Port(free));
            port["nodePort"] = free.into();
        }
        if balanced && spec["externalTrafficPolicy"] == "Local" {
            let asked = spec["healthCheckNodePort"].as_u64().unwrap_or(0);
            if asked != 0 {
                self.port(asked, "spec.healthCheckNodePort", &[]);
            } else if let Some(free) = pick::port(&self.allocator.ports, |p| self.free(Claim::Port(p))) {
                self.new.push(Claim::Port(free));
                spec["healthCheckNodePort"] = free.into();
            }
        }
    }

    /// Takes the port that the user asks for.
    fn port(&mut self, asked: u64, field: &str, given: &[(u16, String)]) {
        let range = &self.allocator.ports;
        let port = u16::try_from(asked).unwrap_or(0);
        let claim = Claim::Port(port);
        if self.had.contains(&claim) || given.iter().any(|(p, _)| *p == port) {
            return;
        }
        if !range.contains(&port) {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start(),
                range.end()
            );
            self.causes.push(Cause::invalid(field, &asked.into(), &why));
        } else if !self.free(claim) {
            self.causes.push(Cause::invalid(field, &asked.into(), "provided port is already allocated"));
        } else {
            self.new.push(claim);
        }
    }
}
