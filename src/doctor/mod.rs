//! Why can't they see me: what stands between this machine and the others in the room.
//!
//! Three steps, of which only the first touches the system: `gather` looks (interfaces, the port, an advertisement that
//! should come back, what the firewall's own tools say), `judge` makes findings of it, [`Diagnosis::code`] an exit code.
//! Nothing needs root: what can't be read is said, with the command that shows it.

mod command;
mod facts;
mod firewall;
mod gather;
mod judge;
mod system;
#[cfg(test)]
mod tests;

use crate::events::{Check, ExitCode, Finding, Verdict};
use crate::net::NetError;
use crate::net::listen::PortChoice;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Checkup {
    /// Which port a hosting command would take.
    pub port: PortChoice,
    /// The interface or address that `--interface` names.
    pub only: Option<String>,
}

/// What was found, in the order in which a person should read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis(pub Vec<Finding>);

impl Checkup {
    /// Looks at this machine; takes 3 s at most. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the system does not list its interfaces, `only` names none of them, or nothing at all is up.
    pub async fn examine(&self) -> Result<Diagnosis, NetError> {
        Ok(Diagnosis(judge::judge(&gather::gather(self).await?)))
    }
}

impl Diagnosis {
    /// [`ExitCode::Ok`] if nothing is in the way; [`ExitCode::Local`] if it is the port, [`ExitCode::Nobody`] if
    /// somebody could not find or reach us.
    pub fn code(&self) -> ExitCode {
        let mut bad = self.0.iter().filter(|finding| finding.verdict == Verdict::Bad).map(|finding| finding.check);
        match bad.next() {
            None => ExitCode::Ok,
            Some(first) if [first].into_iter().chain(bad).any(|check| check == Check::Port) => ExitCode::Local,
            Some(_) => ExitCode::Nobody,
        }
    }

    /// One sentence at the end.
    pub fn summary(&self) -> String {
        let count = |verdict| self.0.iter().filter(|finding| finding.verdict == verdict).count();
        match (count(Verdict::Bad), count(Verdict::Odd)) {
            (0, 0) => "nothing is in the way".to_owned(),
            (0, 1) => "nothing is in the way; one thing is worth knowing".to_owned(),
            (0, odd) => format!("nothing is in the way; {odd} things are worth knowing"),
            (1, _) => "one thing is in the way".to_owned(),
            (bad, _) => format!("{bad} things are in the way"),
        }
    }
}
