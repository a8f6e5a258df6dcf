//! The keys of a cluster: made once, kept, and naming the right users.
#![allow(missing_docs, clippy::unwrap_used)]

use orlop_auth::pki::{ClusterPki, Subject, Usage, kubeconfig};
use orlop_auth::{BoundObject, TokenAuthority, TokenRequest, user_of_certificate};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::os::unix::fs::PermissionsExt as _;

fn scratch(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("orlop-auth-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn a_client_certificate_names_its_user_and_group() {
    let dir = scratch("client");
    let pki = ClusterPki::open(&dir).unwrap();
    let issued = pki.ca().issue(&Subject::new("system:node:node1", &["system:nodes"]), &Usage::Client).unwrap();
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let user = user_of_certificate(&der).unwrap();
    assert_eq!(user.name, "system:node:node1");
    assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn keys_are_made_once_and_only_the_owner_can_read_them() {
    let dir = scratch("once");
    let first = ClusterPki::open(&dir).unwrap().ca().certificate().to_owned();
    let pki = ClusterPki::open(&dir).unwrap();
    assert_eq!(first, pki.ca().certificate());
    pki.apiserver(&["node1"], &["172.30.0.11".parse().unwrap()]).unwrap();
    kubeconfig(&pki, "orlop", "https://127.0.0.1:6443", &Subject::new("admin", &["system:masters"]), &dir.join("k"))
        .unwrap();
    for file in ["ca.key", "sa.key", "apiserver.key", "k"] {
        let mode = std::fs::metadata(dir.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

fn request(now: i64) -> TokenRequest {
    TokenRequest {
        namespace: "default".into(),
        service_account: BoundObject { name: "web".into(), uid: "u1".into() },
        pod: Some(BoundObject { name: "web-0".into(), uid: "p1".into() }),
        secret: None,
        node: None,
        audiences: vec![],
        seconds: 600,
        now,
        id: "id".into(),
    }
}

#[test]
fn a_token_speaks_for_its_service_account_until_it_expires() {
    let dir = scratch("token");
    let pki = ClusterPki::open(&dir).unwrap();
    let (key, public) = (pki.service_account_key().unwrap(), pki.service_account_public_key().unwrap());
    let authority = TokenAuthority::new("https://kubernetes.default.svc.cluster.local", &key, &public).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let token = authority.sign(request(now)).unwrap();
    let claims = authority.verify(&token, &[]).unwrap();
    assert_eq!(claims.user().name, "system:serviceaccount:default:web");
    assert!(claims.user().groups.contains(&"system:serviceaccounts:default".to_owned()));
    assert_eq!(claims.user().extra["authentication.kubernetes.io/pod-name"], ["web-0"]);

    assert!(authority.verify(&token, &["vault".into()]).is_err(), "another audience");
    let old = authority.sign(request(now - 3600)).unwrap();
    assert!(authority.verify(&old, &[]).is_err(), "expired");
    assert_eq!(authority.verify(&token, &[]).unwrap(), claims, "once more");
    let short = authority.sign(request(now - 598)).unwrap();
    assert!(authority.verify(&short, &[]).is_ok(), "until it expires");
    std::thread::sleep(std::time::Duration::from_millis(3_100));
    assert!(authority.verify(&short, &[]).is_err(), "known, and expired since");
    let mut forged = token.clone();
    forged.replace_range(token.len() - 6..token.len() - 4, "AA");
    assert!(authority.verify(&forged, &[]).is_err(), "forged");
    let stranger = scratch("stranger");
    let other = ClusterPki::open(&stranger).unwrap();
    let other = TokenAuthority::new(
        "https://kubernetes.default.svc.cluster.local",
        &other.service_account_key().unwrap(),
        &other.service_account_public_key().unwrap(),
    )
    .unwrap();
    assert!(authority.verify(&other.sign(request(now)).unwrap(), &[]).is_err(), "another cluster's key");
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::remove_dir_all(stranger).unwrap();
}

#[test]
fn a_certificate_is_good_until_it_expires_even_while_its_connection_lasts() {
    use orlop_auth::ClientCertificates;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let now = std::time::SystemTime::now;
    let second = std::time::Duration::from_secs(1);
    let issue = |until: std::time::SystemTime| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "eve");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = until.into();
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone()
    };
    let certificates = ClientCertificates::of(&authority_pem).unwrap();
    let certified = certificates.certified(&[issue(now() + 2 * second)]).expect("it is good now");
    assert_eq!(certified.user().expect("still good").name, "eve");
    assert!(certificates.certified(&[issue(now() - second)]).is_none(), "expired");
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(certified.user().is_none(), "expired meanwhile");
    let other =
        ClientCertificates::of(&CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap().pem())
            .unwrap();
    assert!(other.certified(&[issue(now() + 60 * second)]).is_none(), "of another authority");
    assert!(ClientCertificates::of("").is_err());
}
