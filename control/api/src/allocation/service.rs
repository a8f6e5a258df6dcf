//! What a Service asks for, and the errors when it cannot have it (`pkg/registry/core/service/storage/alloc.go`).

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Allocator, Claim, Inner, Reservation, State, claims, families, family, pick};
use crate::catalog::Resource;
use crate::object::meta;
use crate::status::{Cause, Status};
use crate::strategy;

impl Allocator {
    /// Fills in addresses, families and ports of a Service that is about to be judged and written, and reserves them.
    pub fn allocate(
        &self,
        resource: &Resource,
        service: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Reservation, Status> {
        strategy::check(resource, service, &orlop_kinds::service_addresses(service))?;
        let families: Vec<&'static str> = self.ranges.all().map(|range| family(range.addr())).collect();
        families::fill_in(&families, resource, service, old)?;
        let uid: Arc<str> = meta(service, "uid").into();
        let had = old.map(claims).unwrap_or_default().into_iter().collect();
        let mut state = self.lock();
        let name = meta(service, "name").to_owned();
        let mut taking =
            Taking { allocator: self, state: &mut state, uid: &uid, had: &had, new: HashSet::new(), dry_run };
        match taking.addresses(service, old, &name).and_then(|()| taking.ports(service, old)) {
            Ok(()) => {}
            Err(Refusal::Field(cause)) => return Err(Status::invalid(resource, &name, vec![cause])),
            Err(Refusal::Internal(why)) => return Err(Status::internal(why)),
            Err(Refusal::Plain(why)) => return Err(Status::unknown(why)),
        }
        let new = taking.new;
        for claim in &new {
            state.pending.insert(*claim, uid.clone());
        }
        drop(state);
        let (claims, kept) = claims(service).into_iter().partition(|claim| new.contains(claim));
        Ok(Reservation { inner: Some(Inner { allocator: self.clone(), uid, claims, kept }) })
    }
}

/// An update that leaves out the numbers of ports keeps them (`patchAllocatedValues`).
pub fn keep_ports(service: &mut Value, old: &Value) {
    if !allocates_ports(&service["spec"]) || !allocates_ports(&old["spec"]) {
        return;
    }
    let ports = |s: &Value| s["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let asked: HashSet<i64> = ports(service).iter().map(node_port).collect();
    // A port is known by its name, whatever else of it has changed; of several without one the last.
    let before: HashMap<String, i64> = ports(old).iter().map(|port| (name(port).to_owned(), node_port(port))).collect();
    let present = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in present.into_iter().flatten().filter(|port| node_port(port) == 0) {
        if let Some(number) = before.get(name(port)).filter(|number| **number != 0 && !asked.contains(*number)) {
            port["nodePort"] = (*number).into();
        }
    }
}

/// Whether ports that ask for no number get one.
fn allocates_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false
}

fn name(port: &Value) -> &str {
    port["name"].as_str().unwrap_or_default()
}

fn node_port(port: &Value) -> i64 {
    port["nodePort"].as_i64().unwrap_or(0)
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

/// Why a Service cannot have what it needs.
enum Refusal {
    /// A field asks for what cannot be had.
    Field(Cause),
    /// There is nothing left to give.
    Internal(String),
    /// What nobody judged before.
    Plain(String),
}

/// One allocation under the lock.
struct Taking<'a> {
    allocator: &'a Allocator,
    state: &'a mut State,
    uid: &'a Arc<str>,
    had: &'a HashSet<Claim>,
    new: HashSet<Claim>,
    dry_run: bool,
}

impl Taking<'_> {
    fn free(&self, claim: Claim) -> bool {
        !self.new.contains(&claim) && self.state.is_free(claim, self.uid)
    }

    /// The family's range of the configuration, then those that ServiceCIDRs add.
    fn ranges(&self, wanted: &str) -> Vec<IpNet> {
        let own = self.allocator.ranges.all().find(|range| family(range.addr()) == wanted);
        let more = self.state.ranges.values().flatten().copied();
        let more = more.filter(|range| family(range.addr()) == wanted && Some(*range) != own);
        own.into_iter().chain(more).collect()
    }

