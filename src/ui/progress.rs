//! Running transfers: one line each and a total.
//!
//! indicatif measures (rate, time left) and draws, each bar onto a surface of one line in memory; where the lines go
//! on the screen is decided by `screen`, because they share it with the code, which must not scroll or flicker.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use crate::events::{Event, Offer};
use crate::names::{human_bytes, human_duration, human_rate};
use crate::ui::prompt::{called, contents};
use crate::ui::style::{Style, grouped, one_line, padded};

/// Offers remembered while their fate is open; the core ends each one, so this is only a bound.
const OFFERS: usize = 4_096;

/// One line that indicatif draws on.
#[derive(Debug, Clone, Default)]
struct Surface(Arc<Mutex<(u16, String)>>);

impl Surface {
    fn with<T>(&self, act: impl FnOnce(&mut (u16, String)) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TermLike for Surface {
    fn width(&self) -> u16 {
        self.with(|(width, _)| *width)
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.with(|(_, line)| line.push_str(text));
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.with(|(_, line)| line.clear());
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One bar and what it is called.
struct Line {
    bar: ProgressBar,
    surface: Surface,
    bytes: u64,
    total: Option<u64>,
    layout: Option<(u16, bool)>,
}

impl Line {
    fn new(total: Option<u64>) -> Self {
        let surface = Surface::default();
        // Width 0 would make indicatif divide by it.
        surface.with(|(width, _)| *width = 80);
        let target = ProgressDrawTarget::term_like(Box::new(surface.clone()));
        let bar = ProgressBar::with_draw_target(total, target);
        Line { bar, surface, bytes: 0, total, layout: None }
    }

    fn set(&mut self, bytes: u64, total: Option<u64>) {
        (self.bytes, self.total) = (bytes, total);
        match total {
            Some(total) => {
                self.bar.set_length(total);
                // A peer may claim less than it sends (C07).
                self.bar.set_position(bytes.min(total));
            }
            None => self.bar.set_position(bytes),
        }
    }

    fn draw(&mut self, name: &str, style: Style, columns: usize) -> String {
        let layout = (columns.clamp(8, usize::from(u16::MAX)) as u16, self.total.is_some());
        if self.layout != Some(layout) {
            self.layout = Some(layout);
            self.surface.with(|(width, _)| *width = layout.0);
            self.bar.set_style(template(layout.0, layout.1, style));
        }
        let name_columns = name_columns(columns);
        self.bar.set_prefix(padded(&one_line(name, name_columns), name_columns));
        self.bar.tick();
        let line = self.surface.with(|(_, line)| line.trim_end().to_owned());
        console::truncate_str(&line, columns, "…").into_owned()
    }

    /// `3.2 MB of 214 MB` for where there are no bars.
    fn words(&self) -> String {
        let moved = human_bytes(self.bytes);
        match self.total {
            Some(total) => format!("{moved} of {}", human_bytes(total)),
            None => moved,
        }
    }
}

fn name_columns(columns: usize) -> usize {
    match columns {
        60.. => 20,
        30.. => 12,
        _ => 8,
    }
}

fn template(columns: u16, sized: bool, style: Style) -> ProgressStyle {
    let text = match (columns, sized) {
        (60.., true) => "{prefix} {wide_bar:COLOR} {moved:>8} of {size:<8} {rate:>10} {left:>8}",
        (60.., false) => "{prefix} {spinner:COLOR} {moved:>8} {rate:>10}",
        (30.., true) => "{prefix} {wide_bar:COLOR} {percent:>4} {rate:>10}",
        (30.., false) => "{prefix} {moved:>8} {rate:>10}",
        (_, true) => "{prefix} {percent:>4}",
        (_, false) => "{prefix} {moved:>8}",
    };
    let text = if style.has_color() { text.replace(":COLOR", ":.31/244") } else { text.replace(":COLOR", "") };
    ProgressStyle::with_template(&text)
        .expect("the templates above are well-formed")
        .progress_chars(match (style.has_unicode(), style.has_color()) {
            (true, true) => "━╸━",
            (true, false) => "━╸─",
            (false, _) => "=>-",
        })
        .tick_chars(if style.has_unicode() { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "-\\|/ " })
        .with_key("moved", |state: &ProgressState, to: &mut dyn std::fmt::Write| put(to, human_bytes(state.pos())))
        .with_key("size", |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            put(to, human_bytes(state.len().unwrap_or(0)));
        })
        .with_key("rate", |state: &ProgressState, to: &mut dyn std::fmt::Write| put(to, human_rate(state.per_sec())))
        .with_key("percent", |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            put(to, format!("{}%", percent(state.pos(), state.len().unwrap_or(0))));
        })
        .with_key("left", |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            put(to, left(state.len().unwrap_or(0).saturating_sub(state.pos()), state.per_sec()));
        })
}

fn put(to: &mut dyn std::fmt::Write, text: String) {
    // Writing into a string does not fail.
    let _ = to.write_str(&text);
}

fn percent(bytes: u64, total: u64) -> u64 {
    // An empty file is there at once.
    if total == 0 { 100 } else { (u128::from(bytes.min(total)) * 100 / u128::from(total)) as u64 }
}

fn left(bytes: u64, per_second: f64) -> String {
    const DAY_SECONDS: f64 = 86_400.0;
    let seconds = bytes as f64 / per_second;
    if bytes == 0 {
        String::new()
    } else if seconds.is_finite() && seconds < DAY_SECONDS {
        human_duration(seconds.ceil())
    } else {
        "-".into()
    }
}

/// A transfer from its offer to its end.
pub(super) struct Transfer {
    /// What was offered, without the list of entries.
    pub(super) offer: Offer,
    /// Files acknowledged so far.
    pub(super) stored: u64,
    /// Where the last of them is, if on this machine.
    pub(super) path: Option<String>,
    line: Option<Line>,
}

/// Every transfer whose end has not come yet, in the order of their offers.
#[derive(Default)]
pub(super) struct Transfers {
    list: Vec<Transfer>,
    /// What happens to files before they are offered.
    preparing: Option<Line>,
    total: Option<Line>,
    /// Of those that ended since something was last idle: the total would jump back without them.
    ended_bytes: u64,
}

impl Transfers {
    /// Follows an event; the transfer that it ended, if it did.
    pub(super) fn follow(&mut self, event: &Event) -> Option<Transfer> {
        match event {
            Event::Offer(offer) => {
                if self.list.len() >= OFFERS {
                    self.list.retain(|known| known.line.is_some());
                }
                // One tells whether it is a text; a thousand names are of no use any more.
                let entries = offer.entries.iter().take(1).cloned().collect();
                let offer = Offer { entries, ..offer.clone() };
                self.list.push(Transfer { offer, stored: 0, path: None, line: None });
                None
            }
            Event::Accepted { transfer } => {
                let found = self.find(transfer)?;
                found.line = Some(Line::new(found.offer.bytes));
                self.sum();
                None
            }
            Event::Progress { transfer, bytes, total } => {
                let line = self.find(transfer)?.line.as_mut()?;
                line.set(*bytes, *total);
                self.sum();
                None
            }
            Event::Optimizing { bytes, total } => {
                self.preparing =
                    self.preparing.take().or_else(|| Some(Line::new(Some(*total)))).filter(|_| bytes < total);
                self.preparing.iter_mut().for_each(|line| line.set(*bytes, Some(*total)));
                None
            }
            Event::Stored { transfer, path, .. } => {
                let found = self.find(transfer)?;
                found.stored += 1;
                found.path.clone_from(path);
                None
            }
            Event::Refused { transfer, .. }
            | Event::Finished { transfer, .. }
            | Event::Failed { transfer: Some(transfer), .. } => self.end(transfer),
            _ => None,
        }
    }

