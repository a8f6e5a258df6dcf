//! The variables that name a namespace's Services: `{NAME}_SERVICE_HOST`, `_SERVICE_PORT`, and Docker's link variables. Pure.

/// What the variables need of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    pub namespace: String,
    pub name: String,
    pub cluster_ip: String,
    /// Port name (may be empty), protocol, port.
    pub ports: Vec<(String, String, i32)>,
}

/// The variables of the Services that a pod in `namespace` sees. Those of the API server's own Service are always there; the
/// others when `enableServiceLinks` says so.
pub fn service_variables<'a>(
    services: impl Iterator<Item = &'a ServiceView>,
    namespace: &str,
    enable_service_links: bool,
) -> Vec<(String, String)> {
    let mut chosen: Vec<&ServiceView> = Vec::new();
    for service in services.filter(|service| has_address(service) && !service.ports.is_empty()) {
        let own = service.namespace == namespace;
        let api = service.namespace == "default" && service.name == "kubernetes";
        if (own && enable_service_links) || api {
            // A Service called `kubernetes` in the pod's own namespace wins, where links are wanted.
            let same = chosen.iter().position(|present| present.name == service.name);
            match same {
                Some(at) if own && enable_service_links => chosen[at] = service,
                Some(_) => {}
                None => chosen.push(service),
            }
        }
    }
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    chosen.into_iter().flat_map(variables).collect()
}

fn has_address(service: &ServiceView) -> bool {
    !service.cluster_ip.is_empty() && service.cluster_ip != "None"
}

fn variables(service: &ServiceView) -> Vec<(String, String)> {
    let prefix = upper(&service.name);
    let ip = &service.cluster_ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let mut variables = Vec::new();
    let mut set = |name: String, value: String| variables.push((name, value));
    let Some((_, first_protocol, first_port)) = service.ports.first() else { return variables };
    set(format!("{prefix}_SERVICE_HOST"), ip.clone());
    set(format!("{prefix}_SERVICE_PORT"), first_port.to_string());
    for (name, _, port) in service.ports.iter().filter(|(name, ..)| !name.is_empty()) {
        set(format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.to_string());
    }
    set(format!("{prefix}_PORT"), format!("{}://{host}:{first_port}", first_protocol.to_lowercase()));
    for (_, protocol, port) in &service.ports {
        let link = format!("{prefix}_PORT_{port}_{protocol}");
        set(link.clone(), format!("{}://{host}:{port}", protocol.to_lowercase()));
        set(format!("{link}_PROTO"), protocol.to_lowercase());
        set(format!("{link}_PORT"), port.to_string());
        set(format!("{link}_ADDR"), ip.clone());
    }
    variables
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, ip: &str) -> ServiceView {
        ServiceView {
            namespace: namespace.into(),
            name: name.into(),
            cluster_ip: ip.into(),
            ports: vec![("http".into(), "TCP".into(), 80), (String::new(), "UDP".into(), 53)],
        }
    }

    #[test]
    fn a_service_is_described_in_both_styles() {
        let services = [service("default", "my-web", "10.96.0.7")];
        let variables: std::collections::BTreeMap<_, _> =
            service_variables(services.iter(), "default", true).into_iter().collect();
        for (name, value) in [
            ("MY_WEB_SERVICE_HOST", "10.96.0.7"),
            ("MY_WEB_SERVICE_PORT", "80"),
            ("MY_WEB_SERVICE_PORT_HTTP", "80"),
            ("MY_WEB_PORT", "tcp://10.96.0.7:80"),
            ("MY_WEB_PORT_53_UDP", "udp://10.96.0.7:53"),
            ("MY_WEB_PORT_80_TCP_PROTO", "tcp"),
            ("MY_WEB_PORT_80_TCP_ADDR", "10.96.0.7"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn a_pod_sees_its_own_namespace_and_always_the_api_server() {
        let services = [
            service("default", "kubernetes", "10.96.0.1"),
            service("default", "web", "10.96.0.2"),
            service("shop", "cart", "10.96.0.3"),
            service("shop", "headless", "None"),
        ];
        let hosts = |namespace, links| -> Vec<String> {
            let variables = service_variables(services.iter(), namespace, links);
            variables.into_iter().filter(|(name, _)| name.ends_with("_HOST")).map(|(name, _)| name).collect()
        };
        assert_eq!(hosts("shop", true), ["CART_SERVICE_HOST", "KUBERNETES_SERVICE_HOST"]);
        assert_eq!(hosts("shop", false), ["KUBERNETES_SERVICE_HOST"]);
        assert_eq!(hosts("default", true), ["KUBERNETES_SERVICE_HOST", "WEB_SERVICE_HOST"]);
    }
}