    /// An address for each family that has none yet. An update gives addresses only to a Service that had none, or a second one.
    fn addresses(&mut self, service: &mut Value, old: Option<&Value>, name: &str) -> Result<(), Refusal> {
        if service["spec"]["type"] == "ExternalName" {
            return Ok(());
        }
        let families: Vec<String> = texts(&service["spec"]["ipFamilies"]);
        let first = match old.map(|old| &old["spec"]) {
            None => 0,
            Some(before) if before["type"] == "ExternalName" => 0,
            Some(before) if before["clusterIPs"][0] == "None" || before["clusterIP"] == "None" => return Ok(()),
            Some(before) if texts(&before["ipFamilies"]).len() == 1 && families.len() == 2 => 1,
            Some(_) => return Ok(()),
        };
        let spec = &mut service["spec"];
        let mut ips = texts(&spec["clusterIPs"]);
        if ips.first().is_some_and(|ip| ip == "None") {
            return Ok(());
        }
        ips.resize(families.len().max(ips.len()), String::new());
        for (at, family) in families.iter().enumerate().skip(first) {
            ips[at] = self.address(family, &ips, at, name)?;
        }
        spec["clusterIP"] = ips.first().map_or(Value::Null, |ip| ip.as_str().into());
        spec["clusterIPs"] = ips.into();
        Ok(())
    }

    /// The address that stands at a place, or any.
    fn address(&mut self, family: &str, ips: &[String], at: usize, name: &str) -> Result<String, Refusal> {
        let ranges = self.ranges(family);
        let wanted = &ips[at];
        if wanted.is_empty() {
            let found = ranges.iter().find_map(|range| pick::address(range, |ip| self.free(Claim::Ip(ip))));
            let ip = found.ok_or_else(|| {
                Refusal::Internal(format!("failed to allocate a serviceIP for Service {name:?}: range is full"))
            })?;
            self.new.insert(Claim::Ip(ip));
            return Ok(ip.to_string());
        }
        // Its form has been judged.
        let Ok(ip) = wanted.parse::<IpAddr>() else { return Ok(wanted.clone()) };
        if self.had.contains(&Claim::Ip(ip)) {
            return Ok(wanted.clone());
        }
        let refuse = |why: &str| {
            let why = format!("failed to allocate IP {wanted}: {why}");
            Err(Refusal::Field(Cause::invalid("spec.clusterIPs", &json!(ips), &why)))
        };
        let within = |range: &IpNet| range.contains(&ip) && ip != range.network() && Some(ip) != broadcast(range);
        if !ranges.iter().any(within) {
            // kube-apiserver asks another allocator when nothing will be written.
            return match ranges.first().filter(|_| self.dry_run) {
                Some(range) => refuse(&format!(
                    "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
                )),
                None => refuse("the provided network does not match the current range"),
            };
        }
        if !self.free(Claim::Ip(ip)) {
            return refuse("provided IP is already allocated");
        }
        self.new.insert(Claim::Ip(ip));
        Ok(wanted.clone())
    }

    fn ports(&mut self, service: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
        let spec = &mut service["spec"];
        let gives = allocates_ports(spec);
        let checks = |spec: &Value| spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
        if spec["type"] == "NodePort" || spec["type"] == "LoadBalancer" {
            let ports = spec.get_mut("ports").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
            match old {
                None => self.first_ports(ports, gives)?,
                Some(_) => self.next_ports(ports, gives)?,
            }
        }
        if !checks(spec) || old.is_some_and(|old| checks(&old["spec"])) {
            return Ok(());
        }
        match spec["healthCheckNodePort"].as_i64().unwrap_or(0) {
            // It will be judged.
            ..0 => {}
            0 => {
                let free = self
                    .any_port()
                    .map_err(|why| Refusal::Internal(format!("failed to allocate a HealthCheck NodePort 0: {why}")))?;
                spec["healthCheckNodePort"] = free.into();
            }
            asked => self.this_port(asked).map_err(|why| {
                Refusal::Internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
            })?,
        }
        Ok(())
    }

