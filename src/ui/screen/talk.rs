//! The screen of a room: what was said goes above, the line that is typed stays below.

use crossterm::event::KeyEvent;
use tokio::sync::mpsc;

use crate::ui::board::Layout;
use crate::ui::editor::{Editor, Typed};
use crate::ui::screen::region::fit;
use crate::ui::screen::{Effect, Screen};
use crate::ui::style::one_line;
use crate::ui::terminal::Size;

/// Bars of transfers that are shown at once.
const BARS: usize = 4;

/// Candidates that are shown at once.
const CANDIDATES: usize = 40;

/// A person who types lines.
pub(super) struct Talk {
    editor: Editor,
    lines: mpsc::Sender<String>,
    status: String,
    /// Whether the code is on the screen, where there is one.
    code: bool,
}

impl Talk {
    /// Whether nobody wants another line.
    pub(super) fn is_over(&self) -> bool {
        self.lines.is_closed()
    }
}

impl Screen {
    /// From now on lines are typed, which go to `lines`. `false` where none can be.
    pub(in crate::ui) fn talk(&mut self, lines: mpsc::Sender<String>) -> bool {
        if self.live {
            // From here on keys are letters of a line.
            self.clipping = None;
            self.talk = Some(Talk { editor: Editor::default(), lines, status: String::new(), code: true });
        }
        self.live
    }

    /// Shows the code or puts it away.
    pub(in crate::ui) fn show_code(&mut self, shown: Option<bool>) {
        if let Some(talk) = &mut self.talk {
            talk.code = shown.unwrap_or(!talk.code);
        }
    }

    /// What stands above the line.
    pub(in crate::ui) fn room(&mut self, status: String) {
        if let Some(talk) = &mut self.talk {
            talk.status = status;
        }
    }

    /// A key for the line.
    pub(super) fn typed(&mut self, key: KeyEvent) -> Effect {
        let Some(talk) = &mut self.talk else { return Effect::None };
        match talk.editor.key(key) {
            Typed::Edited => {}
            // A full queue means that nobody deals with lines any more: the program is leaving.
            Typed::Line(line) => _ = talk.lines.try_send(line),
            Typed::Complete(before) => return Effect::Complete(before),
            Typed::End => _ = talk.lines.try_send("/quit".to_owned()),
        }
        Effect::None
    }

    /// What the line may go on with.
    pub(in crate::ui) fn complete(&mut self, before: &str, candidates: Vec<String>) {
        let Some(talk) = &mut self.talk else { return };
        let several = talk.editor.complete(before, candidates);
        if !several.is_empty() {
            let more = several.len().saturating_sub(CANDIDATES);
            let last =
                |line: &String| one_line(line.rsplit([' ', '/']).find(|part| !part.is_empty()).unwrap_or(line), 60);
            let mut shown: Vec<String> = several.iter().take(CANDIDATES).map(last).collect();
            if more > 0 {
                shown.push(format!("and {more} more"));
            }
            self.say(shown.join("  "));
        }
    }

    /// The region while no question is there.
    pub(super) fn talking(&mut self, (columns, rows): Size) -> Vec<String> {
        let Some(talk) = &self.talk else { return Vec::new() };
        let line = talk.editor.row(self.style, columns);
        let status = one_line(&talk.status, columns);
        let layout = match &self.invitation {
            Some(invitation) if talk.code && !self.hidden => invitation.layout(columns, rows),
            _ => Layout::Text,
        };
        let mut region = match (layout, &self.invitation) {
            (Layout::Beside { columns: panel, rows: high }, _) => self.beside((columns, rows), panel, high, Some(line)),
            (Layout::Above, Some(invitation)) => {
                let mut region = invitation.code_rows().to_vec();
                region.push(line);
                region
            }
            _ => {
                let mut region = self.transfers.lines(self.style, columns, BARS.min(rows.saturating_sub(2)));
                region.extend(self.transfers.total_line(self.style, columns));
                region.push(self.style.dim(&status));
                region.push(line);
                region
            }
        };
        fit(&mut region, (columns, rows));
        region
    }
}
