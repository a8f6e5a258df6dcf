//! Prints `docs/api-table.md`.

fn main() {
    print!("{}", orlop_api::api_table());
}
