//! One exchange of bytes between a caller and a server, as a line of text between processes.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Error, Result};

/// The time of all processes of a test.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What a caller sent and got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The name of its flow.
    pub flow: String,
    /// When it began, by [`now`].
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// The server's name and how it saw the caller's address, or what went wrong.
    pub answer: Result<(String, String), String>,
}

impl Exchange {
    /// How long it took.
    pub fn took(&self) -> Duration {
        self.ended.saturating_sub(self.began)
    }

    /// Who answered.
    pub fn server(&self) -> Option<&str> {
        self.answer.as_ref().ok().map(|(server, _)| server.as_str())
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.flow, self.began.as_micros(), self.ended.as_micros())?;
        match &self.answer {
            Ok((server, caller)) => write!(f, "ok {server} {caller}"),
            Err(problem) => write!(f, "failed {problem}"),
        }
    }
}

impl FromStr for Exchange {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let read = || {
            let mut words = line.splitn(5, ' ');
            let flow = words.next()?.to_owned();
            let began = Duration::from_micros(words.next()?.parse().ok()?);
            let ended = Duration::from_micros(words.next()?.parse().ok()?);
            let (outcome, text) = (words.next()?, words.next()?);
            let answer = match outcome {
                "ok" => text.split_once(' ').map(|(server, caller)| Ok((server.to_owned(), caller.to_owned())))?,
                _ => Err(text.to_owned()),
            };
            Some(Self { flow, began, ended, answer })
        };
        read().with_context(|| format!("{line:?} is no exchange"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_survives_its_line() {
        let (began, ended) = (Duration::from_micros(5), Duration::from_micros(1_700_000_000_000_001));
        for answer in
            [Ok(("pod-a:9000".to_owned(), "10.0.0.1:4".to_owned())), Err("reset by peer (os error 104)".into())]
        {
            let exchange = Exchange { flow: "short".into(), began, ended, answer };
            assert_eq!(exchange.to_string().parse::<Exchange>().unwrap(), exchange);
        }
        assert!("starting".parse::<Exchange>().is_err());
    }
}