    /// The transfer called `name`, unless it has ended.
    pub(super) fn find(&mut self, name: &str) -> Option<&mut Transfer> {
        self.list.iter_mut().rev().find(|transfer| transfer.offer.transfer == name)
    }

    fn end(&mut self, name: &str) -> Option<Transfer> {
        let at = self.list.iter().rposition(|transfer| transfer.offer.transfer == name)?;
        let ended = self.list.remove(at);
        if let Some(line) = &ended.line {
            self.ended_bytes = self.ended_bytes.saturating_add(line.bytes);
        }
        self.sum();
        Some(ended)
    }

    fn running(&self) -> impl Iterator<Item = &Line> {
        self.list.iter().filter_map(|transfer| transfer.line.as_ref())
    }

    /// How many lines there are to draw: one for each transfer that moves bytes.
    pub(super) fn count(&self) -> usize {
        self.running().count() + usize::from(self.preparing.is_some())
    }

    fn sum(&mut self) {
        if self.running().next().is_none() {
            self.total = None;
            self.ended_bytes = 0;
            return;
        }
        let bytes = self.running().fold(self.ended_bytes, |sum, line| sum.saturating_add(line.bytes));
        let total =
            self.running().try_fold(self.ended_bytes, |sum, line| line.total.map(|total| sum.saturating_add(total)));
        self.total.get_or_insert_with(|| Line::new(total)).set(bytes, total);
    }

