//! `orlop top services`: which Services have the traffic of this node, as the kernel counts it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

const PREFIX: &str = "orlop_service_";

/// Flags of `orlop top`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Service ports by connections per second.
    Services(Services),
}

#[derive(Args)]
struct Services {
    /// How many lines.
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: usize,
    /// Over how long the rates are taken.
    #[arg(long, default_value = "2s", value_parser = crate::flags::duration)]
    interval: Duration,
    /// Print one table and end.
    #[arg(long)]
    once: bool,
    /// Where the proxy serves its metrics.
    #[arg(long, default_value = "127.0.0.1:10249")]
    agent: SocketAddr,
}

/// Prints a table again and again, until it is interrupted; into a pipe once.
pub async fn run(flags: Flags) -> Result<()> {
    let What::Services(flags) = flags.what;
    let terminal = std::io::stdout().is_terminal();
    let mut before = scrape(&flags).await?;
    loop {
        tokio::time::sleep(flags.interval).await;
        let now = scrape(&flags).await?;
        let table = table(&before, &now, flags.lines);
        let mut out = std::io::stdout().lock();
        if terminal && !flags.once {
            write!(out, "\x1b[2J\x1b[H{table}")?;
        } else {
            write!(out, "{table}")?;
        }
        out.flush()?;
        drop(out);
        if flags.once || !terminal {
            return Ok(());
        }
        before = now;
    }
}

/// What one Service port has had so far; what its backend does not count is none.
#[derive(Clone, Default)]
struct Counts {
    connections: Option<f64>,
    packets: Option<f64>,
    bytes: Option<f64>,
    connects: Option<f64>,
    connect_seconds: Option<f64>,
}

struct Scrape {
    at: Instant,
    services: HashMap<String, Counts>,
}

async fn scrape(flags: &Services) -> Result<Scrape> {
    let (status, text) = orlop_proxy::get(flags.agent, "/metrics").await?;
    if status != 200 {
        bail!("{} answers {status} to /metrics: {}", flags.agent, text.trim());
    }
    Ok(Scrape { at: Instant::now(), services: parse(&text) })
}

fn parse(text: &str) -> HashMap<String, Counts> {
    let mut services: HashMap<String, Counts> = HashMap::new();
    for line in text.lines() {
        let Some((metric, rest)) = line.strip_prefix(PREFIX).and_then(|line| line.split_once('{')) else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let counts = services.entry(name(labels)).or_default();
        let field = match metric {
            "connections_total" => &mut counts.connections,
            "packets_total" => &mut counts.packets,
            "bytes_total" => &mut counts.bytes,
            "connects_total" => &mut counts.connects,
            "connect_seconds_total" => &mut counts.connect_seconds,
            _ => continue,
        };
        *field = Some(value);
    }
    services
}

/// `namespace/service:port`, from labels whose values hold nothing to escape: they are names of Kubernetes.
fn name(labels: &str) -> String {
    let get = |key: &str| {
        let found = labels.split(',').find_map(|label| label.strip_prefix(key)?.strip_prefix("=\"")?.strip_suffix('"'));
        found.unwrap_or_default().to_owned()
    };
    let (namespace, service, port) = (get("namespace"), get("service"), get("port"));
    let namespace = if namespace.is_empty() { namespace } else { namespace + "/" };
    let port = if port.is_empty() { port } else { format!(":{port}") };
    format!("{namespace}{service}{port}")
}

fn table(before: &Scrape, now: &Scrape, lines: usize) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let nothing = Counts::default();
    let rate = |now: Option<f64>, before: Option<f64>| now.map(|now| (now - before.unwrap_or(0.0)).max(0.0) / seconds);
    let mut rows: Vec<_> = now
        .services
        .iter()
        .map(|(name, counts)| {
            let old = before.services.get(name).unwrap_or(&nothing);
            let rates = [
                rate(counts.connections, old.connections),
                rate(counts.packets, old.packets),
                rate(counts.bytes, old.bytes),
            ];
            let measured = counts.connect_seconds.zip(counts.connects.filter(|count| *count > 0.0));
            let took = measured.map(|(sum, count)| sum / count * 1000.0);
            (name, rates, counts.connections, took)
        })
        .collect();
    rows.sort_by(|a, b| {
        let key = |row: &(&String, [Option<f64>; 3], Option<f64>, Option<f64>)| row.1[0].or(row.1[1]).unwrap_or(0.0);
        key(b).total_cmp(&key(a)).then(b.2.unwrap_or(0.0).total_cmp(&a.2.unwrap_or(0.0))).then(a.0.cmp(b.0))
    });
    let mut text = format!(
        "{:<48} {:>10} {:>10} {:>12} {:>12} {:>12}\n",
        "SERVICE", "CONNS/S", "PACKETS/S", "BYTES/S", "CONNECTIONS", "CONNECT MS"
    );
    let shown = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    for (name, [connections, packets, bytes], total, took) in rows.into_iter().take(lines) {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{name:<48} {:>10} {:>10} {:>12} {:>12} {:>12}",
            shown(connections, 1),
            shown(packets, 1),
            shown(bytes, 0),
            shown(total, 0),
            shown(took, 2)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_service_comes_first_and_what_is_not_counted_is_a_dash() {
        let scrape = |web: u32, dns: u32, seconds: u64| {
            let text = format!(
                "# TYPE orlop_service_connections counter\n\
                 orlop_service_connections_total{{namespace=\"default\",service=\"web\",port=\"http\"}} {web}\n\
                 orlop_service_connections_total{{namespace=\"kube-system\",service=\"kube-dns\",port=\"\"}} {dns}\n\
                 orlop_service_bytes_total{{namespace=\"default\",service=\"web\",port=\"http\"}} 5e3\n"
            );
            Scrape { at: Instant::now() + Duration::from_secs(seconds), services: parse(&text) }
        };
        let table = table(&scrape(100, 0, 0), &scrape(110, 60, 10), 20);
        let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["kube-system/kube-dns", "6.0", "-", "-", "60", "-"]);
        assert_eq!(rows[1], ["default/web:http", "1.0", "-", "0", "110", "-"]);
    }
}
