//! `orlop explain`: asks the proxy of this network namespace what happens to a packet, and why.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::Args;
use orlop_proxy::{FlowsQuestion, Question};

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
    /// Tell of the flow there is from this client, as in 10.244.0.7:43210: where it goes, since when, how much, its state.
    #[arg(long, conflicts_with = "flows")]
    flow: Option<String>,
    /// List flows that there are, no more than this many; --flows alone means 100.
    #[arg(long, num_args = 0..=1, default_missing_value = "100")]
    flows: Option<usize>,
    /// Where the proxy serves its metrics.
    #[arg(long, default_value = "127.0.0.1:10249")]
    agent: SocketAddr,
}

/// Prints the answer.
pub async fn run(flags: Flags) -> Result<()> {
    let page = match (flags.flows, flags.flow) {
        (Some(limit), _) => format!("/flows?{}", FlowsQuestion::new(&flags.to, Some(limit))?.query()),
        (None, flow) => {
            let question = Question::new(&flags.to, Some(&flags.from), flags.source.as_deref())?;
            let question = flow.map_or(Ok(question.clone()), |client| question.of_flow(&client))?;
            format!("/explain?{}", question.query())
        }
    };
    let (status, text) = orlop_proxy::get(flags.agent, &page).await?;
    if status != 200 {
        bail!("{}", text.trim());
    }
    print!("{text}");
    Ok(())
}
