//! Everything that shows how to get here, kept in step with tokens and addresses: the code, the files, mDNS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::{Display, Hosted};
use crate::cli::args::Hosting;
use crate::cli::whereabouts::{moved, warning};
use crate::cli::{Failed, disk, failed};
use crate::confine::Errands;
use crate::events::{Board, Event, ExitCode, Failure, Reporter};
use crate::net::addresses::Candidate;
use crate::net::discovery::{Advert, AdvertEvent, AdvertInfo, port_is_shared};
use crate::pairing::LinkKind;
use crate::session::Host;
use crate::store::write_secret_file;
use crate::ui::{Ui, qr};
use crate::web::Web;

/// Pixels for each module of `--qr-png`.
const MODULE_PX: u32 = 8;

/// What becomes of those who look for this device by name.
const UNFOUND: &str = "will find this device by name; the code and the link work, `qrdrop doctor` tells why";

/// Everything that shows how to get here, kept in step with tokens and addresses.
pub(super) struct Invitation<'a> {
    pub(super) hosting: &'a Hosting,
    pub(super) host: &'a Host,
    pub(super) ui: &'a Arc<Ui>,
    pub(super) name: String,
    pub(super) display: Display,
    pub(super) port: u16,
    /// Which of `found` is in the code.
    pub(super) chosen: usize,
    pub(super) found: Vec<Candidate>,
    pub(super) errands: Errands,
}

impl Invitation<'_> {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.found[self.chosen].ip, self.port)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<_> = self.found.iter().map(|found| SocketAddr::new(found.ip, self.port)).collect();
        all.rotate_left(self.chosen);
        all
    }

    /// The link for phones.
    fn page_link(&self) -> Option<zeroize::Zeroizing<String>> {
        match self.hosting.https {
            false => self.host.link(LinkKind::Http, self.address()),
            true => self.host.secure_link(self.address()),
        }
    }

    /// The link in the code.
    fn drawn_link(&self) -> Option<zeroize::Zeroizing<String>> {
        match self.hosting.no_web {
            false => self.page_link(),
            true => self.host.link(LinkKind::Qrdrop, self.address()),
        }
    }

    /// What to do on the other device.
    fn advice(&self, discoverable: bool) -> String {
        let Display { nearby, by_link, .. } = self.display;
        let command = nearby.filter(|_| discoverable).unwrap_or(by_link);
        match self.hosting.no_web {
            false => format!("a phone: point its camera at the code. a computer: `{command}`"),
            true => format!("on another computer: `{command}`"),
        }
    }

    pub(super) fn announce(&self, discoverable: bool) {
        self.ui.tell(Event::Listening {
            name: self.name.clone(),
            address: self.address(),
            addresses: self.addresses(),
            port: self.port,
            interface: self.found[self.chosen].interface.clone(),
            directory: self.display.directory.clone(),
            discoverable,
        });
        self.show(discoverable);
    }

    fn show(&self, discoverable: bool) {
        let Some(link) = self.drawn_link() else { return self.ui.hide() };
        let candidate = &self.found[self.chosen];
        self.ui.show(Board {
            link: link.to_string(),
            address: self.address(),
            interface: candidate.interface.clone(),
            others: self.addresses().split_off(1),
            name: self.name.clone(),
            directory: self.display.directory.clone(),
            offers: self.display.offers.clone(),
            advice: self.advice(discoverable),
            discoverable,
            mark: self.host.mark(),
            warning: warning(&self.found, self.chosen),
        });
    }

    pub(super) fn write_files(&self) -> Result<(), Failed> {
        let qrdrop = self.host.link(LinkKind::Qrdrop, self.address());
        if let (Some(path), Some(page), Some(qrdrop)) = (&self.hosting.invite_file, self.page_link(), qrdrop) {
            let both = zeroize::Zeroizing::new(format!("{}\n{}\n", *page, *qrdrop));
            self.write(path, both)?;
        }
        if let (Some(path), Some(link)) = (&self.hosting.qr_png, self.drawn_link()) {
            let png = qr::png(&link, MODULE_PX);
            let png = png.map_err(|error| failed(Failure::new(ExitCode::Internal, error.to_string(), "report it")))?;
            self.write(path, png)?;
        }
        Ok(())
    }

    /// A picture holds the secret as much as a link does.
    fn write(&self, path: &Path, secret: impl AsRef<[u8]> + Send + 'static) -> Result<(), Failed> {
        let path = path.to_owned();
        self.errands.run(move || write_secret_file(&path, secret.as_ref())).map_err(|error| disk(&error))
    }

    /// After a change of token or address. A file that can't be written any more is said, not fatal.
    pub(super) fn redraw(&self, discoverable: bool) {
        self.show(discoverable);
        if let Err((transfer, failure)) = self.write_files() {
            self.ui.tell(Event::Failed { transfer, failure });
        }
    }

    /// Other addresses than before.
    pub(super) fn moved(&mut self, found: Vec<Candidate>) {
        let (chosen, said) = moved(&self.found, self.chosen, &found);
        (self.chosen, self.found) = (chosen, found);
        if let Some(said) = said {
            self.ui.say(&said);
        }
    }
}

pub(super) fn advertise(invitation: &Invitation<'_>, hosted: &Hosted) -> Option<Advert> {
    if invitation.hosting.hidden {
        return None;
    }
    let info = AdvertInfo {
        name: invitation.name.clone(),
        id: invitation.host.mark(),
        port: invitation.port,
        candidates: invitation.found.clone(),
        classic: hosted.takes_classic(),
        kind: hosted.kind(),
        room: invitation.host.room().is_some(),
    };
    match Advert::start(info) {
        Ok(advert) => {
            if let Some(cut) = advert.cut_name() {
                invitation.ui.say(&format!("the name is long; some programs will show only `{cut}`"));
            }
            if !port_is_shared() {
                invitation
                    .ui
                    .say(&format!("another program keeps port 5353 (mDNS) for itself: not everybody {UNFOUND}"));
            }
            Some(advert)
        }
        Err(error) => {
            invitation.ui.say(&format!("{error}: nobody {UNFOUND}"));
            None
        }
    }
}

pub(super) fn show_curl(web: Option<&Web>, invitation: &Invitation<'_>) {
    match web {
        Some(web) => web.curl_commands(invitation.address()).iter().for_each(|command| invitation.ui.say(command)),
        None => invitation.ui.say("there is no page and so nothing for curl: `--no-web`"),
    }
}

pub(super) fn tell_advert(invitation: &Invitation<'_>, event: AdvertEvent) {
    match event {
        AdvertEvent::Announced => {}
        AdvertEvent::Renamed(name) => {
            invitation.ui.say(&format!("another device has this name; others see `{name}`"));
        }
        AdvertEvent::Unheard => {
            invitation.ui.say(&format!("no interface speaks multicast: nobody {UNFOUND}"));
        }
        AdvertEvent::Failed(reason) => invitation.ui.say(&format!("mDNS: {reason}")),
    }
}
