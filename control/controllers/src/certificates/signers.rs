//! Kubernetes' own signers and what each of them signs (`pkg/controller/certificates/signer`, `pkg/apis/certificates/helpers.go`).

use orlop_auth::pki::CertificateRequest;

pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// Whether the signer is one of these.
pub(super) fn is_ours(signer: &str) -> bool {
    matches!(signer, CLIENT | KUBELET_CLIENT | KUBELET_SERVING)
}

/// Why a signer does not sign a request, in kube-controller-manager's words.
pub(super) fn check(signer: &str, asked: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    match signer {
        CLIENT => {
            let allowed = ["digital signature", "key encipherment", "client auth"];
            let known = usages.iter().all(|usage| allowed.contains(&usage.as_str()));
            if known && usages.iter().any(|usage| usage == "client auth") {
                return Ok(());
            }
            Err("usages did not match [client auth digital signature key encipherment]".to_owned())
        }
        KUBELET_CLIENT => {
            nodes_only(asked)?;
            for (there, what) in [
                (!asked.names.is_empty(), "DNS subjectAltNames are not allowed"),
                (!asked.emails.is_empty(), "Email subjectAltNames are not allowed"),
                (!asked.addresses.is_empty(), "IP subjectAltNames are not allowed"),
                (!asked.uris.is_empty(), "URI subjectAltNames are not allowed"),
            ] {
                if there {
                    return Err(what.to_owned());
                }
            }
            node_name(asked)?;
            exactly(usages, "client auth")
        }
        KUBELET_SERVING => {
            nodes_only(asked)?;
            if asked.names.is_empty() && asked.addresses.is_empty() {
                return Err("DNS or IP subjectAltName is required".to_owned());
            }
            if !asked.emails.is_empty() {
                return Err("Email subjectAltNames are not allowed".to_owned());
            }
            if !asked.uris.is_empty() {
                return Err("URI subjectAltNames are not allowed".to_owned());
            }
            exactly(usages, "server auth")?;
            node_name(asked)
        }
        _ => Err(format!("no signer {signer} here")),
    }
}

fn nodes_only(asked: &CertificateRequest) -> Result<(), String> {
    match asked.organizations.as_slice() {
        [group] if group == "system:nodes" => Ok(()),
        _ => Err("subject organization is not system:nodes".to_owned()),
    }
}

fn node_name(asked: &CertificateRequest) -> Result<(), String> {
    match asked.common_name.strip_prefix("system:node:") {
        Some(_) => Ok(()),
        None => Err("subject common name does not begin with system:node:".to_owned()),
    }
}

/// The usages of a kubelet's certificate, with or without key encipherment (elliptic keys need none).
fn exactly(usages: &[String], role: &str) -> Result<(), String> {
    let mut sorted: Vec<&str> =
        usages.iter().map(String::as_str).filter(|usage| *usage != "key encipherment").collect();
    sorted.sort_unstable();
    let mut wanted = [role, "digital signature"];
    wanted.sort_unstable();
    if sorted == wanted {
        return Ok(());
    }
    let mut all = [role, "digital signature", "key encipherment"];
    all.sort_unstable();
    Err(format!("usages did not match [{}]", all.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubelet() -> CertificateRequest {
        CertificateRequest {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..CertificateRequest::default()
        }
    }

    fn usages(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    // TestValidateKubeletClientCSR, TestValidateKubeletServingCSR
    #[test]
    fn kubelets_get_what_kubelets_need() {
        let client = usages(&["client auth", "digital signature", "key encipherment"]);
        assert_eq!(check(KUBELET_CLIENT, &kubelet(), &client), Ok(()));
        assert_eq!(check(KUBELET_CLIENT, &kubelet(), &client[..2]), Ok(()));
        assert!(check(KUBELET_CLIENT, &kubelet(), &usages(&["server auth"])).is_err());
        let named = CertificateRequest { names: vec!["x".into()], ..kubelet() };
        assert_eq!(check(KUBELET_CLIENT, &named, &client), Err("DNS subjectAltNames are not allowed".into()));
        let other = CertificateRequest { organizations: vec!["system:masters".into()], ..kubelet() };
        assert!(check(KUBELET_CLIENT, &other, &client).is_err());
        let server = usages(&["server auth", "digital signature"]);
        assert_eq!(check(KUBELET_SERVING, &named, &server), Ok(()));
        assert!(check(KUBELET_SERVING, &kubelet(), &server).is_err());
    }

    #[test]
    fn clients_get_client_certificates() {
        let anybody = CertificateRequest { common_name: "jane".into(), ..CertificateRequest::default() };
        assert_eq!(check(CLIENT, &anybody, &usages(&["client auth"])), Ok(()));
        assert!(check(CLIENT, &anybody, &usages(&["client auth", "server auth"])).is_err());
        assert!(check(CLIENT, &anybody, &usages(&["digital signature"])).is_err());
    }
}
