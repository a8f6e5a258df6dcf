//! What a debugger is told of the priority levels: a table as Go's `tabwriter` writes it.

/// Cells are at least so wide.
const WIDTH: usize = 8;

/// Rows of cells with commas between, each column as wide as its widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.len() + 2).max();
    let widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or_default().max(WIDTH)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match column + 1 == row.len() {
                true => text.push_str(cell),
                false => text.push_str(&format!("{:<width$}", format!("{cell},"), width = widths[column])),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["PriorityLevelName", "IsIdle", "Waiting"], ["catch-all", "true", "0"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "PriorityLevelName, IsIdle, Waiting\ncatch-all,         true,   0\n");
    }
}