    /// Of a new Service: ports of one number share their node port, as DNS over TCP and UDP does.
    fn first_ports(&mut self, ports: &mut [Value], gives: bool) -> Result<(), Refusal> {
        let mut chosen: HashMap<i64, i64> = HashMap::new();
        // Nothing of them has been judged, not even how many they are: each is looked at once.
        let mut named: HashMap<i64, i64> = HashMap::new();
        for port in ports.iter().filter(|port| node_port(port) > 0) {
            named.entry(port["port"].as_i64().unwrap_or(0)).or_insert(node_port(port));
        }
        for (at, port) in ports.iter_mut().enumerate() {
            let (number, asked) = (port["port"].as_i64().unwrap_or(0), node_port(port));
            // What is no port at all will be judged.
            if asked < 0 || asked == 0 && !gives {
                continue;
            }
            let given = match chosen.get(&number) {
                Some(given) if asked == 0 || asked == *given => *given,
                Some(_) => {
                    self.this_port(asked).map_err(|why| refused_port(at, asked, &why))?;
                    asked
                }
                None => {
                    let given = match named.get(&number).copied() {
                        Some(asked) => {
                            self.this_port(asked).map_err(|why| refused_port(at, asked, &why))?;
                            asked
                        }
                        None => self.any_node_port()?,
                    };
                    chosen.insert(number, given);
                    given
                }
            };
            port["nodePort"] = given.into();
        }
        Ok(())
    }

    /// Of a Service that was there: what it asks for anew, and a port for each that asks for none.
    fn next_ports(&mut self, ports: &mut [Value], gives: bool) -> Result<(), Refusal> {
        let mut present: HashSet<(i64, String)> = HashSet::new();
        for (at, port) in ports.iter_mut().enumerate() {
            let asked = node_port(port);
            if asked < 0 || asked == 0 && !gives {
                continue;
            }
            let held = u16::try_from(asked).is_ok_and(|asked| {
                let claim = Claim::Port(asked);
                self.had.contains(&claim) || self.new.contains(&claim)
            });
            if asked == 0 {
                port["nodePort"] = self.any_node_port()?.into();
            } else if !held {
                self.this_port(asked).map_err(|why| refused_port(at, asked, &why))?;
            }
            let this = (node_port(port), protocol(port).to_owned());
            if present.contains(&this) {
                return Err(Refusal::Plain(format!("duplicate nodePort: {{{} {}}}", this.1, this.0)));
            }
            present.insert(this);
        }
        Ok(())
    }

    fn any_node_port(&mut self) -> Result<i64, Refusal> {
        self.any_port().map_err(|why| Refusal::Internal(format!("failed to allocate a nodePort: {why}")))
    }

    fn any_port(&mut self) -> Result<i64, &'static str> {
        let free = pick::port(&self.allocator.ports, |p| self.free(Claim::Port(p))).ok_or("range is full")?;
        self.new.insert(Claim::Port(free));
        Ok(free.into())
    }

    /// Takes the port that the user asks for.
    fn this_port(&mut self, asked: i64) -> Result<(), String> {
        let range = &self.allocator.ports;
        let port = u16::try_from(asked).unwrap_or(0);
        if !range.contains(&port) {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start(),
                range.end()
            ));
        }
        if !self.free(Claim::Port(port)) {
            return Err("provided port is already allocated".into());
        }
        self.new.insert(Claim::Port(port));
        Ok(())
    }
}

fn refused_port(at: usize, asked: i64, why: &str) -> Refusal {
    Refusal::Field(Cause::invalid(format!("spec.ports[{at}].nodePort"), &asked.into(), why))
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The address of an IPv4 range that is everybody's.
fn broadcast(range: &IpNet) -> Option<IpAddr> {
    range.addr().is_ipv4().then(|| range.broadcast())
}
