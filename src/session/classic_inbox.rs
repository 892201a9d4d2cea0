//! A tutorial sender: one header, the bytes, the end. Nothing is encrypted, and nothing can be answered.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::classic_bulk::{self as bulk, Meter, STEP};
use super::classic_stream::{Begun, Pipes, store_stream};
use super::consent::{Standing, consent, refusal};
use super::error::SessionError;
use super::host::{Place, raised, unless_leaving};
use super::inbox::{Classic, Inbox, wire_name};
use crate::classic::{Claim, Scan};
use crate::events::{Dialect, EntryKind, Event, ExitCode, Offer, OfferedEntry, Peer, Way};
use crate::names::{FileName, RelPath};
use crate::net::accept::Arrival;
use crate::net::cuttable::Cuttable;
use crate::store::{PlannedEntry, PlannedKind};
use crate::wire::RefuseCode;

/// A header that was read, and what came with it.
struct Announced {
    begun: Begun,
    name: String,
    claim: Claim,
}

impl Inbox {
    /// Serves a tutorial sender to the end of its stream.
    pub(super) async fn serve_classic(
        &self,
        arrival: Arrival,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let address = arrival.peer;
        if self.rules.classic == Classic::Off {
            let text = "a sender that speaks the tutorial's protocol was turned away by `--classic off`";
            return Err(SessionError::Declined(refusal(RefuseCode::Declined, text)));
        }
        let Arrival { mut stream, pass, head_deadline, .. } = arrival;
        let header =
            async { timeout_at(head_deadline, read_header(&mut stream)).await.unwrap_or(Err(SessionError::TooSlow)) };
        let announced = unless_leaving(leaving, header).await?;
        pass.promote();
        let peer = Peer { id: address.ip().to_string(), name: String::new(), address, dialect: Dialect::Classic };
        self.host.introduce(peer.clone(), Standing::OPEN.label);
        let transfer = data_encoding::HEXLOWER.encode(&wire_name());
        let offer = offer_of(&transfer, peer, &announced);
        self.host.reporter.tell(Event::Offer(offer.clone()));
        let place = match unless_leaving(leaving, self.consent_to_classic(offer, &announced)).await {
            Ok(place) => place,
            Err(error) => {
                self.host.reporter.tell(Event::Refused { transfer, reason: error.to_string() });
                return if matches!(error, SessionError::Declined(_)) { Ok(()) } else { Err(error) };
            }
        };
        self.host.reporter.tell(Event::Accepted { transfer: transfer.clone() });
        let (_, stream) = stream.into_parts();
        match self.receive_classic(stream, announced, &transfer, leaving).await {
            Ok(finished) => {
                place.keep();
                self.host.reporter.tell(finished);
                self.host.ended(ExitCode::Ok, address.ip());
            }
            Err(error) => {
                drop(place);
                let failure = error.failure();
                let code = failure.code;
                self.host.reporter.tell(Event::Failed { transfer: Some(transfer), failure });
                self.host.ended(code, address.ip());
            }
        }
        Ok(())
    }

    async fn consent_to_classic(&self, offer: Offer, announced: &Announced) -> Result<Place, SessionError> {
        // More digits may still turn out to be data, so only a settled size can be too large.
        if announced.begun.scan.is_settled() && announced.claim.likely == announced.claim.at_most {
            self.within_limits(Some(announced.claim.at_most))?;
        }
        if self.rules.classic == Classic::Ask {
            let reporter = &*self.host.reporter;
            consent(reporter, Way::In, self.rules.yes, Standing::OPEN, offer).await.map_err(SessionError::Declined)?;
        }
        self.host.take_place()
    }

    async fn receive_classic(
        &self,
        stream: tokio::net::TcpStream,
        announced: Announced,
        transfer: &str,
        leaving: &mut watch::Receiver<bool>,
    ) -> Result<Event, SessionError> {
        let path = RelPath::from(FileName::from_stranger(&announced.name));
        let entry = PlannedEntry { id: 0, path, kind: PlannedKind::File, size: None, holes: 0, modified: None };
        let (folder, if_exists) = (Arc::clone(&self.folder), self.rules.if_exists);
        let started = Instant::now();
        let (name, claim, most) = (announced.name.clone(), announced.claim, self.rules.max_size);
        let progress = |bytes: u64| {
            let (transfer, total) = (transfer.to_owned(), Some(claim.at_most.max(bytes)));
            self.host.reporter.tell(Event::Progress { transfer, bytes, total });
        };
        let store = move |socket: &Cuttable, meter: &Meter| {
            let intake = folder.begin(vec![entry], if_exists)?;
            let (whole, hash) =
                store_stream(socket, announced.begun, intake.open_partial(0)?, most, meter, Pipes::new())?;
            // The peer need not wait for the disk, and could not be told what came of it.
            let _ = socket.shutdown(Shutdown::Both);
            let (_, placed) = intake.commit(vec![whole]).pop().expect("one result for one file");
            let placed = placed?;
            intake.finish()?;
            Ok((placed, hash))
        };
        let (placed, hash) = bulk::apart(stream, progress, raised(leaving), store).await?;
        self.host.reporter.tell(Event::Stored {
            transfer: transfer.to_owned(),
            name: placed.name.as_str().to_owned(),
            offered: name,
            path: Some(placed.path.to_string_lossy().into_owned()),
            bytes: placed.bytes,
            blake3: data_encoding::HEXLOWER.encode(&hash),
        });
        Ok(Event::Finished {
            transfer: transfer.to_owned(),
            files: 1,
            bytes: placed.bytes,
            seconds: started.elapsed().as_secs_f64(),
            label: Standing::OPEN.label,
        })
    }
}

fn offer_of(transfer: &str, peer: Peer, announced: &Announced) -> Offer {
    let bytes = Some(announced.claim.at_most);
    let entry = OfferedEntry { name: announced.name.clone(), bytes, kind: EntryKind::File };
    Offer {
        transfer: transfer.to_owned(),
        peer,
        label: Standing::OPEN.label,
        files: 1,
        bytes,
        entries: vec![entry],
        entries_left_out: 0,
    }
}

/// Reads until name and size stand, in the pieces in which they arrived.
async fn read_header(stream: &mut crate::net::prefixed::Prefixed) -> Result<Announced, SessionError> {
    let ends = stream.read_ends().to_vec();
    let mut scan = Scan::new();
    let mut first = Vec::new();
    let mut take = |scan: &mut Scan, read: &[u8]| {
        let parts = scan.push(read).map_err(|error| SessionError::broke(error.to_string()))?;
        parts.iter().for_each(|part| first.extend_from_slice(part));
        Ok::<_, SessionError>(())
    };
    let mut prefix = vec![0; stream.prefix().len()];
    stream.read_exact(&mut prefix).await.map_err(SessionError::Cut)?;
    let mut start = 0;
    for end in ends {
        take(&mut scan, &prefix[start..end])?;
        start = end;
    }
    // A last read that had no room for more ended nowhere: its bytes and the next ones count as one read.
    let mut buffer = vec![0; STEP];
    let mut held = prefix.len() - start;
    buffer[..held].copy_from_slice(&prefix[start..]);
    while scan.claim().is_none() {
        let count = stream.read(&mut buffer[held..]).await.map_err(SessionError::Cut)?;
        if held + count == 0 {
            return Err(SessionError::broke("it closed the connection within its header"));
        }
        take(&mut scan, &buffer[..held + count])?;
        held = 0;
    }
    let name = scan.name().unwrap_or_default().to_owned();
    let claim = scan.claim().expect("the loop ends when there is one");
    Ok(Announced { begun: Begun { scan, first }, name, claim })
}
