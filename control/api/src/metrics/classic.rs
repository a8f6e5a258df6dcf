//! The older text format (`text/plain; version=0.0.4`), which kube-apiserver writes unless it is asked for OpenMetrics: a counter's family
//! carries the `_total` of its samples, whole numbers have no fraction, and nothing stands at the end.

/// Families that are counters under names that OpenMetrics does not allow for one.
const COUNTERS: [&str; 4] = [
    "authenticated_user_requests",
    "authentication_attempts",
    "apiserver_admission_webhook_rejection_count",
    "apiserver_admission_webhook_fail_open_count",
];

/// From OpenMetrics.
pub(super) fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            let kind = match kind {
                _ if COUNTERS.contains(&name) => "counter",
                "unknown" => "untyped",
                kind => kind,
            };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                out += &format!("# HELP {name}{total} {words}\n");
            }
            out += &format!("# TYPE {name}{total} {kind}\n");
        } else if !line.starts_with('#') {
            sample(line, &mut out);
        }
    }
    out
}

/// A sample; the bound of a bucket is written as Go writes it: `1`, not `1.0`.
fn sample(line: &str, out: &mut String) {
    let bound = line.rfind("le=\"").map(|at| at + 4).filter(|at| line[..*at].contains("_bucket{"));
    let end = bound.and_then(|at| Some(at + line[at..].find('"')?));
    match (bound, end) {
        (Some(at), Some(end)) if line[at..end].ends_with(".0") => {
            out.push_str(&line[..end - 2]);
            out.push_str(&line[end..]);
        }
        _ => out.push_str(line),
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn a_counter_s_family_is_called_as_its_samples_are() {
        let new = "# HELP a_requests Requests.\n# TYPE a_requests counter\na_requests_total{x=\"1\"} 3\n\
            # HELP authentication_attempts Attempts.\n# TYPE authentication_attempts gauge\nauthentication_attempts 2\n\
            # HELP t_seconds Time.\n# TYPE t_seconds histogram\n# UNIT t_seconds seconds\nt_seconds_bucket{le=\"1.0\",v=\"2.0\"} 1\nt_seconds_sum 0.5\n# EOF\n";
        let old = "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\na_requests_total{x=\"1\"} 3\n\
            # HELP authentication_attempts Attempts.\n# TYPE authentication_attempts counter\nauthentication_attempts 2\n\
            # HELP t_seconds Time.\n# TYPE t_seconds histogram\nt_seconds_bucket{le=\"1\",v=\"2.0\"} 1\nt_seconds_sum 0.5\n";
        assert_eq!(classic(new), old);
    }
}
