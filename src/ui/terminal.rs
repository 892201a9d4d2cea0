//! Standard error as a terminal: a region at its end that is repainted by difference, and raw mode.
//!
//! The region never scrolls. Log lines are written over its first rows and the region is drawn again below them, in
//! one write and without clearing anything first, so nothing flickers. The cursor rests at the beginning of its last
//! row, so a region may be as high as the screen.

use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use console::measure_text_width;
use data_encoding::BASE64;

use crate::ui::style::{Surroundings, to_ascii};

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
/// Synchronised output: a terminal that knows it shows the whole frame at once; the others ignore it.
const BEGIN_FRAME: &str = "\x1b[?2026h";
const END_FRAME: &str = "\x1b[?2026l";

/// Rows of the region are cut at the edge instead of wrapped: terminals differ about the width of emoji, and one row too
/// many would scroll the code.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Columns and rows.
pub(super) type Size = (usize, usize);

/// The size of the controlling terminal; 80 x 24 where it does not say.
///
/// Asked of the system alone: where there is no terminal, `crossterm::terminal::size` runs `tput` twice.
pub(super) fn size() -> Size {
    #[cfg(unix)]
    let size = crossterm::terminal::window_size().map(|window| (window.columns, window.rows));
    #[cfg(not(unix))]
    let size = crossterm::terminal::size();
    match size {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (usize::from(columns), usize::from(rows)),
        _ => (80, 24),
    }
}

/// Where everything for people is written.
pub(super) struct Canvas<W> {
    out: W,
    /// Whether the cursor may be moved; without, only log lines are written.
    live: bool,
    utf8: bool,
    /// In raw mode a line feed does not return to the first column.
    line_end: &'static str,
    region: Vec<String>,
    size: Size,
}

impl<W: Write> Canvas<W> {
    pub(super) fn new(out: W, live: bool, around: &Surroundings) -> Self {
        let line_end = if around.terminal { "\r\n" } else { "\n" };
        Canvas { out, live, utf8: around.utf8, line_end, region: Vec::new(), size: (0, 0) }
    }

    /// Writes `log` above the region and makes the region `rows`. Errors are left alone: when standard error is closed
    /// there is nobody to tell.
    pub(super) fn paint(&mut self, log: &[String], mut rows: Vec<String>, size: Size) {
        if !self.utf8 {
            rows.iter_mut().for_each(|row| *row = to_ascii(row));
        }
        let mut frame = String::new();
        if !self.live {
            for line in log {
                frame.push_str(&self.shown(line));
                frame.push_str(self.line_end);
            }
        } else if !log.is_empty() || rows != self.region || size != self.size {
            frame.push_str(BEGIN_FRAME);
            if log.is_empty() && rows.len() == self.region.len() && size == self.size {
                self.patch(&rows, &mut frame);
            } else {
                self.redraw(log, &rows, size, &mut frame);
            }
            frame.push_str(END_FRAME);
            self.region = rows;
            self.size = size;
        }
        if !frame.is_empty() {
            self.write(&frame);
        }
    }

    /// From now on only log lines; what is drawn stays where it is.
    pub(super) fn give_up_region(&mut self) {
        self.live = false;
        self.region.clear();
    }

    /// Hands `text` to the clipboard of the terminal, wherever that is: OSC 52 of xterm's control sequences, which holds
    /// nothing but base64. Terminals that do not know it ignore it.
    pub(super) fn copy(&mut self, text: &str) {
        self.write(&format!("\x1b]52;c;{}\x07", BASE64.encode(text.as_bytes())));
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    fn shown(&self, line: &str) -> String {
        if self.utf8 { line.to_owned() } else { to_ascii(line) }
    }

    /// To the first column of the region's first row, also if the terminal broke its rows since they were drawn.
    fn to_top(&self, now: Size) -> String {
        let columns = now.0.max(1);
        let above = self.region.len().saturating_sub(1);
        match self.region[..above].iter().map(|row| measure_text_width(row).div_ceil(columns).max(1)).sum() {
            0 => "\r".into(),
            rows => format!("\r\x1b[{rows}A"),
        }
    }

    /// Only the rows that differ.
    fn patch(&self, rows: &[String], frame: &mut String) {
        frame.push_str(&self.to_top(self.size));
        let mut at = 0;
        for (row, text) in rows.iter().enumerate().filter(|(row, text)| self.region[*row] != **text) {
            down(row - at, frame);
            at = row;
            put_row(text, self.size.0, frame);
            frame.push('\r');
        }
        down(rows.len() - 1 - at, frame);
    }

    fn redraw(&self, log: &[String], rows: &[String], size: Size, frame: &mut String) {
        frame.push_str(&self.to_top(size));
        if size != self.size {
            // What the terminal made of the old rows is unknown; this is the one time that something is cleared first.
            frame.push_str("\x1b[J");
        }
        for line in log {
            // Wraps as it likes: it is above everything that has its place. Cleared to the end, for it covers old rows.
            frame.push_str(&self.shown(line));
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str(if rows.is_empty() { SHOW_CURSOR } else { HIDE_CURSOR });
        for (at, text) in rows.iter().enumerate() {
            if at > 0 {
                frame.push_str("\r\n");
            }
            if at + 1 == rows.len() {
                // Below may be the rest of a higher region.
                frame.push_str("\x1b[J");
            }
            put_row(text, size.0, frame);
        }
        frame.push_str(if rows.is_empty() { "\x1b[J" } else { "\r" });
    }
}

#[cfg(test)]
impl Canvas<Vec<u8>> {
    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

fn down(rows: usize, frame: &mut String) {
    if rows > 0 {
        frame.push_str(&format!("\x1b[{rows}B"));
    }
}

fn put_row(text: &str, columns: usize, frame: &mut String) {
    frame.push_str(NO_WRAP);
    frame.push_str(text);
    frame.push_str(WRAP);
    // Behind a full row the cursor still stands on its last cell, which this would clear.
    if measure_text_width(text) < columns {
        frame.push_str("\x1b[K");
    }
}

/// Whether the terminal is in raw mode because of us.
static RAW: AtomicBool = AtomicBool::new(false);

/// Set by the panic hook: from then on there are only lines, and no key is read.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Raw mode on; `false` where the terminal refuses.
pub(super) fn enter_raw() -> bool {
    if !panicked() && crossterm::terminal::enable_raw_mode().is_ok() {
        RAW.store(true, Ordering::SeqCst);
    }
    RAW.load(Ordering::SeqCst)
}

/// Raw mode off, if it is on.
pub(super) fn leave_raw() {
    if RAW.swap(false, Ordering::SeqCst) {
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

pub(super) fn panicked() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

/// Gives the terminal back before a panic is told, whichever thread it comes from.
pub(super) fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.store(true, Ordering::SeqCst);
            if RAW.load(Ordering::SeqCst) {
                leave_raw();
                let _ = io::stderr().write_all(format!("\r\n{SHOW_CURSOR}").as_bytes());
            }
            before(panic);
        }));
    });
}
