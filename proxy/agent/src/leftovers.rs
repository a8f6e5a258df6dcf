//! What kube-proxy left in the kernel: its nftables table and its iptables chains would go on translating beside us.
//!
//! They are removed with the machine's own `nft` and `iptables`, which wrote them; where there is no such program there is
//! nothing to remove. Other people's rules are not touched.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

/// kube-proxy's chains by their whole names.
const CHAINS: [&str; 10] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT",
];
/// And those of one Service or endpoint by how they begin.
const PREFIXES: [&str; 6] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-"];

/// Removes it from the network namespace of this thread; gives what was removed, for the log, and what could not be.
pub(crate) fn remove() -> (Vec<String>, Vec<String>) {
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    for family in ["ip", "ip6"] {
        let tables = run("nft", &["list", "tables", family], None).unwrap_or_default();
        let table = format!("table {family} kube-proxy");
        if tables.lines().any(|line| line == table) {
            match run("nft", &["delete", "table", family, "kube-proxy"], None) {
                Ok(_) => removed.push(format!("nftables {table}")),
                Err(error) => errors.push(format!("nft delete {table}: {error}")),
            }
        }
    }
    for backend in ["", "-legacy", "-nft"] {
        for family in ["iptables", "ip6tables"] {
            let Ok(saved) = run(&format!("{family}{backend}-save"), &[], None) else { continue };
            let Some(script) = removal(&saved) else { continue };
            let restore = format!("{family}{backend}-restore");
            match run(&restore, &["--noflush"], Some(&script)) {
                Ok(_) => removed.push(format!("{family}{backend} chains of kube-proxy")),
                Err(error) => errors.push(format!("{restore}: {error}")),
            }
        }
    }
    (removed, errors)
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.unwrap_or_default().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn is_kube_proxys(chain: &str) -> bool {
    CHAINS.contains(&chain) || PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

/// What `iptables-restore --noflush` must read to take kube-proxy's chains out of what `iptables-save` printed; none if
/// there are none.
fn removal(saved: &str) -> Option<String> {
    let mut script = String::new();
    let mut table = "";
    let mut chains: BTreeSet<&str> = BTreeSet::new();
    let mut jumps: Vec<&str> = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            (table, chains, jumps) = (name, BTreeSet::new(), Vec::new());
        } else if let Some(chain) = line.strip_prefix(':') {
            chains.extend(chain.split(' ').next().filter(|chain| is_kube_proxys(chain)));
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let mut words = rule.split(' ');
            let from_others = words.next().is_some_and(|chain| !is_kube_proxys(chain));
            let to_ours = words.skip_while(|word| !matches!(*word, "-j" | "-g")).nth(1).is_some_and(is_kube_proxys);
            if from_others && to_ours {
                jumps.push(rule);
            }
        } else if line == "COMMIT" && !chains.is_empty() {
            script += &format!("*{table}\n");
            // Declaring a chain empties it: then none of them is in use any more.
            chains.iter().for_each(|chain| script += &format!(":{chain} - [0:0]\n"));
            jumps.iter().for_each(|rule| script += &format!("-D {rule}\n"));
            chains.iter().for_each(|chain| script += &format!("-X {chain}\n"));
            script += "COMMIT\n";
        }
    }
    (!script.is_empty()).then_some(script)
}

#[cfg(test)]
mod tests {
    use super::removal;

    #[test]
    fn chains_of_kube_proxy_and_the_rules_that_lead_to_them_go_and_all_others_stay() {
        let saved = "# Generated
*nat
:PREROUTING ACCEPT [5:300]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-TCOU7JCQXEZGVUNU - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:DOCKER - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A KUBE-SERVICES -d 10.96.0.10/32 -j KUBE-SVC-TCOU7JCQXEZGVUNU
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -j ACCEPT
COMMIT
";
        let script = "*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-TCOU7JCQXEZGVUNU - [0:0]
-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-X KUBE-SERVICES
-X KUBE-SVC-TCOU7JCQXEZGVUNU
COMMIT
";
        assert_eq!(removal(saved).as_deref(), Some(script));
        assert_eq!(removal(&saved.replace("KUBE-S", "CUBE-S")), None);
    }
}
