//! Where Services get their addresses from: one range, or one of each IP family, of which the first is the default.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

/// The value of `--service-cluster-ip-range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRanges {
    primary: IpNet,
    secondary: Option<IpNet>,
}

/// Why it cannot be used, in kube-apiserver's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceRangesError {
    /// One part is no network.
    #[error("service-cluster-ip-range[{0}] is not a valid cidr")]
    NoCidr(usize),
    /// More than one of each family.
    #[error("--service-cluster-ip-range must not contain more than two entries")]
    TooMany,
    /// Two of one family.
    #[error("--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family")]
    OneFamily,
}

impl ServiceRanges {
    /// The first range; its first address is the API server's own.
    pub fn primary(&self) -> IpNet {
        self.primary
    }

    /// The ranges, that of the default family first.
    pub fn all(&self) -> impl Iterator<Item = IpNet> {
        std::iter::once(self.primary).chain(self.secondary)
    }
}

impl From<IpNet> for ServiceRanges {
    fn from(range: IpNet) -> Self {
        Self { primary: range, secondary: None }
    }
}

impl FromStr for ServiceRanges {
    type Err = ServiceRangesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ranges = text.split(',').enumerate();
        let ranges: Vec<IpNet> = ranges
            .map(|(at, range)| range.trim().parse::<IpNet>().map_err(|_| ServiceRangesError::NoCidr(at)))
            .collect::<Result<_, _>>()?;
        match ranges[..] {
            [primary] => Ok(primary.trunc().into()),
            [primary, secondary] if primary.addr().is_ipv4() == secondary.addr().is_ipv4() => {
                Err(ServiceRangesError::OneFamily)
            }
            [primary, secondary] => Ok(Self { primary: primary.trunc(), secondary: Some(secondary.trunc()) }),
            _ => Err(ServiceRangesError::TooMany),
        }
    }
}

impl fmt::Display for ServiceRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.primary)?;
        self.secondary.map_or(Ok(()), |range| write!(f, ",{range}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_range_or_one_of_each_family() {
        let read = |text: &str| text.parse::<ServiceRanges>().map(|ranges| ranges.to_string());
        assert_eq!(read("10.96.0.0/12"), Ok("10.96.0.0/12".into()));
        assert_eq!(read("fd00::/108,10.96.0.0/12"), Ok("fd00::/108,10.96.0.0/12".into()));
        assert_eq!(read("10.96.0.0/12,10.0.0.0/16"), Err(ServiceRangesError::OneFamily));
        assert_eq!(read("10.96.0.0/12,x"), Err(ServiceRangesError::NoCidr(1)));
        assert_eq!(read("10.96.0.0/12,fd00::/108,fd01::/108"), Err(ServiceRangesError::TooMany));
    }
}
