//! Tables for a person.

use comfy_table::{CellAlignment, Table, presets};

use crate::foreign::harmless;

/// Lines up rows under headers; columns whose header ends with `>` align right.
pub(crate) fn table<R, C>(headers: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = C>,
    C: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headers.iter().map(|header| header.trim_end_matches('>')));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| harmless(&cell)));
    }
    for (column, header) in table.column_iter_mut().zip(headers) {
        column.set_padding((0, 2));
        if header.ends_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up_and_foreign_text_is_harmless() {
        let rows = [["a", "1"], ["long\u{1b}name", "1000"]].map(|row| row.map(str::to_owned));
        let text = table(&["NAME", "SIZE>"], rows);
        assert_eq!(
            text,
            "NAME       SIZE\na             1\nlong\u{FFFD}name  1000"
        );
    }
}
