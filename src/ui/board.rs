//! The invitation on the screen: code, link, and what stands beside it.

use crate::events::Board;
use crate::ui::qr::{Cells, Modules};
use crate::ui::style::{Style, cut_at, one_line, wrapped};

/// A panel narrower than this holds no sentence.
const PANEL_AT_LEAST: usize = 24;

/// Wider does not read better.
const PANEL_AT_MOST: usize = 60;

/// Columns between the code and the panel. The quiet zone of the code is part of the code.
const GAP: usize = 2;

/// The code as rows of the terminal.
struct Code {
    rows: Vec<String>,
    columns: usize,
}

/// A board and its code, drawn once.
pub(super) struct Invitation {
    pub(super) board: Board,
    code: Option<Code>,
}

/// Where the code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// At the left of a panel of that many columns and rows.
    Beside {
        /// Columns of the panel.
        columns: usize,
        /// Rows of code and panel.
        rows: usize,
    },
    /// Alone above the link.
    Above,
    /// The window is too small for it, or no code is wanted.
    Text,
}

impl Invitation {
    /// Draws the code of `board`, or none if `cells` is none.
    pub(super) fn new(board: Board, cells: Option<Cells>) -> Self {
        let code = cells.and_then(|cells| {
            // A link too long for a code is shown as text.
            let modules = Modules::of(&board.link).ok()?;
            Some(Code { rows: modules.render(cells), columns: modules.size(cells).0 })
        });
        Invitation { board, code }
    }

    /// The rows of the code, for where nothing can be laid out.
    pub(super) fn code_rows(&self) -> &[String] {
        self.code.as_ref().map_or(&[], |code| &code.rows)
    }

    /// What fits `columns` x `rows`.
    pub(super) fn layout(&self, columns: usize, rows: usize) -> Layout {
        let Some(code) = &self.code else { return Layout::Text };
        let panel = columns.saturating_sub(code.columns + GAP).min(PANEL_AT_MOST);
        // One row at least stays for a question or the total.
        if panel >= PANEL_AT_LEAST && code.rows.len() < rows {
            return Layout::Beside { columns: panel, rows: code.rows.len() };
        }
        if columns >= code.columns && code.rows.len() + self.link(columns).len() < rows {
            return Layout::Above;
        }
        Layout::Text
    }

    /// The code with `panel` at its right.
    pub(super) fn beside(&self, panel: &[String]) -> Vec<String> {
        let side = |at: usize| panel.get(at).map_or("", String::as_str);
        let joined = |(at, row): (usize, &String)| match side(at) {
            "" => row.clone(),
            text => format!("{row}{:GAP$}{text}", ""),
        };
        self.code_rows().iter().enumerate().map(joined).collect()
    }

    /// The link, in one piece where it fits.
    pub(super) fn link(&self, columns: usize) -> Vec<String> {
        let mut rows = Vec::new();
        let mut rest = self.board.link.as_str();
        while !rest.is_empty() {
            let (row, after) = cut_at(rest, columns.max(1));
            rows.push(row.to_owned());
            rest = after;
        }
        rows
    }

    /// What to do about a window that is too small, if that is what is wrong.
    pub(super) fn too_small(&self) -> Option<String> {
        let code = self.code.as_ref()?;
        let rows = code.rows.len() + self.link(code.columns).len() + 1;
        Some(format!("make the window at least {} x {rows} to see the code", code.columns))
    }
}

/// The lines about this receiver: name, folder, network, addresses, key.
pub(super) fn status(board: &Board, style: Style, columns: usize) -> Vec<String> {
    const ADDRESSES: usize = 3;
    let fact = |label: &str, value: &str| {
        format!("{} {}", style.dim(&format!("{label:<8}")), one_line(value, columns.saturating_sub(9)))
    };
    let mut lines = vec![format!("{} {}", style.bold("qrdrop"), one_line(&board.name, columns.saturating_sub(7)))];
    lines.push(String::new());
    lines.extend(board.directory.as_deref().map(|path| fact("into", path)));
    lines.extend(board.offers.as_deref().map(|offers| fact("offers", offers)));
    lines.push(fact("network", &board.interface));
    lines.push(fact("address", &board.address.to_string()));
    let shown = if board.others.len() > ADDRESSES { ADDRESSES - 1 } else { board.others.len() };
    for (at, other) in board.others[..shown].iter().enumerate() {
        lines.push(fact(if at == 0 { "also" } else { "" }, &other.to_string()));
    }
    if shown < board.others.len() {
        lines.push(fact("", &format!("and {} more", board.others.len() - shown)));
    }
    lines.push(fact("key", &board.mark));
    if !board.discoverable {
        lines.push(fact("nearby", "not announced"));
    }
    lines.extend(warning(board, style, columns));
    lines
}

/// The sentence worth attention.
pub(super) fn warning(board: &Board, style: Style, columns: usize) -> Vec<String> {
    const ROWS: usize = 4;
    let text = board.warning.as_deref().map_or_else(String::new, |text| one_line(text, ROWS * columns));
    wrapped(&text, columns).into_iter().filter(|line| !line.is_empty()).map(|line| style.warn(&line)).collect()
}
