//! `orlop explain`: asks the proxy of this network namespace what happens to a packet, and why.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::Args;
use orlop_proxy::Question;

/// Flags of `orlop explain`.
#[derive(Args)]
pub struct Flags {
    /// Where the packet goes: 10.96.0.10:80, [fd00::10]:80 or 10.96.0.10:53/UDP.
    to: String,
    /// Who sends it: a pod, a process of this node, or somebody outside.
    #[arg(long, default_value = "pod", value_parser = ["pod", "node", "outside"])]
    from: String,
    /// Its source address, where that matters (source ranges, an endpoint that calls itself).
    #[arg(long)]
    source: Option<String>,
    /// Where the proxy serves its metrics.
    #[arg(long, default_value = "127.0.0.1:10249")]
    agent: SocketAddr,
}

/// Prints the answer.
pub async fn run(flags: Flags) -> Result<()> {
    let question = Question::new(&flags.to, Some(&flags.from), flags.source.as_deref())?;
    let (status, text) = orlop_proxy::get(flags.agent, &format!("/explain?{}", question.query())).await?;
    if status != 200 {
        bail!("{}", text.trim());
    }
    print!("{text}");
    Ok(())
}