    /// At most `rows` lines of running transfers; the last one counts what has no line of its own.
    pub(super) fn lines(&mut self, style: Style, columns: usize, rows: usize) -> Vec<String> {
        let count = self.count();
        let shown = if count <= rows { count } else { rows.saturating_sub(1) };
        let mut lines = Vec::new();
        if let Some(line) = &mut self.preparing {
            lines.push(line.draw("making smaller", style, columns));
        }
        let (mut bytes, mut total) = (0u64, Some(0u64));
        for transfer in &mut self.list {
            let Some(line) = &mut transfer.line else { continue };
            if lines.len() < shown {
                let name = called(&transfer.offer.peer, name_columns(columns).saturating_sub(2));
                lines.push(line.draw(&name, style, columns));
            } else {
                bytes = bytes.saturating_add(line.bytes);
                total = total.and_then(|sum| line.total.map(|more| sum.saturating_add(more)));
            }
        }
        if shown < count && rows > 0 {
            let mut more = format!("+{} more, {}", grouped((count - shown) as u64), human_bytes(bytes));
            if let Some(total) = total {
                let _ = write!(more, " of {}", human_bytes(total));
            }
            lines.push(style.dim(&one_line(&more, columns)));
        }
        lines
    }

    /// The line that sums up more than one transfer.
    pub(super) fn total_line(&mut self, style: Style, columns: usize) -> Option<String> {
        let count = self.count();
        if count < 2 {
            return None;
        }
        let name = format!("{} transfers", grouped(count as u64));
        Some(self.total.as_mut()?.draw(&name, style, columns))
    }

    /// One sentence for each running transfer, for a log.
    pub(super) fn sentences(&self) -> Vec<String> {
        const TOLD: usize = 5;
        let running: Vec<_> =
            self.list.iter().filter_map(|transfer| Some((&transfer.offer, transfer.line.as_ref()?))).collect();
        let preparing = self.preparing.iter().map(|line| format!("making smaller: {}", line.words()));
        let mut sentences: Vec<String> = preparing
            .chain(running.iter().take(TOLD).map(|(offer, line)| {
                let rate = human_rate(line.bar.per_sec());
                format!("{}: {}, {} ({rate})", called(&offer.peer, 24), contents(offer), line.words())
            }))
            .collect();
        if let Some(total) = self.total.as_ref().filter(|_| running.len() > TOLD) {
            sentences.push(format!("{} transfers in all: {}", running.len(), total.words()));
        }
        sentences
    }
}
