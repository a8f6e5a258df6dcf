//! The table as it is read.

const TABLE: &str = include_str!("table.txt");
pub const ORIGINS: [&str; 3] = ["node", "pod", "outside"];

/// A row of the table.
pub struct Row {
    pub frontend: &'static str,
    pub policy: &'static str,
    pub endpoints: &'static str,
    /// By [`ORIGINS`].
    pub cells: [&'static str; 3],
}

pub fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let row = |line: &'static str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [frontend, policy, endpoints, node, pod, outside] = words[..] else { panic!("{line:?} has six words") };
        Row { frontend, policy, endpoints, cells: [node, pod, outside] }
    };
    lines.map(row).collect()
}
