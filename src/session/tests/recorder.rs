//! A reporter that remembers what it was told, and answers as scripted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::events::{Answer, Board, BoxFuture, Event, NoReason, Question, Reporter};

/// What a question gets.
pub(super) enum Scripted {
    /// This answer, at once.
    At(Answer),
    /// Nothing, for as long as it stands.
    Nobody,
}

pub(super) const YES: Scripted = Scripted::At(Answer::Yes);
pub(super) const NO: Scripted = Scripted::At(Answer::No(NoReason::Person));
pub(super) const NO_TERMINAL: Scripted = Scripted::At(Answer::No(NoReason::NoTerminal));

/// See the module.
#[derive(Default)]
pub(super) struct Recorder {
    events: Mutex<Vec<Event>>,
    answers: Mutex<VecDeque<Scripted>>,
    questions: Mutex<Vec<Question>>,
    /// Questions that stand.
    open: watch::Sender<usize>,
    /// Rises with every event.
    changed: watch::Sender<usize>,
}

impl Recorder {
    /// Questions beyond the script find no terminal.
    pub(super) fn answering(answers: impl IntoIterator<Item = Scripted>) -> Arc<Self> {
        Arc::new(Recorder { answers: Mutex::new(answers.into_iter().collect()), ..Recorder::default() })
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn questions(&self) -> Vec<Question> {
        self.questions.lock().unwrap().clone()
    }

    /// The first event of this kind, as soon as it was told.
    pub(super) async fn told<T>(&self, kind: impl Fn(&Event) -> Option<T>) -> T {
        self.told_times(1, kind).await.remove(0)
    }

    /// The events of this kind, as soon as there are so many.
    pub(super) async fn told_times<T>(&self, times: usize, kind: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let told: Vec<T> = self.events().iter().filter_map(&kind).collect();
            if told.len() >= times {
                return told;
            }
            changed.changed().await.unwrap();
        }
    }

    /// Until so many questions stand.
    pub(super) async fn questions_open(&self, count: usize) {
        self.open.subscribe().wait_for(|open| *open == count).await.unwrap();
    }

    /// The serialised names of all events but progress, in order.
    pub(super) fn story(&self) -> Vec<String> {
        let name = |event: &Event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
        self.events().iter().map(name).filter(|name| name != "progress").collect()
    }
}

/// A question that stands; withdrawn when dropped.
struct Standing<'a>(&'a watch::Sender<usize>);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Reporter for Recorder {
    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.changed.send_modify(|count| *count += 1);
    }

    fn show(&self, _: Board) {}

    fn hide(&self) {}

    fn ask(&self, question: Question) -> BoxFuture<'_, Answer> {
        self.questions.lock().unwrap().push(question);
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(NO_TERMINAL);
        Box::pin(async move {
            self.open.send_modify(|open| *open += 1);
            let _standing = Standing(&self.open);
            match answer {
                Scripted::At(answer) => answer,
                Scripted::Nobody => std::future::pending().await,
            }
        })
    }
}
