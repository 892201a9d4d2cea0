//! What the region holds at which size of the window.
//!
//! The code comes first, then a question, then the link, progress, and what there is to know.

use std::time::Instant;

use crate::ui::board::{self, Layout};
use crate::ui::prompt::{answer_line, card};
use crate::ui::screen::Screen;
use crate::ui::style::{one_line, wrapped};
use crate::ui::terminal::Size;

/// A window of a few rows keeps what stands lowest: the question, or the line that is typed.
pub(super) fn fit(region: &mut Vec<String>, (columns, rows): Size) {
    let over = region.len().saturating_sub(rows);
    region.drain(..over);
    for row in region {
        if console::measure_text_width(row) > columns {
            *row = console::truncate_str(row, columns, "").into_owned();
        }
    }
}

impl Screen {
    /// The region: never more than `size` holds.
    pub(super) fn rows(&mut self, (columns, rows): Size, now: Instant) -> Vec<String> {
        let answer = self.answer(columns, now);
        if answer.is_none() && self.talk.is_some() {
            return self.talking((columns, rows));
        }
        let layout = match &self.invitation {
            Some(invitation) if !self.hidden => match invitation.layout(columns, rows) {
                // There the question would have one line only; for as long as it is there it stands in for the code.
                Layout::Above if self.questions.current().is_some() => Layout::Text,
                layout => layout,
            },
            _ => Layout::Text,
        };
        let mut region = match layout {
            Layout::Beside { columns: panel, rows: high } => self.beside((columns, rows), panel, high, answer),
            Layout::Above => self.above((columns, rows), answer),
            Layout::Text => self.text((columns, rows), answer),
        };
        fit(&mut region, (columns, rows));
        region
    }

    fn answer(&self, columns: usize, now: Instant) -> Option<String> {
        let Some((_, question)) = self.questions.current() else {
            return self.clipping.as_ref().map(|clipping| clipping.line(!self.hosts(), self.style, columns));
        };
        let left = self.questions.deadline().map(|deadline| deadline.saturating_duration_since(now));
        Some(answer_line(question, self.questions.waiting(), left, self.style, columns))
    }

    pub(super) fn beside(
        &mut self,
        (columns, rows): Size,
        panel: usize,
        high: usize,
        answer: Option<String>,
    ) -> Vec<String> {
        let Some(invitation) = &self.invitation else { return Vec::new() };
        let mut link = invitation.link(columns);
        let mut below = rows - high;
        // Without its own rows the link goes into the panel, where it is broken, yet all there.
        let link_inside = if link.len() < below { Vec::new() } else { std::mem::take(&mut link) };
        below -= link.len() + usize::from(answer.is_some());
        let (bars, bars_inside) = self.bars(columns, below, panel);
        let mut side = match self.questions.current() {
            Some((_, question)) => card(question, self.style, panel, high),
            None => self.panel(panel, high, bars_inside, !link_inside.is_empty()),
        };
        side.truncate(high);
        let Some(invitation) = &self.invitation else { return Vec::new() };
        let mut region = invitation.beside(&side);
        region.extend(link.into_iter().map(|row| self.style.accent(&row)));
        region.extend(bars);
        region.extend(answer);
        region
    }

    /// Bars below the code if all of them fit there; otherwise the total below and the others in the panel.
    fn bars(&mut self, columns: usize, below: usize, panel: usize) -> (Vec<String>, Vec<String>) {
        const INSIDE: usize = 8;
        let count = self.transfers.count();
        let total = self.transfers.total_line(self.style, columns);
        if count + usize::from(total.is_some()) <= below {
            let mut bars = self.transfers.lines(self.style, columns, count);
            bars.extend(total);
            (bars, Vec::new())
        } else {
            (total.into_iter().take(below).collect(), self.transfers.lines(self.style, panel, INSIDE))
        }
    }

    fn panel(&self, columns: usize, high: usize, bars: Vec<String>, link_inside: bool) -> Vec<String> {
        let Some(invitation) = &self.invitation else { return Vec::new() };
        if self.help {
            return self.help(columns);
        }
        let mut side = board::status(&invitation.board, self.style, columns);
        if link_inside {
            side.push(String::new());
            side.extend(invitation.link(columns).into_iter().map(|row| self.style.accent(&row)));
        }
        let keys = self.keys(columns);
        let mut foot = bars;
        if !keys.is_empty() {
            foot.push(String::new());
            foot.extend(keys);
        }
        side.push(String::new());
        let room = high.saturating_sub(side.len() + foot.len());
        let middle = match &self.picker {
            Some(picker) if picker.is_open() => picker.lines(self.style, columns, room),
            _ if self.recent.is_empty() && self.transfers.count() == 0 => {
                wrapped(&invitation.board.advice, columns).into_iter().map(|line| self.style.dim(&line)).collect()
            }
            _ => self.recents(columns, room),
        };
        side.extend(middle.into_iter().take(room));
        // The keys stand at the bottom, where they do not move.
        side.resize(side.len().max(high.saturating_sub(foot.len())), String::new());
        side.extend(foot);
        side
    }

    fn recents(&self, columns: usize, room: usize) -> Vec<String> {
        let skipped = self.recent.len().saturating_sub(room);
        self.recent.iter().skip(skipped).map(|line| console::truncate_str(line, columns, "…").into_owned()).collect()
    }

    fn keys(&self, columns: usize) -> Vec<String> {
        if !self.hosts() {
            return Vec::new();
        }
        let elsewhere = self.invitation.as_ref().is_some_and(|shown| !self.hidden && !shown.board.others.is_empty());
        let named = |address: &str, code: &str| -> Vec<String> {
            let keys = [("n", address), ("r", code), ("c", "curl"), ("?", "help"), ("q", "leave")];
            let keys = keys.into_iter().filter(|(key, _)| match *key {
                "n" => elsewhere,
                "r" => self.invitation.is_some(),
                _ => true,
            });
            keys.map(|(key, what)| format!("{} {}", self.style.bold(key), self.style.dim(what))).collect()
        };
        let long = named("next address", "new code").join("   ");
        if console::measure_text_width(&long) <= columns {
            return vec![long];
        }
        let mut lines: Vec<String> = Vec::new();
        for key in named("address", "code") {
            let width = console::measure_text_width(&key);
            match lines.last_mut() {
                Some(line) if console::measure_text_width(line) + 2 + width <= columns => {
                    line.push_str("  ");
                    line.push_str(&key);
                }
                _ => lines.push(key),
            }
        }
        lines
    }

    fn help(&self, columns: usize) -> Vec<String> {
        let sentences = [
            "n  puts the next address of this machine into the code; if a phone's page does not load, see that it is in the \
             same Wi-Fi, then try this",
            "r  draws a new code; the old one is good for two more minutes",
            "c  shows a command for curl, good once",
            "q  leaves; what is under way is cut",
            "?  closes this help",
        ];
        let mut lines = vec![self.style.bold("keys"), String::new()];
        for sentence in sentences {
            let (key, what) = sentence.split_at(1);
            for (at, line) in wrapped(what, columns.saturating_sub(3)).into_iter().enumerate() {
                lines.push(format!("{:1}  {line}", if at == 0 { key } else { "" }));
            }
        }
        lines
    }

    fn above(&mut self, (columns, rows): Size, answer: Option<String>) -> Vec<String> {
        let Some(invitation) = &self.invitation else { return Vec::new() };
        let mut region = invitation.code_rows().to_vec();
        region.extend(invitation.link(columns).into_iter().map(|row| self.style.accent(&row)));
        let room = rows.saturating_sub(region.len());
        let (bars, _) = self.bars(columns, room, columns);
        let mut tail = self.keys(columns);
        if bars.is_empty() {
            tail.splice(..0, self.recents(columns, room.saturating_sub(tail.len())));
        }
        tail.extend(bars);
        tail.extend(answer);
        let over = tail.len().saturating_sub(room);
        region.extend(tail.into_iter().skip(over));
        region
    }

    fn text(&mut self, (columns, rows): Size, answer: Option<String>) -> Vec<String> {
        const BARS: usize = 10;
        let mut bars = self.transfers.lines(self.style, columns, BARS.min(rows.saturating_sub(2)));
        bars.extend(self.transfers.total_line(self.style, columns));
        if let (Some(answer), Some((_, question))) = (&answer, self.questions.current()) {
            let mut region = card(question, self.style, columns, rows.saturating_sub(1).min(16));
            let room = rows.saturating_sub(region.len() + 2);
            if room > 0 {
                region.extend(bars.into_iter().rev().take(room).rev());
            }
            region.push(answer.clone());
            return region;
        }
        let mut region = Vec::new();
        match &self.invitation {
            Some(invitation) if !self.hidden => {
                let reason = invitation.too_small();
                region.extend(board::status(&invitation.board, self.style, columns));
                region.extend(reason.map(|text| wrapped(&text, columns)).into_iter().flatten());
                region.extend(invitation.link(columns).into_iter().map(|row| self.style.accent(&row)));
            }
            Some(invitation) => {
                let into =
                    invitation.board.directory.as_deref().map_or_else(String::new, |path| format!(", into {path}"));
                region.push(one_line(&format!("{}{into}", invitation.board.name), columns));
            }
            None => {}
        }
        if self.help {
            region = self.help(columns);
        }
        if let Some(picker) = self.picker.as_ref().filter(|picker| picker.is_open()) {
            region.extend(picker.lines(self.style, columns, rows.saturating_sub(region.len()).clamp(4, 14)));
        }
        region.extend(self.keys(columns));
        region.extend(bars);
        region.extend(answer);
        region
    }
}
